"""Under which public templates are the loss masks right? A table of templates and twenty-four kinds of conversations.

    python benchmarks/template_table.py                         # those of TRL's wheel, and tests/transforms/chat/templates
    python benchmarks/template_table.py --wrong --only qwen     # and what is wrong, cell by cell

Each cell is judged from transformers' own renderings (tests/transforms/chat/judge.py), not from anything that versatune says of itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.transforms.chat.families import FAMILIES, Family
from tests.transforms.chat.judge import NEEDLESS, REJECTED, RIGHT, UNTRUE, WRONG, Judge, Verdict
from tests.transforms.chat.kinds import KINDS
from tests.transforms.chat.models import make_model, wheel_families
from tests.transforms.chat.ours import Ours
from tests.transforms.chat.wheel import NotFetched, wheel_templates

LETTERS = {RIGHT: "=", REJECTED: "r", UNTRUE: "u", NEEDLESS: "N", WRONG: "X"}


def judge_template(family: Family, work: Path) -> dict[str, Verdict]:
    """Return the verdict on each kind of conversation under one template."""
    make_model(work, family)
    ours = Ours(work)
    judge = Judge(family, ours)
    verdicts = {}
    for name, kind in KINDS.items():
        try:
            verdicts[name] = judge.verdict(kind, ours.encode(kind))
        except Exception:  # noqa: BLE001  # a fault of ours or of the judge is a cell, too
            verdicts[name] = Verdict(WRONG, f"fails: {traceback.format_exc(limit=-3)}")
    return verdicts


def _wheel() -> list[Family]:
    try:
        return wheel_families(wheel_templates())
    except NotFetched as reason:
        print(f"without the wheel's templates: {reason}")
        return []


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="templates whose name begins like this")
    parser.add_argument("--wrong", action="store_true", help="say what is wrong, cell by cell")
    parser.add_argument("--json", type=Path, help="write every verdict here")
    arguments = parser.parse_args()
    families = [family for family in [*_wheel(), *FAMILIES] if family.name.startswith(arguments.only)]
    total: Counter[str] = Counter()
    everything: dict[str, Any] = {}
    for number, kind in enumerate(KINDS, 1):
        print(f"{number:2}  {kind}")
    print(f"{'template':36} " + "".join(f"{number % 10}" for number in range(1, len(KINDS) + 1)))
    for family in families:
        with tempfile.TemporaryDirectory() as work:
            verdicts = judge_template(family, Path(work))
        counts = Counter(verdict.outcome for verdict in verdicts.values())
        total += counts
        good = counts[RIGHT] + counts[REJECTED]
        print(
            f"{family.name:36} {''.join(LETTERS[verdict.outcome] for verdict in verdicts.values())}  {good:2} of {len(verdicts)}",
            flush=True,
        )
        everything[family.name] = {kind: verdict._asdict() for kind, verdict in verdicts.items()}
        for kind, verdict in verdicts.items():
            if arguments.wrong and not verdict.good:
                print(
                    f"    {kind}: {verdict.outcome}: {verdict.detail}\n        learned  {verdict.learned}\n        expected {verdict.expected}"
                )
    good = total[RIGHT] + total[REJECTED]
    print(
        f"{len(families)} templates, {sum(total.values())} cells: {good} right or truly rejected ({good / max(1, sum(total.values())):.1%})"
    )
    print(", ".join(f"{LETTERS[name]} {name} {total[name]}" for name in LETTERS))
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
