"""Whatever a row holds, reading it ends in valid examples or in a reason."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import orjson
import pytest

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import NORMALIZE_REASONS, READ_REASONS, Example, RowError
from versatune.transforms.shapes.conversation import check_turns, example_id, read_examples
from versatune.transforms.shapes.registry import SHAPES, detect_layout

TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
CALLS = [
    {"role": "user", "content": "Why?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}],
    },
    {"role": "tool", "content": "4"},
    {"role": "assistant", "content": [{"type": "text", "text": "Because."}]},
]
ROWS: list[Any] = [
    {"messages": TURNS, "tools": None},
    {"messages": CALLS, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}], "system": "S"},
    {"conversations": [["Why?", "Because."]]},
    {"conversation": "User: Why?\nAssistant: Because."},
    {"instruction": "Why?", "input": "x", "output": "Because.", "history": [["Hello", "Hi"]]},
    {"instruction": "Add.", "instances": [{"input": "1", "output": "2"}]},
    {"prompt": "Human: Why?\n\nAssistant:", "completion": "Because.", "label": True},
    {"query": "Why?", "laws": ["L"], "history": ["[A] Why?", "[B] Because."]},
    {"prompt": "Why?", "chosen": TURNS, "rejected": TURNS},
    {"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    {"conversation_a": TURNS, "conversation_b": TURNS, "winner": "model_a"},
    {"question": "Why?", "answer": ["Because."], "context": {"title": ["T"], "sentences": [["S"]]}, "text": "T"},
    {"question": {"stem": "Which?", "choices": [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}]}, "answerKey": "B"},
    {"question": "Which?", "opa": "x", "opb": "y", "cop": 1, "passage": None},
    {"question": "Which?", "options": {"A": "x", "B": "y"}, "answer_idx": "A", "answer": "x"},
    {"story": "S", "questions": ["Why?", ["How?"]], "answers": {"input_text": ["Because.", "So."]}},
    {"title": "T", "paragraphs": [{"context": "C", "qas": [{"question": "Why?", "answers": [{"text": "B."}]}]}]},
    {"version": "1", "data": [{"title": "T", "paragraphs": [{"context": "C", "qas": []}]}]},
    {"table": {"table": [["a", "1"]]}, "paragraphs": [{"text": "P"}], "questions": [{"question": "Q", "answer": 1, "scale": ""}]},
    {"message_tree_id": "t", "prompt": {"text": "Why?", "role": "prompter", "replies": [{"text": "B.", "role": "assistant", "rank": 0, "replies": []}]}},
    {"chat": {"turn_1": {"Human": "<|Human|>: Why?<eoh>", "Commands": "<|Commands|>: F(1)<eoc>", "Tool Responses": "x", "MOSS": "B."}}},
    {"system": "S", "chat": "USER: Why?\nASSISTANT: <functioncall> {\"name\": \"f\", \"arguments\": '{}'}\nFUNCTION RESPONSE: 1\nASSISTANT: B."},
    {"nl": "Why?", "code": "x = 1"},
    {"text": "### Human: Why?### Assistant: Because.", "url": "x"},
    {"fees": [["Why?", "Because."]]},
    TURNS,
]  # fmt: skip
ATOMS: list[Any] = [
    None, True, False, 0, 1, -1, 3, 2**63, 2**64, 10**400, 1e308, -0.0, float("nan"), float("inf"), "", " ", "\n", "x", "A",
    "[]", "{}", "[1]", "null", "\u2028", "\x00", "\ud800", "e\u0301", "<|im_start|>user\n", "[INST] a [/INST] b", "### Human:", "User: a",
    "### Human: a### Assistant: b### Human:", "<functioncall> {", "Below is an instruction", "A chat between", "a" * 5000, [], {}, [[]], [None],
    ["x"], ["x", "y"], [["x", "y"]], [{}], [{"text": "x"}], {"text": "x"}, {"text": ["x"]}, {"role": "user"}, {"from": "gpt", "value": "x"}, TURNS,
]  # fmt: skip
MAPS = [
    *[None] * 12, FieldMap(prompt="question", completion="answer", context="context.title.0"),
    FieldMap(messages="messages", tools="tools", system="system"), FieldMap(prompt="question", completion="answer", choices="options"),
    FieldMap(messages="conversations", rejected="system"), FieldMap(text="text"),
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, item in inner for place in places(item, (*path, key))]


def mutated(value: Any, chance: random.Random) -> Any:
    """Return a copy in which one value is replaced, removed, wrapped or renamed."""
    copy = json.loads(json.dumps(value))
    *parents, last = chance.choice(places(copy)[1:])
    holder = copy
    for key in parents:
        holder = holder[key]
    what = chance.randrange(6)
    if what == 0:
        del holder[last]
    elif what == 1:
        holder[last] = chance.choice(
            [[holder[last]], {"text": holder[last]}, [holder[last]] * 3, json.dumps(holder[last])]
        )
    elif what == 2 and isinstance(holder, dict):
        holder[
            chance.choice(["question", "answer", "text", "role", "label", "messages", "Prompt", "history", "tools"])
        ] = holder.pop(last)
    else:
        holder[last] = chance.choice(ATOMS)
    return copy


def encoded(row: Any, chance: random.Random) -> bytes:
    """Return JSON that may be as broken as files are."""
    payload = json.dumps(row, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    kind = chance.randrange(24)
    if kind == 0:
        payload = payload[: chance.randrange(len(payload) + 1)]
    elif kind == 1:
        at = chance.randrange(len(payload) + 1)
        payload = payload[:at] + chance.choice([b"\xff", b"\x00", b'"', b"}", b"\xe2\x80\xa8"]) + payload[at:]
    elif kind == 2 and payload.startswith(b"{"):
        payload = b'{"question": 1, "question": "Why?", "text": null, ' + payload[1:]  # duplicate keys
    elif kind == 3:
        depth = chance.choice([50, 300, 1100])
        opened, closed = chance.choice([(b"[", b"]"), (b'{"text": "x", "replies": [', b"]}"), (b'{"function": ', b"}")])
        payload = payload.replace(b'"x"', opened * depth + b"null" + closed * depth, 1)
    return payload


def assert_valid(example: Example) -> None:
    assert check_turns(example.messages) == example.messages
    for role, content in example.messages:
        assert role in ("system", "user", "assistant", "tool_call", "tool", "text")
        content.encode()  # no lone surrogates
        if role == "tool_call":
            assert all(
                isinstance(call["name"], str) and isinstance(call["arguments"], dict) for call in orjson.loads(content)
            )
    if example.tools is not None:
        assert all(isinstance(tool["function"]["name"], str) for tool in orjson.loads(example.tools))
    if example.rejected is not None:
        assert example.rejected.strip()
        assert example.messages[-1][0] == "assistant"
    assert len(example_id(example)) == 32


@pytest.mark.parametrize("seed", range(4))
def test_reading_any_row_gives_valid_examples_or_a_reason(seed: int) -> None:
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    longest = 0
    for _ in range(3000):
        row = chance.choice(ROWS)
        for _ in range(chance.choice([1, 1, 2, 4])):
            row = mutated(row, chance) if isinstance(row, dict | list) and len(places(row)) > 1 else row
        faults: list[tuple[int, RowError]] = []
        try:
            examples = read_examples(encoded(row, chance), chance.choice(MAPS), faults)
        except RowError as error:
            ends[error.reason] += 1
            longest = max(longest, len(error.detail))
            continue
        assert examples
        for example in examples:
            assert_valid(example)
        ends["read"] += 1
    assert ends["read"] > 300, ends
    assert set(ends) <= {"read", *READ_REASONS, *NORMALIZE_REASONS}
    assert longest < 1000
    assert len(ends) > 15, ends


def test_the_fuzzed_rows_have_every_shape_and_are_read_as_they_are() -> None:
    used = {shape.NAME for row in ROWS if isinstance(row, dict) for shape in detect_layout(tuple(row)).shapes}
    assert used == {shape.NAME for shape in SHAPES}
    for row in ROWS:
        if "version" in row:
            continue
        assert read_examples(json.dumps(row).encode())
