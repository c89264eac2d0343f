"""The members of a zip archive. They are read where they are, and never written anywhere; yet a name that leads elsewhere is no mistake."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from contextlib import closing
from dataclasses import replace

from versatune.transforms.formats.detect import SNIFFED_BYTES, looks_like_data, may_hold_data
from versatune.transforms.formats.splits import SplitChoice
from versatune.transforms.transport.batch import InputSplit
from versatune.transforms.transport.storage import open_stored

_SEPARATORS = re.compile(r"[/\\]")
_DRIVE = re.compile(r"[A-Za-z]:")
_SHOWN_CHARS = 200


def members(split: InputSplit, choice: SplitChoice) -> list[InputSplit]:
    """Return the members of a zip archive that hold data of the split that is read, those that are refused among them.

    Refused are names that lead out of the folder where the archive would be unpacked (``../a.jsonl``, ``/a.jsonl``, ``C:a.jsonl``), and
    those that several members have.
    """
    with closing(open_stored(split.location)) as file, zipfile.ZipFile(file) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        times = Counter(info.filename for info in infos)
        faults = {name: _fault(name, times[name]) for name in times}
        data = sorted({info.filename for info in infos if _is_data(archive, info, wrong=bool(faults[info.filename]))})
        sizes = {info.filename: info.file_size for info in infos}
    kept = choice.of([name for name in data if not faults[name]], {})
    return [
        replace(
            split,
            uri=f"{split.uri}!/{name}",
            member=name,
            bytes=sizes[name],
            refused=faults[name] and f"source '{split.source}': {split.uri}: {faults[name]}",
        )
        for name in data
        if name in kept or faults[name]
    ]


def _fault(name: str, times: int) -> str:
    """Say what is wrong with the name of a member; empty if nothing is."""
    if times > 1:
        return (
            f"found {times} members called '{_shown(name)}', of which a reader gets one. Unpack the archive with a tool that keeps all of"
            " them, and name its files"
        )
    parts = _SEPARATORS.split(name)
    if ".." in parts or not parts[0] or _DRIVE.match(name):
        return (
            f"found a member called '{_shown(name)}', which would be unpacked outside of its folder. Such an archive was made by mistake, or"
            " to write over files of yours: get it from somebody you trust, or look at it, pack it anew and name that"
        )
    return ""


def _shown(name: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in name[:_SHOWN_CHARS])


def _is_data(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, wrong: bool) -> bool:
    if wrong:
        return may_hold_data(_SEPARATORS.split(info.filename)[-1]) is not False
    if any(part.startswith(".") or part == "__MACOSX" for part in info.filename.split("/")):
        return False
    known = may_hold_data(info.filename)
    if known is not None:
        return known
    try:
        with archive.open(info) as file:
            return looks_like_data(file.read(SNIFFED_BYTES))
    except Exception:  # noqa: BLE001  # encrypted or damaged: reading it says so
        return True
