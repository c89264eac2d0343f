"""Train a domain classifier, measure it on sources it has not seen, calibrate it and write its card."""

from __future__ import annotations

import itertools
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.classifier import ClassifierTraining, FastTextSettings
from schemas.errors import ConfigError, DataError
from schemas.files import sha256_file, write_atomic
from schemas.progress import Progress, Silence
from transforms.calibration import cross_calibrated, fit_temperatures
from transforms.classifier_metrics import (
    confusion_rates,
    evaluation,
    source_weights,
    threshold_for,
    weighted_macro_f1,
)
from transforms.fasttext_classifier import (
    CARD_FORMAT,
    MAX_CHARS,
    DomainClassifier,
    Temperatures,
    soften,
    text_view,
    train_model,
)
from transforms.labelled_rows import LabelledRow, read_rows
from transforms.leave_out import LeftOut, covers, grouped, predict_left_out, sources_to_leave_out, write_lines
from transforms.training_lines import Pool, find_files, read_pools, source_licences, training_lines

MODEL_FILE = "domains.ftz"
CARD_FILE = "domains.json"
_KNOWS_NOTHING = 1.05  # times 1/k, what a text without a single word gets for every domain: never determined
_SEARCHED = ("lr", "dim", "epoch", "word_ngrams", "buckets")


