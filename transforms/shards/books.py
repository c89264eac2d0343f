"""The books of a build: what was read, and what became of every row, by source, reason and domain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from versatune.schemas.dataset import EXPANDED, InputFile, SourceBooks
from versatune.schemas.errors import DataError, RunError
from versatune.schemas.validation import explain
from versatune.transforms.chat.verdict import CONTROL_TOKEN_IN_TEXT
from versatune.transforms.overlap.near_duplicates import Clusters
from versatune.transforms.reading.tokenize import STAGE as TOKENIZE
from versatune.transforms.shards.shard_plan import ShardPlan
from versatune.transforms.shards.write_shards import Rejected, Written

_SHOWN = 5
_OF_BUCKETS = ("written", "duplicates", "near_duplicates", "undetermined", "cut", "cut_tokens")


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything the pipeline found out."""

    records: list[dict[str, Any]]
    """:class:`versatune.transforms.reading.read.ReadRecord`, one per split."""
    plan: ShardPlan
    written: list[Written]
    rejected: list[Rejected]
    clusters: Clusters | None = None
    """The near-duplicates, where they were looked for."""


def balance(inputs: Sequence[InputFile], results: Results) -> list[SourceBooks]:
    """Return the books by source. Rows read come from the readers, everything else from what was written.

    Raises:
        RunError: a source's rows do not add up; or what was classified did not all arrive at the shards.
    """
    read: Counter[str] = Counter()
    for file in inputs:
        read[file.source] += file.rows
    parts: dict[str, dict[str, Counter[str]]] = {name: {} for name in (*_OF_BUCKETS, "rejected")}
    for bucket in results.written:
        for name in _OF_BUCKETS:
            _add(parts[name], getattr(bucket, name))
    for group in results.rejected:
        _add(parts["rejected"], group.rejected)
    classified: dict[str, Counter[str]] = {}
    counts: dict[str, Counter[str]] = {}
    _add(classified, results.plan.classified)
    _add(counts, results.plan.counts)
    _check_domains(classified, parts)
    sources = sorted({*read, *(source for tally in parts.values() for source in tally)})
    try:
        return [_source_books(source, read[source], counts.get(source, Counter()), parts) for source in sources]
    except ValidationError as problem:
        raise RunError(explain(problem, SourceBooks, "build")) from None


def _add(tally: dict[str, Counter[str]], counts: dict[str, dict[str, int]]) -> None:
    for source, numbers in counts.items():
        tally.setdefault(source, Counter()).update(numbers)


def _check_domains(classified: dict[str, Counter[str]], parts: dict[str, dict[str, Counter[str]]]) -> None:
    """Compare, by source and domain, what the classifier gave with what became of it."""
    for source, domains in classified.items():
        ended = sum(
            (parts[name].get(source, Counter()) for name in ("written", "duplicates", "near_duplicates")),
            Counter[str](),
        )
        if ended != +domains:
            domain = next(name for name in sorted(domains | ended) if domains[name] != ended[name])
            raise RunError(
                f"build: source '{source}': {domains[domain]:,} rows were classified as {domain}, {ended[domain]:,} arrived at the shards."
                " Run it again; if it happens twice, it is a fault in versatune or in the engine"
            )


def _source_books(
    source: str, read: int, counts: Counter[str], parts: dict[str, dict[str, Counter[str]]]
) -> SourceBooks:
    ended = {name: dict(sorted(tally.get(source, Counter()).items())) for name, tally in parts.items()}
    shown = {name: number for name, number in sorted(counts.items()) if number and name != EXPANDED}
    return SourceBooks(source=source, read=read, expanded=counts[EXPANDED], counts=shown, **ended)


def list_inputs(records: Iterable[dict[str, Any]]) -> list[InputFile]:
    """Return the files that were read, put together from their parts, ordered by source and uri."""
    files: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        files.setdefault((record["source"], record["uri"]), []).append(record)
    inputs = []
    for (source, uri), parts in sorted(files.items()):
        parts.sort(key=lambda part: part["part"])
        refused = next((part["refused"] for part in parts if part["refused"]), "")
        inputs.append(
            InputFile(
                source=source,
                uri=uri,
                bytes=parts[0]["bytes"],
                sha256=next((part["sha256"] for part in parts if part["sha256"]), ""),
                rows=0 if refused else sum(part["rows"] for part in parts),
                license=parts[0]["license"],
                refused=refused,
                note="" if refused else next((part["note"] for part in parts if part.get("note")), ""),
            )
        )
    return inputs


def check_refused(inputs: Sequence[InputFile], *, skip: bool) -> None:
    """Refuse to go on without a file where that is wanted, and always without all of them.

    Raises:
        DataError: naming the files.
    """
    broken = [file.refused for file in inputs if file.refused]
    if skip and len(broken) < len(inputs):
        return
    if broken:
        more = f"\n... and {len(broken) - _SHOWN} more files" if len(broken) > _SHOWN else ""
        why = "\nNothing is left to read." if skip else ""
        raise DataError("\n".join(broken[:_SHOWN]) + more + why)


def check_books(books: Sequence[SourceBooks], max_rejected_fraction: float) -> None:
    """Refuse a dataset without rows, or one that lost too many.

    Raises:
        DataError: nothing was read, nothing is left, or more rows were rejected than allowed.
    """
    read = sum(book.read for book in books)
    rejected = {book.source: sum(book.rejected.values()) for book in books}
    if not read:
        raise DataError("the sources hold no rows; expected at least one conversation")
    tokenized_away = sum(
        rows for book in books for reason, rows in book.rejected.items() if reason.startswith(f"{TOKENIZE}.")
    )
    rendered_already = sum(book.rejected.get(f"{TOKENIZE}.{CONTROL_TOKEN_IN_TEXT}", 0) for book in books)
    written = sum(sum(book.written.values()) for book in books)
    if rendered_already and rendered_already == tokenized_away and not written:
        raise DataError(
            f"all {rendered_already:,} rows that reached the tokenizer spell out control tokens of the chat template ({_most(books)}): they"
            " seem to be rendered already. Give the conversations as plain messages, or set build.tokenize to false."
        )
    if tokenized_away and not written:
        raise DataError(
            f"the chat template never yields a token of the assistant: all {tokenized_away:,} rows that reached the tokenizer were rejected"
            f" ({_most(books)}). Give the model's own chat template as model.chat_template, raise build.max_tokens, or set build.tokenize"
            " to false."
        )
    examples = read + sum(book.expanded for book in books)
    if sum(rejected.values()) > max_rejected_fraction * examples:
        worst = max(rejected, key=lambda source: rejected[source])
        raise DataError(
            f"{sum(rejected.values()):,} of {examples:,} rows were rejected, more than build.max_rejected_fraction ="
            f" {max_rejected_fraction:g} allows; most by {_most(books)}; most in source '{worst}'. Give that source a field map"
            " (sources.fields), mend its files, or raise the limit."
        )
    if not written:
        raise DataError(f"no row is left of {read:,}: {_most(books)}")


def _most(books: Sequence[SourceBooks]) -> str:
    reasons: Counter[str] = Counter()
    for book in books:
        reasons.update(book.rejected)
    return ", ".join(
        f"{reason} {rows:,}" for reason, rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    )
