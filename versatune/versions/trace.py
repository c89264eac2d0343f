"""``versatune trace``: where an example came from and what became of it; what a raw row became.

An id names the range of files it stands in (its last four hex digits), and files are sorted by id, so a look-up reads a few
row groups. A raw row is looked for in the origins of all lineage and reject files, a column at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from versatune.schemas.arrow import LINEAGE, REJECT_FILE
from versatune.schemas.dataset import DatasetManifest, InputFile, Shard, SideFile
from versatune.schemas.errors import DataError, IntegrityError, UsageError, nearest
from versatune.versions.listing import bucket_of, paths

_ID_DIGITS = 32
_FEWEST_DIGITS = 6
_SHOWN = 5
_SHARD_COLUMNS = ["id", "source", "license", "tags", "num_chars"]


def trace_row(manifest_file: Path, prefix: str) -> dict[str, Any]:
    """Say where an example came from, what became of it, and what it stands for.

    Args:
        manifest_file: of the version.
        prefix: an id, or its first digits (at least 6) where no other id begins with them.

    Returns:
        ``id``, ``fate``, ``kept_id``, ``origins`` (each with source, uri, row, item, fate), ``shard`` of the example that is in the
        dataset (path, split, domain, source, license, tags), and ``stands_for``: the near-duplicates dropped for it, each
        with ``id``, ``similarity`` and ``origins``.

    Raises:
        UsageError: not the digits of an id, too few of them, or several ids begin with them.
        DataError: the version knows no such id.
    """
    prefix = prefix.lower()
    if not re.fullmatch(f"[0-9a-f]{{{_FEWEST_DIGITS},{_ID_DIGITS}}}", prefix):
        raise UsageError(f"--row {prefix}: expected {_FEWEST_DIGITS} to {_ID_DIGITS} hex digits of an id")
    version = _Version(manifest_file)
    rows = version.lineage_of(prefix)
    ids = sorted(set(rows["id"].to_pylist()))
    if not ids:
        raise DataError(version.no_id(prefix))
    if len(ids) > 1:
        more = ", ..." if len(ids) > _SHOWN else ""
        raise UsageError(
            f"--row {prefix}: {len(ids)} ids begin with it: {', '.join(ids[:_SHOWN])}{more}; give more digits"
        )
    origins = _origins(rows)
    fate = next((origin["fate"] for origin in origins if origin["fate"] != "duplicate"), "duplicate")
    kept = str(rows["kept_id"][0].as_py())
    found = {"id": ids[0], "fate": fate, "kept_id": kept, "origins": origins, "shard": version.shard_of(kept)}
    if kept != ids[0]:
        return found | {"similarity": version.similarity(ids[0], kept), "stands_for": []}
    return found | {"stands_for": version.near_duplicates_of(kept)}


def trace_origin(manifest_file: Path, origin: str) -> dict[str, Any]:
    """Say what became of a raw row.

    Args:
        manifest_file: of the version.
        origin: ``URI:ROW``, the file as the manifest names it (or the end of its path, where that is enough) and the row's number
            in it, from 0.

    Returns:
        ``uri``, ``row`` and ``items``, one for each example of the row: ``source``, ``item``, ``fate``; written and dropped ones with
        ``id``, ``kept_id`` and ``shard``; rejected ones with ``stage``, ``reason``, ``detail``.

    Raises:
        UsageError: not such an origin.
        DataError: the version has no such file or row, or the file was refused.
    """
    uri, _, number = origin.rpartition(":")
    if not uri or not number.isdecimal():
        raise UsageError(f"--origin {origin}: expected URI:ROW, such as raw/law.jsonl:17; the first row is 0")
    version = _Version(manifest_file)
    uri, row = version.uri_of(uri), int(number)
    version.check_row(uri, row)
    place = (ds.field("origin", "uri") == uri) & (ds.field("origin", "row") == row)
    written = _table(version.paths(version.manifest.lineage), LINEAGE, place)
    rejects = _table(version.paths(version.manifest.rejects), REJECT_FILE, place, leave_out="payload")
    items = [_item(entry) | version.place_of(entry["kept_id"]) for entry in written.to_pylist()]
    items += [_item(entry) | {"fate": "rejected"} for entry in rejects.to_pylist()]
    if not items:
        raise IntegrityError(
            f"{uri}: row {row} is in none of {len(version.manifest.lineage)} lineage and {len(version.manifest.rejects)} reject files;"
            f" `versatune verify --deep {manifest_file.parent}` names what is wrong"
        )
    return {"uri": uri, "row": row, "items": sorted(items, key=lambda item: (item["source"], item["item"]))}


class _Version:
    """The files of a version, by what they can answer."""

    def __init__(self, manifest_file: Path) -> None:
        self.manifest = DatasetManifest.load(manifest_file)
        self._directory = manifest_file.parent
        self._shards: dict[str, dict[str, Any]] = {}

    def paths(self, entries: Iterable[Shard | SideFile]) -> list[str]:
        return paths(self._directory, entries)

    def lineage_of(self, prefix: str) -> pa.Table:
        """Return the lineage of all ids that begin with some digits."""
        files = [entry for entry in self.manifest.lineage if _may_hold(entry.path, prefix)]
        return _table(self.paths(files), LINEAGE, _begins(prefix))

    def shard_of(self, identity: str) -> dict[str, Any]:
        """Return where in the data an example is.

        Raises:
            IntegrityError: it is in no shard.
        """
        if identity not in self._shards:
            self._shards[identity] = self._find(identity)
        return self._shards[identity]

    def _find(self, identity: str) -> dict[str, Any]:
        for entry in self.manifest.shards:
            if _may_hold(entry.path, identity):
                files = ds.dataset(self.paths([entry]), format="parquet")
                found = files.to_table(columns=_SHARD_COLUMNS, filter=_begins(identity)).to_pylist()
                if found:
                    return {"path": entry.path, "split": entry.split, "domain": entry.domain, **found[0]}
        raise IntegrityError(
            f"{identity}: the lineage says that it was written, and it is in no shard; `versatune verify --deep {self._directory}`"
            " names what is wrong"
        )

    def place_of(self, kept: str) -> dict[str, Any]:
        """Return the shard of the example that stands for another, as part of an item."""
        shard = self.shard_of(kept)
        return {"shard": {name: shard[name] for name in ("path", "split", "domain", "source", "license")}}

    def near_duplicates_of(self, kept: str) -> list[dict[str, Any]]:
        """Return what was dropped for an example, the most similar first."""
        pairs = self._pairs(ds.field("kept") == kept)
        return [
            {**pair, "origins": _origins(self.lineage_of(pair["id"]))}
            for pair in sorted(pairs, key=lambda pair: (-pair["similarity"], pair["id"]))
        ]

    def similarity(self, dropped: str, kept: str) -> float | None:
        """Return how alike two examples are, estimated; None where the version does not say."""
        pairs = self._pairs((ds.field("kept") == kept) & (ds.field("id") == dropped))
        return pairs[0]["similarity"] if pairs else None

    def _pairs(self, wanted: Any) -> list[dict[str, Any]]:
        if self.manifest.near_duplicates is None:
            return []
        files = ds.dataset(self.paths([self.manifest.near_duplicates]), format="parquet")
        return [
            {"id": pair["id"], "similarity": round(pair["similarity"], 3)}
            for pair in files.to_table(columns=["id", "similarity"], filter=wanted).to_pylist()
        ]

    def no_id(self, prefix: str) -> str:
        examples = sum(entry.rows for entry in self.manifest.lineage)
        return (
            f"--row {prefix}: no example of {self.manifest.name} {self.manifest.version} has an id that begins so; looked through the"
            f" lineage of {examples:,} examples. Rejected rows have no id: ask for them with --origin URI:ROW.{self._refused()}"
        )

    def _refused(self) -> str:
        broken = [file.refused for file in self.manifest.inputs if file.refused]
        more = f"\n... and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        return "\nRefused as a whole: " + "\nRefused as a whole: ".join(broken[:_SHOWN]) + more if broken else ""

    def uri_of(self, given: str) -> str:
        """Return the one file that is meant."""
        known = sorted({file.uri for file in self.manifest.inputs})
        fitting = [given] if given in known else [uri for uri in known if uri.endswith(f"/{given.lstrip('/')}")]
        if not fitting:
            raise DataError(
                f"--origin: {given} is none of the {len(known)} files of {self.manifest.name} {self.manifest.version}{nearest(given, known[:100])}"
            )
        if len(fitting) > 1:
            raise UsageError(f"--origin: {given} may be {', '.join(fitting[:_SHOWN])}; give more of the path")
        return fitting[0]

    def check_row(self, uri: str, row: int) -> None:
        files: list[InputFile] = [file for file in self.manifest.inputs if file.uri == uri]
        if all(file.refused for file in files):
            raise DataError(f"--origin: {uri} was refused as a whole. {files[0].refused}")
        most = max(file.rows for file in files)
        if row >= most:
            raise DataError(f"--origin: {uri} has {most:,} rows, from 0 to {most - 1:,}; there is no row {row:,}")


def _may_hold(path: str, prefix: str) -> bool:
    """Say whether a file may have an id; a prefix does not tell the range."""
    return len(prefix) < _ID_DIGITS or bucket_of(path).holds(prefix)


def _begins(prefix: str) -> Any:
    """Return the filter for ids that begin with some digits, as bounds, so that row groups can be passed over."""
    return (ds.field("id") >= prefix) & (ds.field("id") <= prefix.ljust(_ID_DIGITS, "f"))


def _table(files: Sequence[str], schema: pa.Schema, wanted: Any, leave_out: str = "") -> pa.Table:
    """Read the rows that a filter wants."""
    if not files:
        return schema.empty_table()
    names = [name for name in schema.names if name != leave_out]
    return ds.dataset(files, schema=schema, format="parquet").to_table(columns=names, filter=wanted)


def _origins(lineage: pa.Table) -> list[dict[str, Any]]:
    """Return where the rows of a lineage table came from, the one that was written first."""
    rows = [_item(entry) for entry in lineage.select(["source", "origin", "fate"]).to_pylist()]
    return sorted(
        rows, key=lambda row: (row["fate"] == "duplicate", row["source"], row["uri"], row["row"], row["item"])
    )


def _item(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": entry["source"],
        **entry["origin"],
        **{k: v for k, v in entry.items() if k not in ("source", "origin")},
    }
