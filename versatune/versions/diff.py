"""``versatune diff``: what one dataset version has that another has not, row by row.

Ids are compared a range at a time: both versions keep the ids of a range in files of their own, and the numbers of ranges are
powers of two, so a range of the coarser version is a few whole ranges of the finer one. Shards that are the same file in both
are not opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from versatune.schemas.dataset import DatasetManifest, Shard
from versatune.schemas.progress import Progress
from versatune.versions.listing import bucket_of, paths

ASPECTS = ("domain", "split", "source", "license")
"""What may differ between two rows of one id."""
_ROW = pa.schema([("id", pa.string()), *((name, pa.string()) for name in ASPECTS)])


@dataclass
class RowChanges:
    """How the rows of two versions differ."""

    common: int = 0
    """Ids that both have."""
    unchanged: int = 0
    """Those of them whose domain, split, source and licence are the same."""
    added: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Ids that only the second has, by (domain, source)."""
    removed: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: dict[str, Counter[tuple[str, str]]] = field(default_factory=lambda: {name: Counter() for name in ASPECTS})
    """Common ids by what is different and its value (before, after)."""
    shards_unchanged: int = 0


def diff_rows(
    left: tuple[Path, DatasetManifest],
    right: tuple[Path, DatasetManifest],
    progress: Progress,
    listing: BinaryIO | None = None,
) -> RowChanges:
    """Compare the ids of two versions.

    Args:
        left: directory and manifest of the one that is taken as before.
        right: of the one after.
        progress: hears how many rows are compared.
        listing: gets a line of JSON for each id that was added, removed or changed: id, change, before, after.
    """
    changes = RowChanges()
    progress.begin(
        "compare rows", sum(shard.rows for _, manifest in (left, right) for shard in manifest.shards), "rows"
    )
    done = 0
    for shards in _ranges(left[1].shards, right[1].shards):
        same = {_content(shard) for shard in shards[0]} & {_content(shard) for shard in shards[1]}
        rows = sum(shard.rows for shard in shards[0] if _content(shard) in same)
        changes.shards_unchanged += len(same)
        changes.common += rows
        changes.unchanged += rows
        others = [[shard for shard in mine if _content(shard) not in same] for mine in shards]
        if any(others):
            before, after = (_rows(side[0], mine) for side, mine in zip((left, right), others, strict=True))
            _compare(before, after, changes, listing)
        done += sum(shard.rows for mine in shards for shard in mine)
        progress.advance_to(done)
    progress.end()
    return changes


