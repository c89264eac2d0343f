"""The templates that come with versatune: what they write, what they change, for whom they are proposed, and that they go with the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.transforms.chat.families import FAMILIES
from tests.transforms.chat.support import make_tokenizer
from versatune.schemas.chat_template import SHIPPED, shipped_names
from versatune.schemas.errors import ConfigError, DataError
from versatune.transforms.chat.conversations import Chat
from versatune.transforms.chat.report import template_lines
from versatune.transforms.chat.shipped import TEMPLATES, proposals
from versatune.transforms.chat.trial import CONVERSATIONS
from versatune.transforms.chat.verdict import PROMPT_DIFFERS, THOUGHTS_LEFT_OUT
from versatune.transforms.reading.tokenize import Tokenizer


class Known(NamedTuple):
    """What the tokenizer of a family knows."""

    tokens: str
    eos: str
    bos: str = ""


_THINK_AND_CALLS = "<think> </think> <tool_call> </tool_call> <tool_response> </tool_response>"
_LLAMA3 = "<|start_header_id|> <|end_header_id|> <|end_of_text|>"
_DEEPSEEK = "<｜User｜> <｜Assistant｜> <think> </think> <｜tool▁calls▁begin｜> <｜tool▁calls▁end｜> <｜tool▁sep｜>"
KNOWN = {
    "chatml": Known("<|im_start|>", "<|im_end|> <|endoftext|>"),
    "deepseek-r1": Known(_DEEPSEEK, "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"),
    "gemma": Known("<start_of_turn>", "<eos> <end_of_turn>", "<bos>"),
    "gpt-oss": Known("<|start|> <|channel|> <|message|> <|constrain|> <|end|>", "<|return|> <|endoftext|> <|call|>"),
    "llama-3": Known(_LLAMA3, "<|eot_id|> <|end_of_text|>", "<|begin_of_text|>"),
    "mistral": Known(
        "[INST] [/INST] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS]", "</s>", "<s>"
    ),
    "qwen3": Known(f"<|im_start|> {_THINK_AND_CALLS}", "<|im_end|> <|endoftext|>"),
}
# The families' own manner where the table of families has none.
_GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role not in ('user', 'assistant') %}{{ raise_exception('no role ' + m.role) }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_GPT_OSS = (
    "{% for m in messages %}{% if m.role == 'assistant' and m.tool_calls %}{% set c = m.tool_calls[0].function %}"
    "{{ '<|start|>assistant to=functions.' + c.name + '<|channel|>commentary json<|message|>' + (c.arguments | tojson) + '<|call|>' }}"
    "{% elif m.role == 'assistant' %}"
    "{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' if m.thinking and loop.last }}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + ('<|return|>' if loop.last else '<|end|>') }}"
    "{% elif m.role == 'tool' %}{{ '<|start|>functions.f to=assistant<|channel|>commentary<|message|>' + m.content + '<|end|>' }}"
    "{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + (tools | tojson if tools and loop.first else '') + '<|end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
_LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{% if loop.first and tools %}{{ tools | tojson + '\n' }}{% endif %}{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}"
    "{{ raise_exception('one call at a time') }}{% endif %}{{ m.tool_calls[0].function | tojson }}{% else %}{{ m.content | trim }}{% endif %}"
    "{{ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_QWEN3 = (
    "{% set ns = namespace(query=0) %}{% for m in messages if m.role == 'user' %}{% set ns.query = m.content %}{% endfor %}"
    "{% set ns.after = false %}{% for m in messages %}{% if m.content == ns.query %}{% set ns.after = true %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and ns.after and (loop.last or m.reasoning_content) %}"
    "{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_OF_THE_TABLE = {family.name: family.template() for family in FAMILIES}
OWN = {
    "chatml": _OF_THE_TABLE["qwen1.5"],
    "deepseek-r1": _OF_THE_TABLE["deepseek-r1"],
    "gemma": _GEMMA,
    "gpt-oss": _GPT_OSS,
    "llama-3": _LLAMA,
    "mistral": _OF_THE_TABLE["mistral-nemo"],
    "qwen3": _QWEN3,
}
# A few kinds that each family's own template does not write, or not as inference would have them, and the change is for.
CHANGED = {
    "chatml": ["tools offered", "call at the end", "parallel calls", "thoughts"],
    "deepseek-r1": [
        "one turn",
        "thoughts",
        "thoughts in several turns",
        "tools offered",
        "parallel calls",
        "text beside a call",
    ],
    "gemma": ["system turn", "tools offered", "call, result, answer", "thoughts"],
    "gpt-oss": ["parallel calls", "text beside a call", "thoughts in several turns"],
    "llama-3": ["parallel calls", "text beside a call", "thoughts"],
    "mistral": ["system turn", "system turn, several turns", "text beside a call"],
    "qwen3": ["thoughts in several turns"],
}
NAMES = sorted(TEMPLATES)
FAMILY = {SHIPPED + name: name for name in KNOWN}


def tokenizer(folder: Path, known: Known, template: str | None = None, **model: Any) -> Tokenizer:
    """Return the tokenizer of a model folder that has these tokens, and a template of its own or none."""
    plain = [token for token in known.tokens.split() if re.search(r"think|tool_|｜", token)]
    special = [token for token in known.tokens.split() if token not in plain]
    return make_tokenizer(
        folder,
        template or {},
        tokens=" ".join(special),
        plain=" ".join(plain),
        eos=known.eos,
        bos=known.bos or None,
        model=model,
    )


def chat(folder: Path, name: str, template: str | None = None, **model: Any) -> Chat:
    """Return the template of a name at work on its family's tokenizer, or another in its place."""
    chosen = {} if template else {"chat_template": name}
    return tokenizer(folder, KNOWN[FAMILY[name]], template, **chosen, **model).chat


