"""Files that lie beside data and say something about it: its licence, and what ``datasets`` saved with it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from versatune.schemas.errors import ConfigError
from versatune.schemas.yaml_text import parse_yaml
from versatune.transforms.formats.splits import TRAIN
from versatune.transforms.transport.storage import exists, is_local, read_bytes

UNKNOWN = "unknown"
_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n*]+)")
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)
_GLOB_SIGN = re.compile(r"\{[^{}]*\}|\*\*/|\*\*|\*|\?|\[!?[\w.-]+\]")
_OF_GLOB_SIGN = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_READ_BYTES = 2**20  # nobody's licence note is longer


def license_of(location: str, root: str) -> str:
    """Return the licence that is stated for a file, else ``unknown``.

    Looked for in this order: ``<file>.license`` (REUSE; local files only); then in the file's folder, and so on upwards
    to ``root``: ``LICENSE.spdx``, the front matter of ``README.md`` (a dataset card), ``dataset_info.json``. Several
    licences of a card are joined by AND. What is found is returned as written; SPDX names have no case.
    """
    own = _spdx(f"{location}.license") if is_local(location) else None
    folder = location.rpartition("/")[0]
    while own is None:
        own = _of_folder(folder)
        if folder in {root.rstrip("/"), ""} or not folder.startswith(root):
            break
        folder = folder.rpartition("/")[0]
    return own or UNKNOWN


def forget() -> None:
    """Look again: files may have changed since."""
    _of_folder.cache_clear()


def saved_state(location: str) -> dict[str, Any]:
    """Return what ``datasets`` noted beside the files of a saved dataset; empty if it did not."""
    state = _json(f"{location.rpartition('/')[0]}/state.json")
    return state if isinstance(state, dict) and "_data_files" in state else {}


def stated_splits(folder: str, paths: Sequence[str]) -> dict[str, str]:
    """Return the split of those files below a folder of which a note there tells.

    Looked at are ``dataset_dict.json``, which ``DatasetDict.save_to_disk`` writes, of every folder on the way, and the ``data_files``
    in the front matter of the folder's own ``README.md``.
    """
    stated: dict[str, str] = {}
    for path, split in _of_card_files(folder, paths):
        if stated.get(path, TRAIN) == TRAIN:  # what one configuration of a card holds out is held out
            stated[path] = split
    saved: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        for at in range(len(parts) - 1):
            above = "/".join(parts[:at])
            if above not in saved:
                noted = _json(f"{folder}/{above}/dataset_dict.json" if above else f"{folder}/dataset_dict.json")
                names = noted.get("splits") if isinstance(noted, dict) else None
                saved[above] = set(map(str, names)) if isinstance(names, list) else set()
            if parts[at] in saved[above]:
                stated[path] = parts[at]
    return stated


def _of_card_files(folder: str, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    card = _card(f"{folder}/README.md")
    configs = card.get("configs") if card else None
    for config in configs if isinstance(configs, list) else []:
        files = config.get("data_files") if isinstance(config, dict) else None
        entries = files.items() if isinstance(files, dict) else _entries(files)
        for split, patterns in entries:
            below = str(config.get("data_dir") or "").strip("./")
            for pattern in patterns if isinstance(patterns, list) else [patterns]:
                whole = f"{below}/{pattern}" if below else str(pattern)
                yield from ((path, str(split)) for path in _matching(paths, whole.removeprefix("./")))


def _entries(files: Any) -> list[tuple[Any, Any]]:
    """Return split and paths of a list of ``{split, path}``."""
    listed = files if isinstance(files, list) else []
    return [
        (entry["split"], entry["path"])
        for entry in listed
        if isinstance(entry, dict) and {"split", "path"} <= entry.keys()
    ]


def _matching(paths: Sequence[str], glob: str) -> list[str]:
    try:
        fits = re.compile(_expression(glob))
    except re.error:  # such as [z-a]
        return [path for path in paths if path == glob]
    return [path for path in paths if fits.fullmatch(path)]


def _expression(glob: str) -> str:
    """Return a card's pattern as a regular expression: ``*`` stays in its folder, ``**`` does not, ``{a,b}`` are alternatives."""
    found, at = [], 0
    for sign in _GLOB_SIGN.finditer(glob):
        found.append(re.escape(glob[at : sign.start()]))
        if sign[0].startswith("{"):
            found.append(f"(?:{'|'.join(map(_expression, sign[0][1:-1].split(',')))})")
        else:
            found.append(_OF_GLOB_SIGN.get(sign[0]) or sign[0].replace("[!", "[^"))
        at = sign.end()
    return "".join([*found, re.escape(glob[at:])])


@lru_cache(maxsize=4096)
def _of_folder(folder: str) -> str | None:
    look: list[tuple[str, Callable[[str], str | None]]] = [
        ("LICENSE.spdx", _spdx),
        ("README.md", _of_card),
        ("dataset_info.json", _of_dataset_info),
    ]
    return next((found for name, read in look if (found := read(f"{folder}/{name}"))), None)


def _spdx(path: str) -> str | None:
    found = _SPDX.search(_text(path))
    return found.group(1).strip().removesuffix("-->").strip() or None if found else None


def _of_card(path: str) -> str | None:
    stated = _card(path).get("license")
    names = [name for name in (stated if isinstance(stated, list) else [stated]) if isinstance(name, str) and name]
    return " AND ".join(names) or None


def _card(path: str) -> dict[str, Any]:
    """Return the front matter of a dataset card; empty if there is none."""
    found = _FRONT_MATTER.match(_text(path))
    try:
        card = parse_yaml(found.group(1), path) if found else None
    except ConfigError:
        return {}
    return card if isinstance(card, dict) else {}


def _of_dataset_info(path: str) -> str | None:
    info = _json(path)
    stated = info.get("license") if isinstance(info, dict) else None
    return stated.strip() or None if isinstance(stated, str) and "\n" not in stated.strip() else None


def _json(path: str) -> Any:
    try:
        return json.loads(_text(path) or "null")
    except (ValueError, RecursionError):
        return None


def _text(path: str) -> str:
    """Return a small file's text; empty if there is none."""
    try:
        if is_local(path):
            if not os.path.isfile(path):
                return ""
            with open(path, "rb") as file:
                return file.read(_READ_BYTES).decode("utf-8", "replace")
        return read_bytes(path)[:_READ_BYTES].decode("utf-8", "replace") if exists(path) else ""
    except (OSError, ValueError, ImportError):  # Beam's errors are of these kinds
        return ""
