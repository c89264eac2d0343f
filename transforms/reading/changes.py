"""Inputs that change while they are read: no build may be made of half of one file and half of another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from versatune.schemas.errors import ChangedError
from versatune.transforms.formats.hub import SCHEME, HubAddress
from versatune.transforms.formats.listing import folder_state
from versatune.transforms.formats.state import difference, state_of
from versatune.transforms.transport.batch import InputSplit

_SHOWN = 5


def change_of(split: InputSplit) -> str:
    """Say what happened since it was listed to the file that a split is of; empty if nothing did, or if nobody can tell.

    Raises:
        RunError: the store of a remote file does not answer.
    """
    places = [location for _, location in split.parallel] or [split.location]
    for location, before in zip(places, split.modified.split(), strict=False):
        what = difference(before, _state_now(location))
        if what:
            named = f"{location}: " if len(places) > 1 else ""
            return (
                f"{named}the file changed after the build had listed it: {what}. Its rows would be partly of one file and partly of"
                " another. Wait until nothing writes to it (or name a copy), and run the same command again; of files that did not"
                " change, what was read is used"
            )
    return ""


def _state_now(location: str) -> str:
    if not location.startswith(SCHEME):
        return state_of(location)
    folder = HubAddress.parse(location).id
    return folder_state(folder) if os.path.isdir(folder) else ""


def check_unchanged(records: Sequence[dict[str, Any]]) -> None:
    """Refuse to make a dataset of files that changed while they were read, whatever is said of files that cannot be read.

    Args:
        records: :class:`versatune.transforms.reading.read.ReadRecord` as dictionaries.

    Raises:
        ChangedError: naming the files.
    """
    changed = {(record["source"], record["uri"]): record["refused"] for record in records if record.get("changed")}
    if changed:
        told = [changed[file] for file in sorted(changed)]
        more = f"\n... and {len(told) - _SHOWN} more files" if len(told) > _SHOWN else ""
        raise ChangedError("\n".join(told[:_SHOWN]) + more)