def wanting(chat: Chat) -> set[str]:
    """Return the kinds of conversations that are not learned, or not as they are."""
    return {kind for kind, found in chat.outcomes.items() if found.scored is None or found.scored.counts}


def learned(chat: Chat, kind: str) -> list[str]:
    scored = chat.outcomes[kind].scored
    assert scored is not None
    return [scored.text[start:end] for start, end in scored.spans]


def test_every_file_is_in_the_table_and_has_a_family_here() -> None:
    assert shipped_names() == NAMES == sorted(FAMILY)


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_conversation_is_learned_as_inference_has_it(name: str, tmp_path: Path) -> None:
    tried = chat(tmp_path, name)
    assert wanting(tried) == TEMPLATES[name].leaves_out
    counts = {count for found in tried.outcomes.values() if found.scored for count in found.scored.counts}
    assert counts <= {THOUGHTS_LEFT_OUT}
    assert tried._rewritten == []


@pytest.mark.parametrize("name", NAMES)
def test_every_turn_ends_with_a_token_that_ends_generation(name: str, tmp_path: Path) -> None:
    tried, ends = chat(tmp_path, name), tuple(KNOWN[FAMILY[name]].eos.split())
    for kind, (said, _) in CONVERSATIONS.items():
        turns = learned(tried, kind)
        assert len(turns) == sum(message.role == "assistant" for message in said)
        assert all(turn.endswith(ends) for turn in turns)


@pytest.mark.parametrize("name", NAMES)
def test_thoughts_of_every_turn_are_learned(name: str, tmp_path: Path) -> None:
    if not TEMPLATES[name].leaves_out:
        first, second = learned(chat(tmp_path, name), "thoughts in several turns")
        assert first.index("Parrots like quiet places.") < first.index("Behind the old church.")
        assert second.index("Early birds.") < second.index("Until seven in the morning.")


@pytest.mark.parametrize("name", NAMES)
def test_what_it_changes_is_amiss_in_the_family_s_own_manner(name: str, tmp_path: Path) -> None:
    own = wanting(chat(tmp_path, name, OWN[FAMILY[name]]))
    assert set(CHANGED[FAMILY[name]]) <= own - TEMPLATES[name].leaves_out


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_changes_and_that_inference_has_to_use_it(name: str) -> None:
    comment, text = TEMPLATES[name].text.split("-#}", 1)
    assert comment.startswith(f"{{#- {name}: for ") and "Changes: " in comment and "Inference has to use" in comment
    named = {"bos_token": "{{- bos_token", "eos_token": "{{- eos_token"}
    known = KNOWN[FAMILY[name]]
    spelled = text.replace(named["bos_token"], known.bos).replace(named["eos_token"], known.eos.split()[0])
    assert [token for token in TEMPLATES[name].tokens if token not in spelled] in (
        [],
        ["</s>"],
        ["<｜end▁of▁sentence｜>"],
    )


def test_the_id_behind_a_result_is_the_prompt_s(tmp_path: Path) -> None:
    calls = '[{"name":"look","arguments":{"at":"sky"},"id":"%s"}]'
    turns = [
        ("user", "Rain?"),
        ("tool_call", calls % "abcdefghi"),
        ("tool", "No."),
        ("tool_call", calls % "jklmnopqr"),
        ("tool", "Yes."),
        ("assistant", "It rains."),
    ]
    for template in (None, OWN["mistral"]):
        scored = chat(tmp_path, "versatune/mistral", template).scored(turns, None)
        assert scored.text[slice(*scored.spans[-1])].strip() == "It rains.</s>"
        assert scored.counts == frozenset()


