"""No text makes a step of ours slow: twice the text takes about twice the time."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable

import orjson
import pytest

from versatune.schemas.config import CleanConfig, PiiConfig
from versatune.transforms.cleaning.chain import make_cleaner
from versatune.transforms.cleaning.tails import drop_tails, tail_of
from versatune.transforms.shapes.base import Example, RowError
from versatune.transforms.shapes.conversation import clean_text, read_examples

TAGS = (
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<start_of_turn>", "[INST]", "<<SYS>>", "<s>", "</s>", "<eos>", "<｜User｜>",
    "<|Human|>:", "<|im_start|> ", "<|", "|>", "<｜", "</", "{{", "}}", "{{a", "[[", "<tool_call>", "<functioncall>", "<|im_", "<|<|im_end|>",
)  # fmt: skip
PIECES = (
    *TAGS, "a", "A", "é", "क्", "哈", "😂", "4", "4 ", "4.", "a ", "[", "]", "(", ")", "{", "}", "<", ">", "|", "@", "a@", "a@a.", "-", ".",
    "_", "=", "+", "+1 ", "`", "```", "\\n", '"', "'", "\\", "\\\\n", " ", "\n", "\t", " \n", "#", "# ", ":", "a:", "/", "://a", "eyJ", "eyJa.",
    "sk-", "secret_key", "sorry ", "I cannot ", "As an AI ", "1.1.", "GB82 ", "::", "2a00:", "ha", "User: ", "A) ", "A. ", "1) ", "### ",
    "-----BEGIN PRIV" + "ATE KEY-----", "-----BEGIN PRIV" + "ATE KEY-----\nMIIEowIBAAKCAQEA7bq98Zx1Lk3QpR5tVw2Yc4Nd6Fg8Hj0Ks", "Aa1/" * 16,
)  # fmt: skip
CHARS = 4_000
FLOOR = 0.02  # seconds; what is faster than this is fast enough to be measured wrongly
WHOLE = 2**20


def _seconds(work: Callable[[str], object], text: str) -> float:
    start = time.process_time()
    with contextlib.suppress(RowError):
        work(text)
    return time.process_time() - start


def _check(work: Callable[[str], object], texts: list[str], what: str) -> None:
    for text in texts:
        few = many = 0.0
        for _ in range(3):  # other work of the machine is not ours
            few, many = _seconds(work, text[:CHARS]), _seconds(work, text[: 2 * CHARS])
            if many < 2.5 * few + FLOOR:
                break
        else:
            pytest.fail(
                f"{what} takes {few:.3f} s for {CHARS} characters of {text[:20]!r} and {many:.3f} s for twice as many"
            )


FILLED = [(piece * (2 * CHARS // len(piece) + 1))[: 2 * CHARS] for piece in PIECES]


STEPS: dict[str, Callable[[str], object]] = {"clean_text": clean_text, "tail_of": tail_of}


def _step(clean: CleanConfig, pii: PiiConfig) -> Callable[[str], object]:
    cleaner = make_cleaner(clean, pii)
    assert cleaner is not None

    def work(text: str) -> object:
        return cleaner(Example([("user", "Why?"), ("assistant", text)]), Counter())

    return work


for setting in (
    {"repair_encoding": True}, {"control_tags": "strip"}, {"control_tags": "drop"}, {"placeholders": "drop"}, {"refusals": "drop"},
    {"max_repetition": 1.0}, {"max_chars": 1},
):  # fmt: skip
    STEPS[str(setting)] = _step(CleanConfig(**setting), PiiConfig())
for kind in ("email", "phone", "ip", "iban", "credit_card", "secret"):
    STEPS[kind] = _step(CleanConfig(), PiiConfig(**{kind: "mask"}))
STEPS["drop_tail"] = lambda text: drop_tails(
    Example([("user", "Why?"), ("assistant", text)]), ["</s>", "<|im_end|>", "#"], Counter()
)


def _read(row: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: read_examples(orjson.dumps(row(text)))


def _call_and_result(text: str) -> object:
    called = {"role": "assistant", "content": f"<tool_call>{text}"}
    return [{"role": "user", "content": "Why?"}, called, {"role": "tool", "content": f"<tool_response>{text}"}, called]


ROWS: dict[str, Callable[[str], object]] = {
    "fields": lambda text: {"instruction": text, "input": text, "output": text},
    "turns": _call_and_result,
    "calls": lambda text: {"query": "Why?", "answers": f'[{{"name": "a", "arguments": {{"x": "{text}'},
    "asked": lambda text: {"question": text, "context": text, "description": text, "answer": text},
    "choice": lambda text: {"question": text, "choices": [text, text], "answer": "A"},
    "history": lambda text: {"history": [text, text], "prompt": text, "response": text},
    "chat": lambda text: {"chat": f"USER: {text} ASSISTANT: <functioncall> {{{text}"},
    "moss": lambda text: {
        "chat": {"turn_1": {"Human": f"<|Human|>: {text}x{text}", "Commands": f"Search({text}", "MOSS": f"{text}<eom>"}}
    },
    "marked": lambda text: {"text": f"### Human: {text} ### Assistant: {text}"},
    "inst": lambda text: {"text": f"[INST] <<SYS>> {text} {text}"},
    "pair": lambda text: {"prompt": text, "chosen": text, "rejected": text},
    "document": lambda text: {"text": text},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_read_in_time_in_proportion(name: str) -> None:
    _check(_read(ROWS[name]), [*FILLED, *(f"{text[:CHARS]}x{text}" for text in FILLED)], name)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_a_step_takes_time_in_proportion(name: str) -> None:
    nested = [f"{'<|im_' * CHARS}"[:CHARS] + f"{'end|>' * CHARS}"[:CHARS], "4." + "</s>" * (CHARS // 2)]
    _check(STEPS[name], [*FILLED, *nested, *(f"{text[:-1]}x" for text in FILLED[:12])], name)


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["4.", "</s>", "<|im_end|>", "<|", "a", "[INST]", " ", "-", "@"])
def test_a_mebibyte_passes_through_all_steps(piece: str) -> None:
    every = _step(
        CleanConfig(
            repair_encoding=True, control_tags="strip", placeholders="drop", refusals="drop", max_repetition=1.0
        ),
        PiiConfig(**dict.fromkeys(("email", "phone", "ip", "iban", "credit_card", "secret"), "mask")),
    )
    text = (piece * WHOLE)[:WHOLE]
    half, whole = _seconds(every, text[: WHOLE // 2]), _seconds(every, text)
    assert whole < 3 * half + 1.0
