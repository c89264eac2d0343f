"""``versatune reprocess``: the child of a version, in which repaired rows stand in the place of rejected ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError
from versatune.versions.listing import list_versions
from versatune.versions.rejects import Wanted, read_rejects


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What became of repairs."""

    given: int
    """Repaired rows."""
    used: int
    """Raw rows that one of them replaced; a repair serves every row with the same payload."""
    still_rejected: Counter[str]
    """Repairs that were not enough, or could not be put in, by '<source>: <stage>.<reason>'."""
    unknown: list[str]
    """Digests of payloads that the parent did not reject."""
    parent: Path | None
    """The version before, if it is still there."""


def usage(child_file: Path, repairs: Mapping[str, bytes]) -> Usage:
    """Say what became of repairs in the version that was built with them.

    Args:
        child_file: its manifest.
        repairs: repaired rows by the digest of the payload that each replaces.

    Raises:
        DataError: the version was not built with repairs.
    """
    child = DatasetManifest.load(child_file)
    if child.repairs is None:
        raise DataError(f"{child_file}: was built without repairs")
    still = {
        row["payload_digest"]: f"{row['source']}: {row['stage']}.{row['reason']}"
        for row in read_rejects(child_file.parent, child, Wanted())
        if row["payload_digest"] in repairs
    }
    parent = _parent(child_file, child)
    unknown: list[str] = []
    if parent is not None:
        rows = read_rejects(parent, DatasetManifest.load(parent / "manifest.json"), Wanted())
        unknown = sorted(set(repairs) - set(still) - {row["payload_digest"] for row in rows})
    return Usage(
        given=len(repairs),
        used=child.repairs.used,
        still_rejected=Counter(still.values()),
        unknown=unknown,
        parent=parent,
    )


def _parent(child_file: Path, child: DatasetManifest) -> Path | None:
    for found in list_versions(child_file.parent.parent):
        if found.manifest is not None and found.manifest.digest == child.parent:
            return found.directory
    return None
