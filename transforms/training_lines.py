"""From labelled rows to the lines fastText reads: groups of rows in fixed shares, every domain as many lines as the others."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.classifier import ClassifierTraining, RowGroup
from schemas.errors import ConfigError, DataError
from schemas.taxonomy import Taxonomy
from transforms.fasttext_classifier import LABEL_PREFIX, text_view
from transforms.labelled_rows import LabelledRow, read_lines_by_domain, read_rows

_TERMS_A_TEMPLATE = 5


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What one group has to offer."""

    group: RowGroup
    rows: list[LabelledRow] = field(default_factory=list)
    held_out: list[LabelledRow] = field(default_factory=list)
    terms: dict[str, list[str]] = field(default_factory=dict)
    """Terms by domain; of groups of terms only."""
    templates: list[str] = field(default_factory=list)

    def domains(self, without: Collection[str]) -> set[str]:
        """The domains that it has training rows for when some sources are left out."""
        return set(self.terms) | {row["domain"] for row in self.rows if row["source"] not in without}


def read_pools(config: ClassifierTraining, directory: Path) -> list[Pool]:
    """Read the rows of every group.

    Args:
        directory: where relative paths start.
    """
    return [_read_pool(group, config.taxonomy, directory) for group in config.train]


def _read_pool(group: RowGroup, taxonomy: Taxonomy, directory: Path) -> Pool:
    files = find_files(group.files, directory, f"train group '{group.name}'")
    if group.form == "rows":
        rows = read_rows(files, taxonomy)
        kept = [_is_held_out(row["text"], group.hold_out) for row in rows]
        return Pool(
            group=group,
            rows=[row for row, out in zip(rows, kept, strict=True) if not out],
            held_out=[row for row, out in zip(rows, kept, strict=True) if out],
        )
    lines = read_lines_by_domain(files, taxonomy)
    if group.form == "texts":
        rows = [
            LabelledRow(text=text, domain=domain, source=group.name)
            for domain, texts in lines.items()
            for text in texts
        ]
        return Pool(group=group, rows=rows)
    few = {domain: len(terms) for domain, terms in lines.items() if len(terms) < _TERMS_A_TEMPLATE}
    if few:
        raise DataError(f"train group '{group.name}': too few terms {few}; a template takes {_TERMS_A_TEMPLATE}")
    assert group.templates is not None  # the schema refuses terms without templates
    (file,) = find_files([group.templates], directory, f"templates of train group '{group.name}'")
    templates = [line.replace("\\n", "\n") for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    for template in templates:
        try:
            template.format(*"abcde")
        except (IndexError, KeyError, ValueError) as error:
            raise DataError(
                f"{file}: the template '{template}' cannot be filled in ({error!r}); expected {{0}} to {{4}}"
            ) from error
    return Pool(group=group, terms=lines, templates=templates)


def _is_held_out(text: str, share: float) -> bool:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) < share * 2**64


def find_files(patterns: Sequence[str], directory: Path, what: str) -> list[Path]:
    """Return the files that paths or globs name, sorted within each; ``${NAME}`` is taken from the environment.

    Raises:
        ConfigError: an environment variable that is not set.
        DataError: a pattern that matches no file.
    """
    files: list[Path] = []
    for pattern in patterns:
        expanded = os.path.expandvars(pattern)
        if "$" in expanded:
            raise ConfigError(f"{what}: '{pattern}' names an environment variable that is not set; set it to a folder")
        path = directory / Path(expanded).expanduser()
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not found:
            raise DataError(f"{what}: no file matches '{pattern}' (looked for {path})")
        files.extend(found)
    return files


def training_lines(pools: Sequence[Pool], config: ClassifierTraining, without: Collection[str] = ()) -> list[str]:
    """Write the lines fastText learns from.

    Every domain gets ``rows_per_domain`` lines, which the groups that know the domain share as configured; within a group, sources
    share by a power of their size. Each draw has a seed of its own, so that leaving out a source changes only its group.

    Args:
        without: sources to leave out.
    """
    lines: list[str] = []
    for domain in config.taxonomy.domains:
        knowing = [pool for pool in pools if domain in pool.domains(without)]
        if not knowing:
            raise DataError(f"domain '{domain}' has no training row; add labelled rows or take it out of the taxonomy")
        shares = sum(pool.group.share for pool in knowing)
        for pool in knowing:
            count = round(config.rows_per_domain * pool.group.share / shares)
            rng = random.Random(f"{config.seed}|{domain}|{pool.group.name}")
            for text in _draw(pool, domain, count, without, rng):
                view = text_view([text])
                # A word that starts like a label would become one.
                lines.append(f"{LABEL_PREFIX}{domain} {view.replace(LABEL_PREFIX, ' ')}")
    random.Random(config.seed).shuffle(lines)
    return lines


def _draw(pool: Pool, domain: str, count: int, without: Collection[str], rng: random.Random) -> list[str]:
    if pool.terms:
        return [
            rng.choice(pool.templates).format(*rng.sample(pool.terms[domain], _TERMS_A_TEMPLATE)) for _ in range(count)
        ]
    by_source: dict[str, list[str]] = {}
    for row in pool.rows:
        if row["domain"] == domain and row["source"] not in without:
            by_source.setdefault(row["source"], []).append(row["text"])
    weights = {source: len(texts) ** pool.group.balance for source, texts in by_source.items()}
    drawn: list[str] = []
    for source, texts in by_source.items():
        repeats, rest = divmod(round(count * weights[source] / sum(weights.values())), len(texts))
        drawn += texts * repeats + rng.sample(texts, rest)
    return drawn


def source_licences(file: Path | None) -> dict[str, dict[str, object]]:
    """Read the decisions on sources: for each its licence, whether it is used, and why; none without a file."""
    if file is None:
        return {}
    try:
        decisions: dict[str, dict[str, object]] = json.loads(file.read_bytes())
        complete = all({"licence", "use", "reason"} <= entry.keys() for entry in decisions.values())
    except (ValueError, AttributeError) as error:
        raise DataError(f"licences {file}: expected an object for each source ({error})") from error
    if not complete:
        raise DataError(f"licences {file}: every source needs licence, use and reason")
    return decisions
