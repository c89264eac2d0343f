"""``versatune inspect --template``: what a chat template can and cannot express, for people and for programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from versatune.cli.summaries import Summary
from versatune.cli.terminal import printable, table

OPENS, CLOSES = "\u27e6", "\u27e7"
"""Around what is learned, where there are no colours."""
_LEARNED = "bold green"


def summarize_template(which: str, model: str | None, html: Path | None) -> Summary:
    """Try a template, and show what was found.

    Args:
        which: a model, a Jinja file, or the name of a template that comes with versatune.
        model: whose tokens the file is tried with.
        html: write a page there too.

    Raises:
        ConfigError: it is no Jinja, or does not come to an end.
        DataError: there is no such file or model.
    """
    from versatune.reporting.template_page import write_template_page
    from versatune.transforms.chat.report import fate, form_lines, template_lines
    from versatune.transforms.reading.template_trial import try_template

    trial = try_template(which, model)
    kinds = [(kind.kind, _answer(kind), fate(kind)) for kind in trial.record.kinds]
    lines = [*template_lines(trial.record, trial.proposed), *form_lines(trial.record), *_guessed(trial.guessed)]
    examples = {outcome.kind: (outcome.text, outcome.scored.spans) for outcome in trial.outcomes if outcome.scored}
    if html is not None:
        pieces = {kind: list(_pieces(text, spans)) for kind, (text, spans) in examples.items()}
        lines.append(f"page: {write_template_page(html, trial.record, lines, kinds, pieces)}")
    coloured = Console().is_terminal and "NO_COLOR" not in os.environ
    parts: list[RenderableType] = []
    for kind, (text, spans) in examples.items():
        parts += [Rule(Text(kind), align="left", style="dim"), _shown(text, spans, coloured=coloured)]
    parts.append(table("what the template expresses", ["conversation", "learned", "but"], [list(row) for row in kinds]))
    how = "what is learned is green" if coloured else f"what is learned stands in {OPENS}{CLOSES}"
    return "\n".join([how, *map(printable, lines)]), Group(*parts), _as_json(trial, examples)


def _answer(kind: Any) -> str:
    if not kind.learned:
        return "no"
    return "in part" if kind.counts else "yes"


def _guessed(tokens: Sequence[str] | None) -> list[str]:
    if tokens is None:
        return []
    found = " ".join(tokens) or "none"
    line = (
        f"no tokenizer: tokens are those that look like some in the text ({found}), bos_token is <s> and eos_token </s>"
    )
    return [f"{line}; --model MODEL takes a model's own"]


def _pieces(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Yield the text in pieces, and of each whether it is learned."""
    done = 0
    for start, end in spans:
        yield text[done:start], False
        yield text[start:end], True
        done = end
    yield text[done:], False


def _shown(text: str, spans: Sequence[tuple[int, int]], *, coloured: bool) -> Text:
    shown = Text()
    for piece, learned in _pieces(text, spans):
        bracketed = f"{OPENS}{piece}{CLOSES}" if learned and not coloured else piece
        shown.append(printable(bracketed), style=_LEARNED if learned and coloured else "")
    return shown


def _as_json(trial: Any, examples: dict[str, Any]) -> dict[str, Any]:
    return {
        "template": trial.record.model_dump(mode="json"),
        "guessed_tokens": trial.guessed,
        "proposed": trial.proposed,
        "examples": [{"kind": kind, "text": text, "learned": spans} for kind, (text, spans) in examples.items()],
    }
