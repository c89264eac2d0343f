"""Train a domain classifier, measure it on sources it has not seen, calibrate it and write its card."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from versatune.schemas.classifier import ClassifierTraining, FastTextSettings
from versatune.schemas.errors import ConfigError, DataError, RunError
from versatune.schemas.files import sha256_file, write_atomic
from versatune.schemas.progress import Progress, Silence
from versatune.transforms.classifier.calibration import cross_calibrated, fit_temperatures
from versatune.transforms.classifier.fasttext_classifier import (
    CARD_FORMAT,
    MAX_CHARS,
    DomainClassifier,
    Temperatures,
    soften,
    text_view,
    train_model,
)
from versatune.transforms.classifier.labelled_rows import LabelledRow
from versatune.transforms.classifier.leave_out import (
    LeftOut,
    covers,
    grouped,
    predict_left_out,
    sources_to_leave_out,
    write_lines,
)
from versatune.transforms.classifier.metrics import (
    evaluation,
    label_errors,
    source_weights,
    threshold_for,
    weighted_macro_f1,
)
from versatune.transforms.classifier.training_lines import Material, Pool, find_files, read_material, training_lines

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
    material, output = read_material(config, directory), _made(directory / config.output)
    sources = sources_to_leave_out(material.pools, material.excluded)
    never_seen = [row for pool in material.pools for row in pool.rows if row["source"] in material.excluded]
    held_out = [row for rows in material.held_out.values() for row in rows]
    if not (sources or never_seen or held_out):
        raise DataError(
            "nothing to measure the classifier on: no source can be left out without a domain losing all its rows, and there are no"
            " held_out rows; give each domain rows of two sources, or name held_out files"
        )
    settings, trials = _search(config, material, sources, workers, progress)
    progress.begin("leave each source out in turn", len(sources), "sources")
    left_out = _leave_out(config, material, sources, settings, workers, progress)
    progress.end()
    progress.begin("train on all sources", None, "")
    model, classifier, dense = _train(config, material, settings)
    progress.end()
    unseen = _joined(left_out, LeftOut(never_seen, _predict(classifier, never_seen)))
    judged_on = unseen if unseen.rows else LeftOut(held_out, _predict(classifier, held_out))
    card: dict[str, Any] = {
        **_about(config, settings, trials),
        "sha256": classifier.sha256,
        "bytes": len(model),
        **_measured(config, material, judged_on, classifier, dense),
        "files": _digests(config, directory),
        "sources": _source_table(material),
    }
    card["unseen"] |= {
        "of_sources": bool(unseen.rows),
        "trained_without": sorted(sources),
        "never_trained_on": material.excluded,
    }
    if card["undetermined_below"] >= 1.0:
        progress.say(
            f"warning: at no threshold are the determined rows right {config.precision:.0%} of the time, so every text is"
            " undetermined; ask for less ('precision'), or give rows of more sources"
        )
    write_atomic(output / MODEL_FILE, model)
    write_atomic(output / CARD_FILE, card_json(card).encode())
    return card


def card_json(card: Mapping[str, Any]) -> str:
    """Write a card for programs and people: one thing a line, but a list of numbers, such as a matrix's row, on a single one."""
    text = json.dumps(card, indent=1, ensure_ascii=False)
    # No string holds a line break in JSON, so only lists can match.
    return re.sub(r"\[\n[-+.\deE,\s]+\]", lambda numbers: json.dumps(json.loads(numbers[0])), text) + "\n"


def _made(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output {output}: cannot be made ({error}); name a directory that you may write to"
        ) from error
    return output


def _train(
    config: ClassifierTraining, material: Material, settings: FastTextSettings
) -> tuple[bytes, DomainClassifier, DomainClassifier]:
    """Train on all sources; return the model file, the classifier, and what it was before it was quantised."""
    with tempfile.TemporaryDirectory(prefix="versatune-classifier-") as scratch:
        lines, model, dense = (Path(scratch, name) for name in ("train.txt", MODEL_FILE, "dense.bin"))
        write_lines(training_lines(material.pools, config, material.excluded), lines)
        train_model(lines, model, seed=config.seed, settings=settings, dense=dense)
        size = model.stat().st_size
        if size > config.max_bytes:
            raise ConfigError(
                f"the quantised model has {size:,} bytes, max_bytes is {config.max_bytes:,}; use fewer buckets, a smaller dim,"
                " a larger dsub or a higher min_count"
            )
        return (
            model.read_bytes(),
            DomainClassifier.load(model, config.taxonomy),
            DomainClassifier.load(dense, config.taxonomy),
        )


