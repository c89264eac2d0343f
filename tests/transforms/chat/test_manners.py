"""Manners of public templates that nobody would think of, each in a small template of our own."""

from __future__ import annotations

from pathlib import Path

from tests.transforms.chat.support import learned, make_tokenizer

CALL = ("tool_call", '[{"name": "look", "arguments": {"at": "tides"}}]')
TOOLS = (
    '[{"type": "function", "function": {"name": "look", "description": "Looks.", '
    '"parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}]'
)

CALLS_WITHOUT_END = """\
{%- for t in tools %}<turn><sys>{{ t.function.name }}: {{ t.function.description }}<end>{% endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}<turn><usr>{{ m.content }}<end>
{%- elif m.tool_calls %}<turn><bot>{{ m.content }}{% for c in m.tool_calls %}[{{ c.function|tojson }}]{% endfor %}
{%- elif m.role == 'assistant' %}<turn><bot>{{ m.content }}<end>
{%- elif m.role == 'tool' %}<turn><sys>{{ m.content }}<end>
{%- endif %}
{%- endfor %}<turn><sys>Say what to do.<end>
{%- if add_generation_prompt %}<turn><bot>{% endif %}"""


def test_a_call_without_an_end_of_its_own_does_not_end_with_the_next_turn(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, CALLS_WITHOUT_END, tokens="<turn> <sys> <usr> <bot>", eos="<end>")
    call = '<bot>[{"name": "look", "arguments": {"at": "tides"}}]'
    assert learned(tokenizer, [("user", "When?"), CALL], TOOLS) == [call]
    rows = [("user", "When?"), CALL, ("tool", "at ten"), ("assistant", "At ten.")]
    assert learned(tokenizer, rows, TOOLS) == [call, "<bot>At ten.<end>"]
