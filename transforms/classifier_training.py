"""Train the domain classifier, measure it on held-out rows and write its card.

    python -m transforms.classifier_training --data LABELLED_DIR --output transforms/data --card docs/classifier-card.md

``LABELLED_DIR`` holds ``train*.jsonl.gz`` and ``valid*.jsonl.gz``, one ``{"text", "domain", "source"}`` a line.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError, DataError
from schemas.files import sha256_file, write_atomic
from schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from transforms.classifier_card import card_markdown
from transforms.fasttext_classifier import (
    CARD_FORMAT,
    LABEL_PREFIX,
    MAX_CHARS,
    DomainClassifier,
    soften,
    text_view,
    train_model,
)

TRAINING = {
    "lr": 0.8,
    "dim": 8,
    "epoch": 10,
    "wordNgrams": 2,
    "minn": 3,
    "maxn": 5,
    "bucket": 100_000,
    "minCount": 1,
}
DSUB = 2
ROWS_PER_DOMAIN = 3000
TERM_ROWS = {"en": 2000, "zh": 600}
SHORTENED_SHARE = 0.15
SEED = 20250117
MODEL_LICENCE = "CC BY-SA 4.0"


class LabelledRow(TypedDict):
    """One labelled text and the source it came from."""

    text: str
    domain: str
    source: str


def train_classifier(
    train_files: Sequence[Path],
    valid_files: Sequence[Path],
    output: Path,
    *,
    taxonomy: Taxonomy = DEFAULT_TAXONOMY,
    exclude_sources: Collection[str] | None = None,
    seed: int = SEED,
    training: Mapping[str, Any] = TRAINING,
    rows_per_domain: int = ROWS_PER_DOMAIN,
    term_rows: Mapping[str, int] = TERM_ROWS,
) -> dict[str, Any]:
    """Train, quantise, calibrate and measure a classifier; write ``domains.ftz`` and ``domains.json`` to ``output``.

    Args:
        exclude_sources: sources no training row is taken from; they measure how the model does on sources it has
            never seen. None excludes those whose licence the shipped table rules out.
        rows_per_domain: every domain is sampled or repeated to this many rows, so that none is favoured.
        term_rows: rows a domain, by language, made of versatune's own domain terms.

    Returns:
        The card.
    """
    licences = source_licences()
    excluded = set(exclude_sources if exclude_sources is not None else (s for s in licences if not licences[s]["use"]))
    labelled = read_rows(train_files, taxonomy)
    held_out = read_rows(valid_files, taxonomy)
    kept = [row for row in labelled if row["source"] not in excluded]
    pool = kept + term_example_rows(term_rows, taxonomy, seed)

    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        lines, model = Path(scratch) / "train.txt", Path(scratch) / "domains.ftz"
        lines.write_text(
            "\n".join(training_lines(pool, taxonomy, rows_per_domain, seed)) + "\n",
            encoding="utf-8",
        )
        train_model(lines, model, seed=seed, training=training, dsub=DSUB)
        uncalibrated = DomainClassifier.load(model, taxonomy)
        truth = np.array([taxonomy.index(row["domain"]) for row in held_out])
        probs = uncalibrated.predict(_views(held_out)).astype(np.float64)
        temperature = fit_temperature(probs, truth)
        size, digest = model.stat().st_size, uncalibrated.sha256
        os.replace(model, output / "domains.ftz")

    calibrated = soften(np.clip(probs, 1e-7, 1.0), temperature)
    unseen = [i for i, row in enumerate(held_out) if row["source"] in excluded]
    seen = [i for i, row in enumerate(held_out) if row["source"] not in excluded]
    left_out = [row for row in labelled if row["source"] in excluded]
    card: dict[str, Any] = {
        "format": CARD_FORMAT,
        "labels": list(taxonomy.domains),
        "licence": MODEL_LICENCE,
        "sha256": digest,
        "bytes": size,
        "temperature": temperature,
        "text_view": {
            "max_chars": MAX_CHARS,
            "lower_case": True,
            "prose_punctuation": "blank",
        },
        "seed": seed,
        "training": {**training, "loss": "softmax", "dsub": DSUB},
        "sampling": {
            "rows_per_domain": rows_per_domain,
            "term_rows": dict(term_rows),
            "shortened_share": SHORTENED_SHARE,
        },
        "files": {file.name: sha256_file(file) for file in (*train_files, *valid_files)},
        "terms_sha256": sha256_file(_data_file("domain_terms.json")),
        "rows_by_domain": _counts(kept, "domain"),
        "sources": _source_table(pool, licences),
        "excluded_sources": _source_table(left_out, licences),
        "validation": measure(held_out, calibrated, taxonomy)
        | {
            "nll_before_temperature": _nll(probs, truth),
            "nll": _nll(calibrated, truth),
        },
        "seen_sources": _summary([held_out[i] for i in seen], calibrated[seen], taxonomy),
        "unseen_sources": _summary([held_out[i] for i in unseen], calibrated[unseen], taxonomy),
        "unseen_training_rows": _summary(left_out, uncalibrated.predict(_views(left_out)), taxonomy),
    }
    write_atomic(
        output / "domains.json",
        json.dumps(card, indent=1, ensure_ascii=False).encode() + b"\n",
    )
    return card


def read_rows(files: Sequence[Path], taxonomy: Taxonomy) -> list[LabelledRow]:
    """Read gzipped or plain JSON Lines of ``{"text", "domain", "source"}``; the domain must be in the taxonomy."""
    rows: list[LabelledRow] = []
    for file in files:
        try:
            raw = file.read_bytes()
            data = gzip.decompress(raw) if file.suffix == ".gz" else raw
        except (OSError, EOFError) as e:
            raise DataError(f"labelled rows {file}: cannot be read ({e})") from e
        for number, line in enumerate(data.split(b"\n"), 1):
            if line.strip():
                rows.append(_labelled_row(line, f"{file}:{number}", taxonomy))
    if not rows:
        raise DataError(f"labelled rows: none in {[str(file) for file in files]}; expected text, domain and source")
    return rows


def _labelled_row(line: bytes, where: str, taxonomy: Taxonomy) -> LabelledRow:
    try:
        row = json.loads(line)
        text, domain, source = row["text"], row["domain"], row["source"]
        name = taxonomy.domains[taxonomy.index(domain)]
    except ConfigError as e:
        raise DataError(f"labelled row {where}: {e}") from e
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"labelled row {where}: expected an object with text, domain and source ({e!r})") from e
    return LabelledRow(text=str(text), domain=name, source=str(source))


def term_example_rows(per_domain: Mapping[str, int], taxonomy: Taxonomy, seed: int) -> list[LabelledRow]:
    """Make rows from versatune's own domain terms.

    The templates are the same for all domains, so that the form of a text (multiple choice, question and answer)
    says nothing about its domain; in published data it nearly gives the domain away.
    """
    table = json.loads(_data_file("domain_terms.json").read_bytes())
    rng = random.Random(seed)
    rows: list[LabelledRow] = []
    for language, count in per_domain.items():
        for domain, terms in table["terms"][language].items():
            if domain not in taxonomy.domains:
                continue
            for _ in range(count):
                text = rng.choice(table["templates"][language]).format(*rng.sample(terms, 5))
                rows.append(LabelledRow(text=text, domain=domain, source=f"own-terms-{language}"))
    return rows


def training_lines(rows: Sequence[LabelledRow], taxonomy: Taxonomy, rows_per_domain: int, seed: int) -> list[str]:
    """Balance the domains, shorten some rows to their question or their answer, and write fastText's lines."""
    by_domain: dict[str, list[LabelledRow]] = {name: [] for name in taxonomy.domains}
    for row in rows:
        by_domain[row["domain"]].append(row)
    rng = random.Random(seed)
    lines: list[str] = []
    for domain, pool in by_domain.items():
        if not pool:
            raise DataError(f"domain '{domain}' has no training row; add labelled rows or take it out of the taxonomy")
        repeats, rest = divmod(rows_per_domain, len(pool))
        for row in [*pool * repeats, *rng.sample(pool, rest)]:
            view = text_view([_shortened(row["text"], rng)])
            # A word that starts like a label would become one.
            lines.append(f"{LABEL_PREFIX}{domain} {view.replace(LABEL_PREFIX, ' ')}")
    rng.shuffle(lines)
    return lines