def train_classifier(
    config: ClassifierTraining, directory: Path, *, workers: int | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Train, quantise, calibrate and measure a classifier; write ``domains.ftz`` and ``domains.json`` to the output directory.

    Every source that can be left out is left out in turn: what the models trained without it say of its rows gives the
    temperature, the threshold of ``undetermined`` and the confusion matrix. Excluded sources are measured with the finished model.

    Args:
        directory: where the configuration's relative paths start.
        workers: processes that train folds side by side; one per core when absent. The same bytes come of any number.

    Returns:
        The card.
    """
    workers, progress = workers or os.cpu_count() or 1, progress or Silence()
    output = directory / config.output
    licences = source_licences(find_files([config.licences], directory, "licences")[0] if config.licences else None)
    pools = read_pools(config, directory)
    held_out_files = find_files(config.held_out, directory, "held_out")
    held_out = {pool.group.name: pool.held_out for pool in pools if pool.held_out}
    if held_out_files:
        held_out["held_out"] = read_rows(held_out_files, config.taxonomy)
    excluded = sorted({*config.exclude_sources, *(name for name, entry in licences.items() if not entry["use"])})

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output {output}: cannot be made ({error}); name a directory that you may write to"
        ) from error

    sources = sources_to_leave_out(pools, excluded)
    never_seen = [row for pool in pools for row in pool.rows if row["source"] in excluded]
    all_held_out = [row for rows in held_out.values() for row in rows]
    if not (sources or never_seen or all_held_out):
        raise DataError(
            "nothing to measure the classifier on: no source can be left out without a domain losing all its rows, and there are no"
            " held_out rows; give each domain rows of two sources, or name held_out files"
        )
    settings, trials = _search(config, pools, sources, excluded, workers, progress)
    progress.begin("leave each source out in turn", len(sources), "sources")
    left_out = _leave_out(
        [[source] for source in sources], sources, pools, config, settings, excluded, workers, progress
    )
    progress.end()

    progress.begin("train on all sources", None, "")
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        lines, model, dense = (Path(scratch, name) for name in ("train.txt", MODEL_FILE, "dense.bin"))
        write_lines(training_lines(pools, config, excluded), lines)
        train_model(lines, model, seed=config.seed, settings=settings, dense=dense)
        size = model.stat().st_size
        if size > config.max_bytes:
            raise ConfigError(
                f"the quantised model has {size:,} bytes, max_bytes is {config.max_bytes:,}; use fewer buckets, a smaller dim,"
                " a larger dsub or a higher min_count"
            )
        classifier = DomainClassifier.load(model, config.taxonomy)
        full = DomainClassifier.load(dense, config.taxonomy)
        trained = model.read_bytes()
    progress.end()

    unseen = _joined(left_out, LeftOut(never_seen, _predict(classifier, never_seen)))
    judged_on = unseen if unseen.rows else LeftOut(all_held_out, _predict(classifier, all_held_out))
    temperatures = fit_temperatures(judged_on.rows, judged_on.probs, config.taxonomy)
    calibrated = cross_calibrated(judged_on.rows, judged_on.probs, config.taxonomy)
    truth = np.array([config.taxonomy.index(row["domain"]) for row in judged_on.rows])
    precise = threshold_for(
        calibrated.max(axis=1), calibrated.argmax(axis=1) == truth, source_weights(judged_on.rows), config.precision
    )
    threshold = max(precise, _KNOWS_NOTHING / len(config.taxonomy))
    rates, errors = confusion_rates(judged_on.rows, calibrated, config.taxonomy)
    card: dict[str, Any] = {
        "format": CARD_FORMAT,
        "labels": list(config.taxonomy.domains),
        "taxonomy": config.taxonomy.model_dump(mode="json"),
        "licence": config.licence,
        "sha256": classifier.sha256,
        "bytes": size,
        "temperatures": temperatures._asdict(),
        "undetermined_below": threshold,
        "precision_asked_for": config.precision,
        "text_view": {
            "max_chars": MAX_CHARS,
            "lower_case": True,
            "prose_punctuation": "blank",
            "digits": "blank",
            "cjk": "apart",
        },
        "settings": config.model_dump(mode="json", exclude={"output", "page", "taxonomy", "search", "fasttext"}),
        "fasttext": settings.model_dump(mode="json"),
        "search": trials,
        "unseen": {
            "of_sources": bool(unseen.rows),
            **evaluation(judged_on.rows, calibrated, config.taxonomy, threshold, source_weights(judged_on.rows)),
            "confusion_rates": rates.round(6).tolist(),
            "confusion_standard_errors": errors.round(6).tolist(),
            "trained_without": sorted(sources),
            "never_trained_on": excluded,
        },
        "unseen_by_group": _by_group(pools, judged_on.rows, calibrated, config, threshold),
        "held_out": {
            name: _held_out(rows, classifier, full, temperatures, threshold, config) for name, rows in held_out.items()
        },
        "files": {f"{file.parent.name}/{file.name}": sha256_file(file) for file in _all_files(config, directory)},
        "sources": _source_table(pools, licences, excluded),
    }
    write_atomic(output / MODEL_FILE, trained)
    write_atomic(output / CARD_FILE, json.dumps(card, indent=1, ensure_ascii=False).encode() + b"\n")
    return card


def _search(
    config: ClassifierTraining,
    pools: Sequence[Pool],
    sources: Mapping[str, list[LabelledRow]],
    excluded: Sequence[str],
    workers: int,
    progress: Progress,
) -> tuple[FastTextSettings, list[dict[str, Any]]]:
    """Try settings and return the best with the table of all: by macro-F1 on left-out sources, which count alike within a domain.

    A trial leaves out one source of each domain at once, so that it takes as many fits as the domain of most sources has.
    """
    candidates = [config.fasttext, *_drawn_settings(config)]
    if len(candidates) == 1 or not sources:
        return config.fasttext, []
    folds = grouped(dict(sources), lambda together: covers(pools, excluded, together))
    progress.begin("search settings", len(candidates), "trials")
    trials = []
    for number, settings in enumerate(candidates, 1):
        found = predict_left_out(folds, dict(sources), pools, config, settings, excluded=excluded, workers=workers)
        score = weighted_macro_f1(found.rows, found.probs, config.taxonomy)
        trials.append({**settings.model_dump(mode="json", include=set(_SEARCHED)), "macro_f1": round(score, 6)})
        progress.advance_to(number, f"macro-F1 {score:.4f}, best {max(trial['macro_f1'] for trial in trials):.4f}")
    progress.end()
    best = max(range(len(trials)), key=lambda i: trials[i]["macro_f1"])
    return candidates[best], trials


def _drawn_settings(config: ClassifierTraining) -> list[FastTextSettings]:
    space = [getattr(config.search, name) for name in _SEARCHED]
    combinations = [dict(zip(_SEARCHED, values, strict=True)) for values in itertools.product(*space)]
    drawn = random.Random(config.seed).sample(combinations, min(config.search.trials, len(combinations)))
    settings = [config.fasttext.model_copy(update=values) for values in drawn]
    return [one for one in settings if one != config.fasttext]


def _leave_out(
    folds: Sequence[Sequence[str]],
    sources: Mapping[str, list[LabelledRow]],
    pools: Sequence[Pool],
    config: ClassifierTraining,
    settings: FastTextSettings,
    excluded: Sequence[str],
    workers: int,
    progress: Progress,
) -> LeftOut:
    if not folds:
        return LeftOut([], np.zeros((0, len(config.taxonomy))))
    return predict_left_out(
        folds, dict(sources), pools, config, settings, excluded=excluded, workers=workers, done=progress.advance_to
    )


def _predict(classifier: DomainClassifier, rows: Sequence[LabelledRow]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return classifier.predict([text_view([row["text"]]) for row in rows]).astype(np.float64)


def _joined(*parts: LeftOut) -> LeftOut:
    return LeftOut([row for part in parts for row in part.rows], np.concatenate([part.probs for part in parts]))


def _by_group(
    pools: Sequence[Pool],
    rows: Sequence[LabelledRow],
    probs: np.ndarray[Any, np.dtype[np.float64]],
    config: ClassifierTraining,
    threshold: float,
) -> dict[str, Any]:
    """Evaluate the rows of each group of published rows by themselves: a language, say."""
    found = {}
    for pool in pools:
        own = {row["source"] for row in pool.rows}
        members = [i for i, row in enumerate(rows) if row["source"] in own]
        if members and len(members) < len(rows):
            part = [rows[i] for i in members]
            found[pool.group.name] = evaluation(part, probs[members], config.taxonomy, threshold, source_weights(part))
    return found


def _held_out(
    rows: Sequence[LabelledRow],
    classifier: DomainClassifier,
    full: DomainClassifier,
    temperatures: Temperatures,
    threshold: float,
    config: ClassifierTraining,
) -> dict[str, Any]:
    """Evaluate the finished model on held-out rows, beside what it would do if it were not quantised."""
    applied = temperatures.of([text_view([row["text"]]) for row in rows])
    quantised, dense = (
        evaluation(rows, soften(_predict(model, rows), applied), config.taxonomy, threshold)
        for model in (classifier, full)
    )
    return {**quantised, "macro_f1_before_quantisation": dense["macro_f1"]}


def _all_files(config: ClassifierTraining, directory: Path) -> list[Path]:
    named = [
        pattern for group in config.train for pattern in (*group.files, *([group.templates] if group.templates else []))
    ]
    return sorted(set(find_files([*named, *config.held_out], directory, "files")))


def _source_table(
    pools: Sequence[Pool], licences: Mapping[str, Mapping[str, Any]], excluded: Sequence[str]
) -> dict[str, Any]:
    unknown = {"licence": "not stated", "reason": "chosen by whoever trained this model"}
    rows = [row for pool in pools for row in pool.rows]
    counts = Counter(row["source"] for row in rows)
    for pool in pools:
        if pool.terms:
            counts[pool.group.name] = sum(map(len, pool.terms.values()))
    domains: dict[str, set[str]] = {pool.group.name: set(pool.terms) for pool in pools if pool.terms}
    for row in rows:
        domains.setdefault(row["source"], set()).add(row["domain"])
    return {
        source: {
            "licence": licences.get(source, unknown)["licence"],
            "used": source not in excluded,
            "rows": counts[source],
            "domains": sorted(domains[source]),
            "reason": licences.get(source, unknown)["reason"],
            "note": licences.get(source, unknown).get("note"),
        }
        for source in sorted(counts)
    }
