"""From labelled rows to the lines fastText reads: groups of rows in fixed shares, every domain as many lines as the others."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from versatune.schemas.classifier import ClassifierTraining, RowGroup
from versatune.schemas.errors import ConfigError, DataError, nearest
from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.fasttext_classifier import LABEL_PREFIX, text_view
from versatune.transforms.classifier.labelled_rows import LabelledRow, read_lines_by_domain, read_rows

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

    @cached_property
    def views(self) -> list[str]:
        """What fastText sees of each row."""
        return [text_view([row["text"]]) for row in self.rows]

    def left(self, without: Collection[str], hidden: Collection[str]) -> Iterator[tuple[LabelledRow, str]]:
        """Yield rows and their views when some sources are left out, and some views wherever they occur."""
        for row, view in zip(self.rows, self.views, strict=True):
            if row["source"] not in without and view not in hidden:
                yield row, view

    def domains(self, without: Collection[str], hidden: Collection[str]) -> set[str]:
        """The domains that it has something for when some sources, and some views, are left out."""
        return set(self.terms) | {row["domain"] for row, _ in self.left(without, hidden)}


class Material(NamedTuple):
    """What a classifier is made from and measured on."""

    pools: list[Pool]
    held_out: dict[str, list[LabelledRow]]
    """Rows to measure on, by the group they were kept back from, and ``held_out`` for those of the files of that name."""
    excluded: list[str]
    """Sources that are not trained on."""
    licences: dict[str, dict[str, Any]]


def read_material(config: ClassifierTraining, directory: Path) -> Material:
    """Read the rows of every group, and those to measure on, whose texts are taken out of the groups.

    Args:
        directory: where relative paths start.

    Raises:
        ConfigError: an environment variable that is not set, or a source to exclude that no row has.
        DataError: a file that is not there or cannot be used.
    """
    licences = _read_licences(find_files([config.licences], directory, "licences")[0]) if config.licences else {}
    pools = [_read_pool(group, config.taxonomy, directory) for group in config.train]
    held_out = {pool.group.name: pool.held_out for pool in pools if pool.held_out}
    if config.held_out:
        held_out["held_out"] = read_rows(find_files(config.held_out, directory, "held_out"), config.taxonomy)
    known = {row["source"] for pool in pools for row in (*pool.rows, *pool.held_out)}
    for name in config.exclude_sources:
        if name not in known:
            raise ConfigError(f"exclude_sources: no row has the source '{name}'{nearest(name, sorted(known))}")
    hidden = {text_view([row["text"]]) for rows in held_out.values() for row in rows}
    return Material(
        pools=[replace(pool, rows=[row for row, _ in pool.left((), hidden)]) for pool in pools],
        held_out=held_out,
        excluded=sorted({*config.exclude_sources, *(name for name, entry in licences.items() if not entry["use"])}),
        licences=licences,
    )


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
    if not templates:
        raise DataError(f"{file}: no template; expected one a line, with {{0}} to {{4}} where terms go")
    for template in templates:
        try:
            template.format(*"abcde")
        except (IndexError, KeyError, ValueError, AttributeError) as error:
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
    files: dict[Path, None] = {}
    for pattern in patterns:
        expanded = os.path.expandvars(pattern)
        if "$" in expanded:
            raise ConfigError(f"{what}: '{pattern}' names an environment variable that is not set; set it to a folder")
        path = Path(glob.escape(str(directory))) / Path(expanded).expanduser()
        found = sorted(glob.glob(str(path), recursive=True))
        if not found:
            raise DataError(f"{what}: no file matches '{pattern}' (looked for {directory / expanded})")
        files.update(dict.fromkeys(map(Path, found)))
    return list(files)


def hidden_views(pools: Sequence[Pool], without: Collection[str]) -> set[str]:
    """Return the views of the rows of some sources: the same text under another name would give them away."""
    return {view for pool in pools for row, view in zip(pool.rows, pool.views, strict=True) if row["source"] in without}


def training_lines(pools: Sequence[Pool], config: ClassifierTraining, without: Collection[str] = ()) -> list[str]:
    """Write the lines fastText learns from.

    Every domain gets ``rows_per_domain`` lines, which the groups that know the domain share as configured; within a group, sources
    share by a power of their size. Each draw has a seed of its own, so that leaving out a source changes only its group.

    Args:
        without: sources to leave out, together with whatever has the text of one of their rows under another name.
    """
    hidden = hidden_views(pools, without)
    lines: list[str] = []
    for domain in config.taxonomy.domains:
        knowing = [pool for pool in pools if domain in pool.domains(without, hidden)]
        if not knowing:
            raise DataError(f"domain '{domain}' has no training row; add labelled rows or take it out of the taxonomy")
        shares = sum(pool.group.share for pool in knowing)
        for pool in knowing:
            count = max(1, round(config.rows_per_domain * pool.group.share / shares))
            rng = random.Random(f"{config.seed}|{domain}|{pool.group.name}")
            # A word that starts like a label would become one.
            lines += [
                f"{LABEL_PREFIX}{domain} {view.replace(LABEL_PREFIX, ' ')}"
                for view in _draw(pool, domain, count, without, hidden, rng)
            ]
    random.Random(config.seed).shuffle(lines)
    return lines


def _draw(
    pool: Pool, domain: str, count: int, without: Collection[str], hidden: set[str], rng: random.Random
) -> list[str]:
    """Return about so many text views."""
    if pool.terms:
        return [
            text_view([rng.choice(pool.templates).format(*rng.sample(pool.terms[domain], _TERMS_A_TEMPLATE))])
            for _ in range(count)
        ]
    by_source: dict[str, list[str]] = {}
    for row, view in pool.left(without, hidden):
        if row["domain"] == domain:
            by_source.setdefault(row["source"], []).append(view)
    weights = {source: len(texts) ** pool.group.balance for source, texts in by_source.items()}
    drawn: list[str] = []
    for source, texts in by_source.items():
        repeats, rest = divmod(max(1, round(count * weights[source] / sum(weights.values()))), len(texts))
        drawn += texts * repeats + rng.sample(texts, rest)
    return drawn


def _read_licences(file: Path) -> dict[str, dict[str, Any]]:
    """Read the decisions on sources: for each its licence, whether it is used, and why."""
    try:
        decisions: dict[str, dict[str, Any]] = json.loads(file.read_bytes())
        complete = all({"licence", "use", "reason"} <= entry.keys() for entry in decisions.values())
    except (ValueError, AttributeError) as error:
        raise DataError(f"licences {file}: expected an object for each source ({error})") from error
    if not complete:
        raise DataError(f"licences {file}: every source needs licence, use and reason")
    return decisions
