"""What do loss masks cost beside rendering and tokenizing alone?

    python benchmarks/mask_throughput.py                                # SmolLM2's tokenizer and template, as `make demo` puts them there
    python benchmarks/mask_throughput.py --model FOLDER --template FILE --quick

One process, one thread, two systems in turn on batches of 250 rows:

    plain    transformers' own rendering of each row and the tokenizer's ids: what nobody can do without
    masked   the `tokenize` step of a build: the same ids with loss masks, every text of the row looked for

Rows are of three kinds: one question and its answer; forty turns; twenty rounds of calls, where the template writes them. Ratios are of processor
time, masked by plain, of each batch the median of the repeats: 1 is a mask for nothing. `per_turn` compares rows of forty turns (or twenty rounds) with
rows of ten (or five): 1 is a cost that grows with the number of turns and no faster.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import ROOT, machine, parser, report, versions
from versatune.schemas.config import load_config
from versatune.transforms.chat.form import conversation
from versatune.transforms.reading.tokenization import Tokenization, plan_tokenization
from versatune.transforms.reading.tokenize import Tokenizer
from versatune.transforms.shapes.base import Message

MODEL = ROOT / ".cache" / "models" / "SmolLM2-135M-Instruct"
BATCH_ROWS = 250
TURNS, QUICK_TURNS = 40_000, 2_000
SEED = 20250117
WORDS = [
    "the",
    "of",
    "price",
    "law",
    "heart",
    "code",
    "write",
    "plain",
    "answer",
    "to",
    "a",
    "question",
    "about",
    "which",
]
TOOLS = json.dumps(
    [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}}]
)  # fmt: skip
Row = tuple[list[Message], str | None]


def say(chance: random.Random, words: int) -> str:
    """Return some words."""
    return " ".join(chance.choice(WORDS) for _ in range(words))


def chat(chance: random.Random, turns: int) -> Row:
    """Return a conversation of questions and answers."""
    words = 60 if turns == 2 else 15
    return [(("user", "assistant")[turn % 2], say(chance, words)) for turn in range(turns)], None


def agent(chance: random.Random, rounds: int) -> Row:
    """Return a question, calls with their results, and an answer."""
    turns: list[Message] = [("user", say(chance, 20))]
    for _ in range(rounds):
        call = {"name": "look", "arguments": {"place": say(chance, 3)}}
        turns += [("tool_call", json.dumps([call])), ("tool", say(chance, 12))]
    return [*turns, ("assistant", say(chance, 20))], TOOLS


def kinds(turns: int) -> dict[str, list[Row]]:
    """Return rows of every kind, of about as many turns each."""
    chance = random.Random(SEED)
    return {
        "one_turn": [chat(chance, 2) for _ in range(turns // 2)],
        "ten_turns": [chat(chance, 10) for _ in range(turns // 10)],
        "forty_turns": [chat(chance, 40) for _ in range(turns // 40)],
        "five_rounds": [agent(chance, 5) for _ in range(turns // 12)],
        "twenty_rounds": [agent(chance, 20) for _ in range(turns // 42)],
    }


def systems(plan: Tokenization) -> dict[str, Callable[[Sequence[Row]], int]]:
    """Return both systems; each gives how many rows it has tokens for."""
    from tokenizers import Tokenizer as Backend

    backend, tokenizer = Backend.from_str(plan.tokenizer_json), Tokenizer(plan)

    def plain(rows: Sequence[Row]) -> int:
        texts = []
        for turns, tools in rows:
            rule = tokenizer.chat.rules[tools is not None]
            messages = rule.form.messages(conversation(turns, rule.form))
            texts.append(rule.template.render(messages, json.loads(tools) if tools else None))
        return len(backend.encode_batch(texts, add_special_tokens=False))

    def masked(rows: Sequence[Row]) -> int:
        found = tokenizer.encode([turns for turns, _ in rows], [tools for _, tools in rows], [()] * len(rows))
        return sum(not isinstance(row, Exception) for row in found)

    return {"plain": plain, "masked": masked}


def time_in_turn(plan: Tokenization, rows: Sequence[Row], repeats: int) -> dict[str, np.ndarray] | None:
    """Return (repeats, batches) processor seconds of each system; None where the template rejects such rows."""
    both = systems(plan)
    if both["masked"](rows[:1]) == 0:
        return None
    batches = [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]
    seconds = {name: np.zeros((repeats, len(batches))) for name in both}
    for repeat in range(repeats):
        for number, batch in enumerate(batches):
            for name in (list(both), list(both)[::-1])[(repeat + number) % 2]:
                start = time.process_time()
                both[name](batch)
                seconds[name][repeat, number] = time.process_time() - start
    return seconds


def figures(rows: int, taken: dict[str, np.ndarray]) -> dict[str, Any]:
    """Put the results of one kind together: of each batch the median of its repeats, added up."""
    total = {name: float(np.median(seconds, axis=0).sum()) for name, seconds in taken.items()}
    return {
        "rows": rows,
        "cpu_us_per_row": {name: round(1e6 * seconds / rows, 1) for name, seconds in total.items()},
        "cpu_ratio": round(total["masked"] / total["plain"], 3),
    }


def plan_of(model: Path, template: Path | None) -> Tokenization:
    """Return a model folder's tokenizer, with its own template or another."""
    named: dict[str, Any] = {"path": str(model.resolve())}
    if template:
        named["chat_template"] = str(template.resolve())
    with tempfile.TemporaryDirectory(prefix="versatune-bench-") as folder:
        file = Path(folder, "c.json")
        file.write_text(json.dumps({"name": "bench", "sources": [], "model": named, "build": {"max_tokens": 2048}}))
        return plan_tokenization(load_config(file))


def main() -> None:
    """Make rows, time everything, report."""
    flags = parser(__doc__ or "", repeats=5)
    flags.add_argument("--model", type=Path, default=MODEL, help="a model folder (default: %(default)s)")
    flags.add_argument("--template", type=Path, help="a chat template (default: the model's own)")
    arguments = flags.parse_args()
    plan = plan_of(arguments.model, arguments.template)
    results: dict[str, Any] = {}
    for name, rows in kinds(QUICK_TURNS if arguments.quick else TURNS).items():
        taken = time_in_turn(plan, rows, 1 if arguments.quick else arguments.repeats)
        results[name] = figures(len(rows), taken) if taken else "rejected by the template"
    per_turn = {
        long: round(results[long]["cpu_us_per_row"]["masked"] / results[short]["cpu_us_per_row"]["masked"] / 4, 3)
        for short, long in (("ten_turns", "forty_turns"), ("five_rounds", "twenty_rounds"))
        if isinstance(results[long], dict)
    }
    about = {
        "machine": machine(),
        "versions": versions("versatune", "tokenizers", "transformers", "jinja2"),
        "template": str(arguments.template or arguments.model.name),
    }
    report("mask_throughput", about | results | {"per_turn": per_turn}, arguments)


if __name__ == "__main__":
    main()
