"""What a classifier does on sources it has never seen: train without them, predict them, one fold after the other."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from versatune.schemas.classifier import ClassifierTraining, FastTextSettings
from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.fasttext_classifier import text_view, train_and_predict
from versatune.transforms.classifier.labelled_rows import LabelledRow
from versatune.transforms.classifier.training_lines import Pool, hidden_views, training_lines


class LeftOut(NamedTuple):
    """Rows and what models that had not seen their source say of them."""

    rows: list[LabelledRow]
    probs: NDArray[np.float64]
    """(n, k), not calibrated."""


def sources_to_leave_out(pools: Sequence[Pool], excluded: Sequence[str]) -> dict[str, list[LabelledRow]]:
    """Return the sources that can be left out, with their rows: without one of them every domain still has training rows."""
    rows: dict[str, list[LabelledRow]] = {}
    for pool in pools:
        if pool.group.form == "rows":
            for row in pool.rows:
                rows.setdefault(row["source"], []).append(row)
    return {
        source: own
        for source, own in sorted(rows.items())
        if source not in excluded and covers(pools, excluded, [source])
    }


def covers(pools: Sequence[Pool], excluded: Sequence[str], without: Sequence[str]) -> bool:
    """Whether every domain still has training rows when some more sources are left out."""
    left, before = (_domains(pools, [*excluded, *gone]) for gone in (without, ()))
    return left == before


def _domains(pools: Sequence[Pool], without: Sequence[str]) -> set[str]:
    hidden = hidden_views(pools, without)
    return set().union(*(pool.domains(without, hidden) for pool in pools))


def grouped(sources: dict[str, list[LabelledRow]], can_go: Callable[[Sequence[str]], bool]) -> list[list[str]]:
    """Put sources of different domains into one fold, so that a search trains once per fold and not once per source.

    Args:
        can_go: whether these sources may be left out together.
    """
    folds: list[list[str]] = []
    taken: list[set[str]] = []
    for source, rows in sources.items():
        domains = {row["domain"] for row in rows}
        for fold, others in zip(folds, taken, strict=True):
            if not domains & others and can_go([*fold, source]):
                fold.append(source)
                others.update(domains)
                break
        else:
            folds.append([source])
            taken.append(domains)
    return folds


def predict_left_out(
    folds: Sequence[Sequence[str]],
    sources: dict[str, list[LabelledRow]],
    pools: Sequence[Pool],
    config: ClassifierTraining,
    settings: FastTextSettings,
    *,
    excluded: Sequence[str],
    workers: int,
    done: Callable[[int], None] = lambda _: None,
) -> LeftOut:
    """Train once per fold without its sources and predict them; the order of the rows is that of ``folds``.

    Args:
        done: told how many folds are finished.
    """
    parts: dict[int, LeftOut] = {}
    with (
        tempfile.TemporaryDirectory(prefix="versatune-classifier-") as scratch,
        ProcessPoolExecutor(
            min(workers, len(folds)),
            mp_context=get_context("spawn"),
            initializer=logging.disable,  # what a library says while it is imported
            initargs=(logging.WARNING,),
        ) as executor,
    ):
        running = {}
        for number, fold in enumerate(folds):
            lines = Path(scratch, f"{number}.txt")
            write_lines(training_lines(pools, config, [*excluded, *fold]), lines)
            rows = [row for source in fold for row in sources[source]]
            views = [text_view([row["text"]]) for row in rows]
            job = executor.submit(_fold, str(lines), views, config.taxonomy, settings, config.seed)
            running[job] = number, rows
        for count, job in enumerate(as_completed(running), 1):
            number, rows = running[job]
            parts[number] = LeftOut(rows, job.result())
            done(count)
    ordered = [parts[number] for number in range(len(folds))]
    return LeftOut([row for part in ordered for row in part.rows], np.concatenate([part.probs for part in ordered]))


def _fold(
    lines: str, views: list[str], taxonomy: Taxonomy, settings: FastTextSettings, seed: int
) -> NDArray[np.float64]:
    return train_and_predict(Path(lines), views, taxonomy, seed=seed, settings=settings)


def write_lines(lines: Sequence[str], file: Path) -> None:
    """Write fastText's training file."""
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
