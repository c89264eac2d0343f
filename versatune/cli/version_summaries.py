"""What the commands on dataset versions say: a title, tables for people, and the same as a dictionary for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from rich.console import Group, RenderableType

from versatune.cli.summaries import Summary, summarize_build
from versatune.cli.terminal import table
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError
from versatune.schemas.progress import Progress
from versatune.versions.diff import RowChanges, diff_manifests, diff_rows
from versatune.versions.listing import Found
from versatune.versions.rejects import Wanted, count_rejects, export_rejects

_SHOWN = 12
_DIGITS = 12
_WHAT = {"domain": "relabelled", "split": "moved", "source": "other source", "license": "other licence"}


def summarize_versions(versions: Sequence[Found]) -> Summary:
    """Show versions, one a line."""
    names = {entry.manifest.digest: entry.directory.name for entry in versions if entry.manifest}
    rows, results = [], []
    for entry in versions:
        facts = _facts(entry, names)
        results.append(facts)
        if entry.manifest is not None:
            shown = ("version", "created_at", "rows", "tokens", "domains", "digest", "parent")
            mark = " *" if entry.latest else ""
            rows.append([f"{facts['version']}{mark}", *(_cell(name, facts[name]) for name in shown[1:])])
    columns = ["version", "created", "rows", "tokens", "domains", "digest", "parent"]
    broken = [f"cannot be read: {entry.problem}" for entry in versions if entry.manifest is None]
    homes = sorted({str(entry.directory.parent) for entry in versions})
    title = "\n".join(
        [*broken, f"{len(versions)} {'version' if len(versions) == 1 else 'versions'} in {', '.join(homes)}"]
    )
    return title, table("versions (* is the latest)", columns, rows) if rows else None, {"versions": results}


def _facts(entry: Found, names: Mapping[str, str]) -> dict[str, Any]:
    manifest = entry.manifest
    if manifest is None:
        return {"directory": str(entry.directory), "latest": entry.latest, "problem": entry.problem}
    return {
        "directory": str(entry.directory),
        "name": manifest.name,
        "version": manifest.version,
        "created_at": manifest.created_at,
        "rows": sum(shard.rows for shard in manifest.shards),
        "tokens": sum(shard.tokens for shard in manifest.shards),
        "domains": len({shard.domain for shard in manifest.shards}),
        "digest": manifest.digest,
        "parent": names.get(manifest.parent, manifest.parent) if manifest.parent else None,
        "repairs": manifest.repairs.used if manifest.repairs else None,
        "latest": entry.latest,
    }


def _cell(name: str, value: Any) -> Any:
    if name == "created_at":
        return value[:16].replace("T", " ")
    if value is None:
        return "-"
    return value[:_DIGITS] if isinstance(value, str) and len(value) == 64 else value


def summarize_diff(before: Path, after: Path, output: Path | None, progress: Progress) -> Summary:
    """Compare two versions, given as manifest files, and show what differs."""
    sides = [(file.parent, DatasetManifest.load(file)) for file in (before, after)]
    try:
        with output.open("wb") if output else nullcontext() as listing:
            changes = diff_rows(sides[0], sides[1], progress, listing)
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror})") from None
    facts = diff_manifests(sides[0][1], sides[1][1])
    names = [manifest.version for _, manifest in sides]
    tables = [*_row_tables(changes), *_manifest_tables(facts, names)]
    result = {
        "before": {"manifest": str(before), "digest": sides[0][1].digest},
        "after": {"manifest": str(after), "digest": sides[1][1].digest},
        "rows": _counts(changes),
        **facts,
    }
    said = [f"each row that differs: {output}"] if output else []
    same = "the same dataset: " if sides[0][1].digest == sides[1][1].digest else ""
    said.append(
        f"{same}{names[0]} -> {names[1]}: {sum(changes.added.values()):,} rows added, {sum(changes.removed.values()):,} removed,"
        f" {changes.common:,} in both, {changes.common - changes.unchanged:,} of them changed; {changes.shards_unchanged:,} shards"
        " are the same"
    )
    return "\n".join(said), Group(*tables) if tables else None, result


def _counts(changes: RowChanges) -> dict[str, Any]:
    return {
        "added": sum(changes.added.values()),
        "removed": sum(changes.removed.values()),
        "common": changes.common,
        "unchanged": changes.unchanged,
        "shards_unchanged": changes.shards_unchanged,
        "added_by": [{"domain": d, "source": s, "rows": n} for (d, s), n in sorted(changes.added.items())],
        "removed_by": [{"domain": d, "source": s, "rows": n} for (d, s), n in sorted(changes.removed.items())],
        "changed_by": {
            name: [{"before": a, "after": b, "rows": n} for (a, b), n in sorted(found.items())]
            for name, found in changes.changed.items()
        },
    }


def _row_tables(changes: RowChanges) -> list[RenderableType]:
    tables: list[RenderableType] = []
    kinds = sorted({*changes.added, *changes.removed})
    if kinds:
        rows = [
            [domain, source, changes.added[domain, source], changes.removed[domain, source]] for domain, source in kinds
        ]
        tables.append(table("rows added and removed", ["domain", "source", "added", "removed"], rows))
    moves = [
        [_WHAT[name], before, after, rows]
        for name, found in changes.changed.items()
        for (before, after), rows in found.most_common()
    ]
    if moves:
        tables.append(table("rows of both that changed", ["what", "before", "after", "rows"], moves))
    return tables


def _manifest_tables(facts: dict[str, Any], names: list[str]) -> list[RenderableType]:
    tables: list[RenderableType] = []
    books = [
        [source, column.replace("_", "-"), *values]
        for source, columns in facts["books"].items()
        for column, values in columns.items()
        if values[0] != values[1]
    ]
    if books:
        tables.append(table("books, where they differ", ["source", "", *names], books))
    unit = "tokens" if "tokens" in facts["weights"] else "rows"
    weights = [[domain, *values] for domain, values in facts["weights"].get(unit, {}).items() if values[0] != values[1]]
    if weights:
        tables.append(table(f"natural weights: shares of training {unit}", ["domain", *names], weights))
    keys = [[key, *map(_json, values)] for part in ("config", "made_with") for key, values in facts[part].items()]
    if keys:
        tables.append(table("configuration and tools", ["key", *names], keys))
    licenses = [[change, name] for change, found in facts["licenses"].items() for name in found]
    if licenses:
        tables.append(table("licences", ["", "licence"], licenses))
    return tables


def _json(value: Any) -> str:
    if isinstance(value, str):
        return value if len(value) < 64 else f"{value[:_DIGITS]}..."
    return "-" if value is None else orjson.dumps(value).decode()


def summarize_row(found: dict[str, Any]) -> Summary:
    """Show where an example came from, what it stands for and where it is."""
    shard = found["shard"]
    tables = [table("origins", ["source", "file", "row", "item", "fate"], _places(found["origins"]))]
    if found["stands_for"]:
        alike = [
            [near["id"], near["similarity"], f"{place['uri']}:{place['row']}", place["source"], len(near["origins"])]
            for near in found["stands_for"][:_SHOWN]
            for place in near["origins"][:1]
        ]
        columns = ["id", "similarity", "origin", "source", "copies"]
        tables.append(table("near-duplicates that were dropped for it", columns, alike))
    facts = [f"{found['id']}: {found['fate'].replace('_', '-')}"]
    if found["kept_id"] != found["id"]:
        similarity = f" (similarity {found['similarity']})" if found["similarity"] is not None else ""
        facts.append(f"in its place stands {found['kept_id']}{similarity}")
    more = len(found["origins"]) - _SHOWN, len(found["stands_for"]) - _SHOWN
    facts += [
        f"{left:,} more {what}; --json has all"
        for left, what in zip(more, ("origins", "near-duplicates"), strict=True)
        if left > 0
    ]
    facts.append(f"{shard['path']}: {_shown_shard(shard)}")
    return "\n".join(facts), Group(*tables), found


def _shown_shard(shard: dict[str, Any]) -> str:
    tags = f", tags {', '.join(shard['tags'])}" if shard.get("tags") else ""
    return f"{shard['split']}, domain {shard['domain']}, source {shard['source']}, licence {shard['license']}{tags}"


def _places(origins: Sequence[dict[str, Any]]) -> list[list[Any]]:
    return [
        [place["source"], place["uri"], place["row"], place["item"], place["fate"].replace("_", "-")]
        for place in origins[:_SHOWN]
    ]


def summarize_origin(found: dict[str, Any]) -> Summary:
    """Show what became of each example of a raw row."""
    rows = [[item["source"], item["item"], *_ending(item)] for item in found["items"]]
    shown = table(f"{found['uri']}:{found['row']}", ["source", "item", "fate", "id or reason", "where, or why"], rows)
    ends = Counter(item["fate"].replace("_", "-") for item in found["items"])
    return ", ".join(f"{count} {fate}" for fate, count in ends.items()), shown, found


def _ending(item: dict[str, Any]) -> list[str]:
    if item["fate"] == "rejected":
        return ["rejected", f"{item['stage']}.{item['reason']}", item["detail"]]
    kept = "" if item["fate"] == "written" else f"in its place {item['kept_id']}: "
    return [item["fate"].replace("_", "-"), item["id"], f"{kept}{item['shard']['path']}"]


def summarize_rejects(
    file: Path, wanted: Wanted, output: Path | None, limit: int | None, progress: Progress
) -> Summary:
    """Show reasons by source, or write the rows."""
    manifest = DatasetManifest.load(file)
    counts = count_rejects(manifest, wanted)
    total = sum(counts.values())
    kinds = [
        {**kind._asdict(), "rows": rows} for kind, rows in sorted(counts.items(), key=lambda c: (c[0].source, -c[1]))
    ]
    result: dict[str, Any] = {"rejected": total, "reasons": kinds}
    if output is None:
        if not total:
            return f"no row of {manifest.name} {manifest.version} was rejected", None, result
        body = [[kind["source"], kind["stage"], kind["reason"], kind["rows"]] for kind in kinds]
        title = f"{total:,} rows were rejected; the rows themselves: versatune rejects {file.parent} -o rejects.jsonl"
        return title, table("rejected rows", ["source", "stage", "reason", "rows"], body), result
    written = export_rejects(file.parent, manifest, wanted, output, limit, progress)
    title = f"{written:,} rows: {output}"
    if written:
        title += f"\nMend 'payload' there, then: versatune reprocess CONFIG {output}"
    return title, None, result | {"written": written, "output": str(output)}


def summarize_reprocess(config: Config, repaired: Path, progress: Progress) -> Summary:
    """Build the child version and show what became of the repairs."""
    from versatune.pipelines.build import run
    from versatune.transforms.reading.repairs import read_repairs
    from versatune.versions.reprocess import usage

    child = run(config, progress=progress, repairs=repaired)
    found = usage(child, read_repairs(repaired).rows)
    title, shown, result = summarize_build(child)
    lines = [f"repairs given: {found.given:,}; raw rows replaced by them: {found.used:,}"]
    lines += [f"still rejected: {why}, {rows:,}" for why, rows in found.still_rejected.most_common()]
    if found.unknown:
        lines.append(
            f"{len(found.unknown):,} repairs are of payloads that {found.parent} did not reject, such as {found.unknown[0]}: was"
            " 'payload_digest' changed?"
        )
    facts = asdict(found) | {"parent": str(found.parent) if found.parent else None}
    return "\n".join([*lines, title]), shown, result | {"repairs": facts}