def test_an_object_and_its_json_are_the_same_arguments(tmp_path: Path) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    for name in NAMES:
        texts = set()
        for arguments in ({"town": "Bergen"}, '{"town": "Bergen"}'):
            call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
            turns = [
                {"role": "user", "content": "Rain?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "Yes.", "tool_call_id": "c1"},
            ]
            texts.add(
                render_jinja_template([turns], chat_template=TEMPLATES[name].text, bos_token="<s>", eos_token="</s>")[
                    0
                ][0]
            )
        assert len(texts) == 1 and "f" in texts.pop()


def test_qwen3_writes_empty_thoughts_in_every_turn_once_they_are_switched_off(tmp_path: Path) -> None:
    off = chat(tmp_path, "versatune/qwen3", template_variables={"enable_thinking": False})
    assert off.outcomes["several turns"].text.count("assistant\n<think>\n\n</think>\n\n") == 2
    assert learned(off, "several turns") == [
        "Behind the old church.<|im_end|>",
        "Until seven in the morning.<|im_end|>",
    ]
    amiss = {kind for kind, found in off.outcomes.items() if found.scored and found.scored.counts}
    assert amiss == {kind for kind in CONVERSATIONS if kind.startswith("thoughts")}
    assert all(off.outcomes[kind].scored.counts == {PROMPT_DIFFERS} for kind in amiss)  # type: ignore[union-attr]
    assert "<think>" not in chat(tmp_path, "versatune/qwen3").outcomes["several turns"].text


def test_an_unknown_name_is_one_error_that_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"versatune/qwen4, and versatune brings no such template; expected one of .*versatune/qwen3"
    ):
        tokenizer(tmp_path, KNOWN["qwen3"], chat_template="versatune/qwen4")


def test_a_tokenizer_without_its_tokens_is_one_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"versatune/qwen3, and the model's tokenizer has no <think> </think> <tool_call>"
    ):
        tokenizer(tmp_path, KNOWN["chatml"], chat_template="versatune/qwen3")


def test_a_model_without_a_template_is_told_their_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no chat template; give one as model\.chat_template .*versatune/chatml"):
        tokenizer(tmp_path, KNOWN["chatml"])


@pytest.mark.parametrize("name", NAMES)
def test_it_is_proposed_where_the_model_s_own_template_lacks_something(name: str, tmp_path: Path) -> None:
    known = KNOWN[FAMILY[name]]
    added = [*known.tokens.split(), *known.eos.split(), *known.bos.split()]
    own = chat(tmp_path, name, OWN[FAMILY[name]]).outcomes.values()
    assert [proposal.name for proposal in proposals(added, own)] == [name]
    assert proposals(added[1:], own) == []


@pytest.mark.parametrize("name", [name for name in NAMES if not TEMPLATES[name].leaves_out])
def test_nothing_is_proposed_where_the_template_writes_all(name: str, tmp_path: Path) -> None:
    tried = chat(tmp_path, name)
    assert proposals(TEMPLATES[name].tokens, tried.outcomes.values()) == []


def test_a_template_of_another_manner_is_proposed_to_no_one_who_speaks_a_known_one(tmp_path: Path) -> None:
    both = KNOWN["llama-3"]._replace(tokens=f"{KNOWN['llama-3'].tokens} <|im_start|> <|im_end|>")
    added = [*both.tokens.split(), *both.eos.split(), both.bos]
    own = tokenizer(tmp_path, both, OWN["chatml"]).chat.outcomes.values()
    assert [proposal.name for proposal in proposals(added, own)] == ["versatune/chatml"]
    assert [proposal.name for proposal in proposals(added, [])] == ["versatune/chatml", "versatune/llama-3"]


def test_the_line_of_what_is_not_as_it_is_names_what_would_write_more(tmp_path: Path) -> None:
    own = tokenizer(tmp_path, KNOWN["qwen3"], OWN["qwen3"])
    assert own.proposed() == ["versatune/qwen3"]
    lines = template_lines(own.record().template, own.proposed())
    assert lines[1].endswith("; versatune/qwen3 (as model.chat_template) would write more of them")
    shipped = tokenizer(tmp_path, KNOWN["qwen3"], chat_template="versatune/qwen3")
    assert shipped.proposed() == []
    assert len(template_lines(shipped.record().template)) == 1