def _about(config: ClassifierTraining, settings: FastTextSettings, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the card says of how the model was made."""
    return {
        "format": CARD_FORMAT,
        "labels": list(config.taxonomy.domains),
        "taxonomy": config.taxonomy.model_dump(mode="json"),
        "licence": config.licence,
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
    }


def _measured(
    config: ClassifierTraining,
    material: Material,
    judged_on: LeftOut,
    classifier: DomainClassifier,
    dense: DomainClassifier,
) -> dict[str, Any]:
    """Calibrate, set the threshold, and return what the card says of how good the model is."""
    rows, taxonomy = judged_on.rows, config.taxonomy
    temperatures = fit_temperatures(rows, judged_on.probs, taxonomy)
    probs = cross_calibrated(rows, judged_on.probs, taxonomy)
    hits = probs.argmax(axis=1) == np.array([taxonomy.index(row["domain"]) for row in rows])
    weights = source_weights(rows)
    precise = threshold_for(probs.max(axis=1), hits, weights, config.precision)
    threshold = max(precise, _KNOWS_NOTHING / len(taxonomy))
    return {
        "temperatures": temperatures._asdict(),
        "undetermined_below": threshold,
        "unseen": {
            **evaluation(rows, probs, taxonomy, threshold, weights),
            "label_errors": label_errors(rows, probs, taxonomy),
        },
        "unseen_by_group": _by_group(material.pools, rows, probs, config, threshold),
        "held_out": {
            name: _held_out(kept, classifier, dense, temperatures, threshold, config)
            for name, kept in material.held_out.items()
        },
    }


def _search(
    config: ClassifierTraining,
    material: Material,
    sources: Mapping[str, list[LabelledRow]],
    workers: int,
    progress: Progress,
) -> tuple[FastTextSettings, list[dict[str, Any]]]:
    """Try settings and return the best with the table of all: by macro-F1 on left-out sources, which count alike within a domain.

    A trial leaves out one source of each domain at once, so that it takes as many fits as the domain of most sources has.
    """
    candidates = [config.fasttext, *_drawn_settings(config)]
    if len(candidates) == 1 or not sources:
        return config.fasttext, []
    folds = grouped(dict(sources), lambda together: covers(material.pools, material.excluded, together))
    progress.begin("search settings", len(candidates), "trials")
    trials = []
    for number, settings in enumerate(candidates, 1):
        score = _score(folds, sources, material, config, settings, workers)
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


def _score(
    folds: Sequence[Sequence[str]],
    sources: Mapping[str, list[LabelledRow]],
    material: Material,
    config: ClassifierTraining,
    settings: FastTextSettings,
    workers: int,
) -> float:
    """Return the macro-F1 of settings on left-out sources; 0 for settings with which training diverges."""
    try:
        found = predict_left_out(
            folds, dict(sources), material.pools, config, settings, excluded=material.excluded, workers=workers
        )
    except RunError:
        return 0.0
    return weighted_macro_f1(found.rows, found.probs, config.taxonomy)


def _leave_out(
    config: ClassifierTraining,
    material: Material,
    sources: Mapping[str, list[LabelledRow]],
    settings: FastTextSettings,
    workers: int,
    progress: Progress,
) -> LeftOut:
    if not sources:
        return LeftOut([], np.zeros((0, len(config.taxonomy))))
    return predict_left_out(
        [[source] for source in sources],
        dict(sources),
        material.pools,
        config,
        settings,
        excluded=material.excluded,
        workers=workers,
        done=progress.advance_to,
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


def _digests(config: ClassifierTraining, directory: Path) -> dict[str, str]:
    """Return the sha256 of every file, by its folder and name, in the order of the configuration."""
    patterns = [pattern for group in config.train for pattern in (*group.files, group.templates) if pattern]
    files = find_files([*patterns, *config.held_out, *filter(None, [config.licences])], directory, "files")
    return {f"{file.parent.name}/{file.name}": sha256_file(file) for file in files}


def _source_table(material: Material) -> dict[str, Any]:
    pools, licences = material.pools, material.licences
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
            "used": source not in material.excluded,
            "rows": counts[source],
            "domains": sorted(domains[source]),
            "reason": licences.get(source, unknown)["reason"],
            "note": licences.get(source, unknown).get("note"),
        }
        for source in sorted(counts)
    }