def _ranges(*versions: Sequence[Shard]) -> Iterator[tuple[list[Shard], ...]]:
    """Yield the shards of both versions range by range, a range being a file's of the version that has fewer of them."""
    count = min((bucket_of(shards[0].path).of for shards in versions if shards), default=0)
    ranges = [tuple[list[Shard], ...]([] for _ in versions) for _ in range(count)]
    for side, shards in enumerate(versions):
        for shard in shards:
            number, of = bucket_of(shard.path)
            ranges[number * count // of][side].append(shard)
    return iter(ranges)


def _content(shard: Shard) -> tuple[str, str, str]:
    return shard.split, shard.domain, shard.sha256


def _rows(directory: Path, shards: Sequence[Shard]) -> pa.Table:
    """Return id, domain, split, source and licence of some shards' rows."""
    tables = [_ROW.empty_table()]
    for shard, path in zip(shards, paths(directory, shards), strict=True):
        table = pq.read_table(path, columns=["id", "source", "license"], partitioning=None)
        here = {"domain": pa.repeat(shard.domain, len(table)), "split": pa.repeat(shard.split, len(table))}
        columns = [here.get(name, table[name] if name in table.column_names else None) for name in _ROW.names]
        tables.append(pa.table(columns, schema=_ROW))
    return pa.concat_tables(tables).combine_chunks()


def _compare(before: pa.Table, after: pa.Table, changes: RowChanges, listing: BinaryIO | None) -> None:
    """Add what differs between the rows of one range."""
    place = pc.index_in(before["id"], value_set=after["id"]).combine_chunks()
    shared = place.is_valid()
    only_before, only_after = before.filter(pc.invert(shared)), _without(after, place.drop_null())
    changes.added.update(_tally(only_after, "domain", "source"))
    changes.removed.update(_tally(only_before, "domain", "source"))
    old, new = before.filter(shared), after.take(place.drop_null())
    differs = np.zeros(len(old), bool)
    for name in ASPECTS:
        other = pc.not_equal(old[name], new[name])
        pairs = pa.table({"before": old[name].filter(other), "after": new[name].filter(other)})
        changes.changed[name].update(_tally(pairs, "before", "after"))
        differs |= other.to_numpy()
    changes.common += len(old)
    changes.unchanged += len(old) - int(differs.sum())
    if listing is not None:
        mask = pa.array(differs)
        _list(listing, "removed", only_before, None)
        _list(listing, "added", None, only_after)
        _list(listing, "changed", old.filter(mask), new.filter(mask))


def _without(table: pa.Table, places: pa.Array) -> pa.Table:
    left = np.ones(len(table), bool)
    left[places.to_numpy()] = False
    return table.filter(pa.array(left))


def _tally(table: pa.Table, *columns: str) -> Counter[tuple[str, str]]:
    counted = table.group_by(list(columns)).aggregate([([], "count_all")])
    return Counter({(row[columns[0]], row[columns[1]]): row["count_all"] for row in counted.to_pylist()})


def _list(listing: BinaryIO, change: str, before: pa.Table | None, after: pa.Table | None) -> None:
    sides = [_facts(table) for table in (before, after) if table is not None]
    ids = (before if before is not None else after)["id"].to_pylist()  # type: ignore[index]  # one of them is given
    for position, identity in enumerate(ids):
        facts = [side[position] for side in sides]
        line = {
            "id": identity,
            "change": change,
            "before": facts[0] if before is not None else None,
            "after": facts[-1] if after is not None else None,
        }
        listing.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _facts(table: pa.Table) -> list[dict[str, Any]]:
    return list(table.select(list(ASPECTS)).to_pylist())


def diff_manifests(left: DatasetManifest, right: DatasetManifest) -> dict[str, Any]:
    """Compare what two manifests say besides rows: configuration, taxonomy, classifier, tokenizer, code, licences, weights, books."""
    licenses = [{name for shard in side.shards for name in shard.licenses} for side in (left, right)]
    return {
        "config": _changed_keys(left.config, right.config),
        "made_with": _changed_keys(_made_with(left), _made_with(right)),
        "licenses": {
            "added": sorted(licenses[1] - licenses[0]),
            "removed": sorted(licenses[0] - licenses[1]),
        },
        "weights": _weights(left, right),
        "books": _books(left, right),
    }


def _made_with(manifest: DatasetManifest) -> dict[str, Any]:
    names = {"taxonomy", "classifier", "tokenizer", "code_version", "schema_version", "decontamination", "repairs"}
    found: dict[str, Any] = manifest.model_dump(mode="json", include=names)
    found["classifier"].pop("confusion")
    return found


def _changed_keys(left: Any, right: Any) -> dict[str, list[Any]]:
    """Return {dotted key: [before, after]} of what differs; entries of a list that have names go by them."""
    before, after = dict(_leaves(left, "")), dict(_leaves(right, ""))
    keys = sorted({*before, *after})
    return {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        value = {item["name"]: {k: v for k, v in item.items() if k != "name"} or True for item in value}
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _weights(left: DatasetManifest, right: DatasetManifest) -> dict[str, dict[str, list[float | None]]]:
    """Return the natural weights, each domain's share of training rows and tokens: {unit: {domain: [before, after]}}."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for unit in ("rows", "tokens", "loss_tokens"):
        before, after = _shares(left, unit), _shares(right, unit)
        if before or after:
            domains = dict.fromkeys([*before, *after])
            found[unit] = {domain: [before.get(domain), after.get(domain)] for domain in domains}
    return found


def _shares(manifest: DatasetManifest, unit: str) -> dict[str, float]:
    amounts = {domain: total[unit] for domain, total in manifest.totals("train").items()}
    total = sum(amounts.values())
    return {domain: amount / total for domain, amount in amounts.items()} if total else {}


def _books(left: DatasetManifest, right: DatasetManifest) -> dict[str, dict[str, list[int]]]:
    """Return {source: {column: [before, after]}}."""
    sides = [{book.source: book for book in side.books} for side in (left, right)]
    found: dict[str, dict[str, list[int]]] = {}
    for source in sorted({*sides[0], *sides[1]}):
        columns = [_columns(side[source]) if source in side else {} for side in sides]
        found[source] = {name: [side.get(name, 0) for side in columns] for name in dict.fromkeys(_names(columns))}
    return found


def _names(columns: Iterable[dict[str, int]]) -> Iterator[str]:
    return (name for column in columns for name in column)


def _columns(book: Any) -> dict[str, int]:
    sums = {
        name: sum(getattr(book, name).values()) for name in ("written", "duplicates", "near_duplicates", "rejected")
    }
    return {"read": book.read, "expanded": book.expanded, **sums}