def _shortened(text: str, rng: random.Random) -> str:
    if rng.random() >= SHORTENED_SHARE:
        return text
    first, _, rest = text.partition("\n")
    return rng.choice([first, rest or first])


def fit_temperature(probs: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    """Find the temperature in [1/4, 4] that gives held-out rows the highest likelihood.

    Args:
        probs: (n, k) probabilities. truth: (n,) index of the true domain.
    """
    grid = np.geomspace(0.25, 4.0, 401)
    clipped = np.clip(probs, 1e-7, 1.0)
    losses = [_nll(soften(clipped, t), truth) for t in grid]
    return float(grid[int(np.argmin(losses))])


def measure(rows: Sequence[LabelledRow], probs: NDArray[Any], taxonomy: Taxonomy) -> dict[str, Any]:
    """Compare (n, k) probabilities with the rows' domains.

    ``confusion[a][b]`` counts rows predicted ``a`` whose true domain is ``b``; ``soft_confusion[a][b]`` is the mean
    probability of ``a`` over the rows of true domain ``b``. Both in taxonomy order.
    """
    k = len(taxonomy)
    truth = np.array([taxonomy.index(row["domain"]) for row in rows])
    guess = np.argmax(probs, axis=1)
    confusion = np.zeros((k, k), dtype=np.int64)
    np.add.at(confusion, (guess, truth), 1)
    soft = np.array([probs[truth == b].mean(axis=0) if (truth == b).any() else np.zeros(k) for b in range(k)]).T
    hits, true_rows, guessed = (
        confusion.diagonal(),
        confusion.sum(axis=0),
        confusion.sum(axis=1),
    )
    f1 = 2 * hits / np.maximum(true_rows + guessed, 1)
    return {
        **_summary(rows, probs, taxonomy),
        "macro_f1": float(f1.mean()),
        "rows_by_domain": taxonomy.named(true_rows.tolist()),
        "confusion": confusion.tolist(),
        "soft_confusion": [[round(float(x), 6) for x in row] for row in soft],
    }


def _summary(rows: Sequence[LabelledRow], probs: NDArray[Any], taxonomy: Taxonomy) -> dict[str, Any]:
    if not rows:
        return {"rows": 0}
    guess = np.argmax(probs, axis=1)
    hits = [taxonomy.domains[g] == row["domain"] for g, row in zip(guess, rows, strict=True)]
    by_domain = _recall(rows, hits, "domain")
    return {
        "rows": len(rows),
        "accuracy": float(np.mean(hits)),
        "macro_recall": float(np.mean(list(by_domain.values()))),
        "recall_by_domain": by_domain,
        "recall_by_source": _recall(rows, hits, "source"),
    }


def _recall(rows: Sequence[LabelledRow], hits: Sequence[bool], key: str) -> dict[str, float]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, hit in zip(rows, hits, strict=True):
        groups[row[key]].append(hit)  # type: ignore[literal-required]
    return {name: round(float(np.mean(group)), 6) for name, group in sorted(groups.items())}


def _nll(probs: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    return float(-np.log(np.clip(probs[np.arange(len(truth)), truth], 1e-7, 1.0)).mean())


def _views(rows: Sequence[LabelledRow]) -> list[str]:
    return [text_view([row["text"]]) for row in rows]


def _counts(rows: Sequence[LabelledRow], key: str) -> dict[str, int]:
    return dict(sorted(Counter(row[key] for row in rows).items()))  # type: ignore[literal-required]


def _source_table(rows: Sequence[LabelledRow], licences: Mapping[str, Any]) -> dict[str, Any]:
    unknown = {
        "licence": "not in versatune's table",
        "reason": "chosen by whoever trained this model",
    }
    table = {}
    for source, count in _counts(rows, "source").items():
        entry = licences.get(source, unknown)
        domains = sorted({row["domain"] for row in rows if row["source"] == source})
        table[source] = {
            "licence": entry["licence"],
            "rows": count,
            "domains": domains,
            "reason": entry["reason"],
        }
    return table


def source_licences() -> dict[str, dict[str, Any]]:
    """The shipped decisions: for every known source its licence, whether it is used, and why."""
    decisions: dict[str, dict[str, Any]] = json.loads(_data_file("classifier_sources.json").read_bytes())
    return decisions


def _data_file(name: str) -> Path:
    return Path(str(resources.files("transforms") / "data" / name))


def main(argv: Sequence[str] | None = None) -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(prog="python -m transforms.classifier_training", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with train*.jsonl.gz and valid*.jsonl.gz",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for domains.ftz and domains.json",
    )
    parser.add_argument("--card", type=Path, help="also write the card as a Markdown page here")
    args = parser.parse_args(argv)
    train_files, valid_files = (sorted(args.data.glob(f"{split}*.jsonl.gz")) for split in ("train", "valid"))
    card = train_classifier(train_files, valid_files, args.output)
    if args.card:
        write_atomic(args.card, card_markdown(card).encode())
    checked, unseen = card["validation"], card["unseen_sources"]
    print(f"{args.output / 'domains.ftz'}: {card['bytes']:,} bytes, sha256 {card['sha256']}")
    print(
        f"accuracy {checked['accuracy']:.4f}, macro-F1 {checked['macro_f1']:.4f}",
        end=", ",
    )
    print(f"macro recall on unseen sources {unseen.get('macro_recall', float('nan')):.4f}")


if __name__ == "__main__":
    main()
