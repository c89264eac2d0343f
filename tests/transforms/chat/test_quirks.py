"""Habits of public templates that are rare, each in a template as short as it can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.transforms.chat.support import Turns, learned, make_tokenizer

TOOLS = json.dumps([{"type": "function", "function": {"name": "gauge", "description": "Reads a gauge."}}])
PROMPT = "{% if add_generation_prompt %}<|A|>{% endif %}"


def row(arguments: dict[str, object], result: str = "low") -> Turns:
    call = json.dumps([{"name": "gauge", "arguments": arguments}])
    return [("user", "How high?"), ("tool_call", call), ("tool", result), ("assistant", "Not high.")]


def test_a_result_that_is_headed_by_the_name_of_its_tool_is_no_part_of_the_call(tmp_path: Path) -> None:
    template = (
        "{{ tools | tojson if tools }}{% for m in messages %}<|{{ 'A' if m.role == 'assistant' else m.name or m.role }}|>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<call>{{ c.id }}:{{ c.function.arguments | tojson }}{% endfor %}<|end|>{% endfor %}"
    )
    tokenizer = make_tokenizer(tmp_path, template + PROMPT, tokens="<|A|> <|user|>", eos="<|end|>")
    assert learned(tokenizer, row({"river": "Inn"}), TOOLS) == [
        '<call>functions.gauge:0:{"river": "Inn"}<|end|>',
        "Not high.<|end|>",
    ]


@pytest.mark.parametrize("printed", ["c.function.arguments | tojson | tojson", "c.function.arguments"])
@pytest.mark.parametrize("text", ["it's", 'say "so"', 'it\'s "so"\nor not', "back\\slash"])
def test_texts_of_calls_are_found_in_json_within_json_and_as_python_prints_them(
    tmp_path: Path, printed: str, text: str
) -> None:
    template = (
        "{{ tools | tojson if tools }}{% for m in messages %}<|{{ 'A' if m.role == 'assistant' else m.role }}|>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ PRINTED }}{% endfor %}<|end|>{% endfor %}"
    ).replace("PRINTED", printed)
    tokenizer = make_tokenizer(tmp_path, template + PROMPT, tokens="<|A|> <|user|>", eos="<|end|>")
    call, answer = learned(tokenizer, row({"note": text}), TOOLS)
    assert (call.startswith("gauge"), call.endswith(("}<|end|>", '}"<|end|>'))) == (True, True)
    assert answer == "Not high.<|end|>"
