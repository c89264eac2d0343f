"""Which files of a folder are its training split, and which are held out of it: by what lies beside them, else by their names.

Names are looked at where the ``datasets`` library looks: whole words of file names and of folders' names. A word alone makes no split:
the folder must hold a training split too, and the two must be named alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from versatune.transforms.formats.detect import CODECS, READABLE

TRAIN = "train"
ALL = "all"
"""The value of a source's ``split`` that reads every split."""

_WORDS = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF_WORD = {word: split for split, words in _WORDS.items() for word in words}
_WORD = re.compile(rf"(?:^|(?<=[-._ 0-9]))(?:{'|'.join(_SPLIT_OF_WORD)})(?=$|[-._ 0-9])")
_SHARD = re.compile(r"-[0-9]{5}-of-[0-9]{5}(?:-[0-9a-f]{16})?$")
_NUMBER = re.compile(r"[-._ ]*[0-9]+$")


class _Part(NamedTuple):
    """A folder's or file's name in which a split may be named."""

    split: str
    own: str
    """The name without number and extension, such as ``train_sft``; what a source may ask for too."""
    form: str
    """The same with a mark in place of the word: equal for ``train_sft`` and ``test_sft``."""

    @property
    def is_bare(self) -> bool:
        return self.form == "*"


def split_name(word: str) -> str:
    """Return how a split is called here: ``test`` for ``Eval``; a name that is none of the usual ones as it is."""
    return _SPLIT_OF_WORD.get(word.casefold(), word.casefold())


def is_split_word(word: str) -> bool:
    """Say whether a word is a usual name of a split."""
    return word.casefold() in _SPLIT_OF_WORD


@dataclass
class SplitChoice:
    """What a source reads of the splits that its folders hold, and what it leaves out."""

    wanted: str | None
    """The source's ``split``; None is the training split where there is one."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Files by split."""
    fits: bool = False
    """Whether the wanted split was there."""

    def of(self, paths: Sequence[str], stated: Mapping[str, str]) -> set[str]:
        """Return which of a folder's files to read.

        Args:
            paths: relative to the folder.
            stated: the split of those files of which a note beside them tells.
        """
        if self.wanted == ALL:
            return set(paths)
        splits = {
            path: (part.split, part.own) for path, part in _named_splits(paths, asked=self.wanted is not None).items()
        }
        told = {path: (split_name(name), name.casefold()) for path, name in stated.items() if path in set(paths)}
        if self.wanted is not None or TRAIN in {split for split, _ in told.values()}:
            splits |= told
        if not splits:
            return set(paths)
        wanted = self.wanted.casefold() if self.wanted else TRAIN
        fitting = {path for path, names in splits.items() if split_name(wanted) == names[0] or wanted == names[1]}
        self.fits = self.fits or bool(fitting)
        kept = fitting if self.wanted else {path for path in paths if path in fitting or path not in splits}
        self.left_out.update(splits[path][0] if path in splits else "no split" for path in paths if path not in kept)
        return kept

    def listed(self) -> str:
        """Return what is left out, as a text."""
        return ", ".join(f"{split} ({n:,} file{'s' if n > 1 else ''})" for split, n in sorted(self.left_out.items()))


def _named_splits(paths: Iterable[str], *, asked: bool) -> dict[str, _Part]:
    """Return the split of each file whose name, or a folder's above it, says one; with ``asked`` the word alone is enough."""
    found: dict[str, dict[str, _Part]] = {}  # by folder, by what lies in it
    places = {path: _places(path) for path in paths}
    for parts in places.values():
        for folder, name, is_file in parts:
            part = _part(name, is_file=is_file)
            if part is not None:
                found.setdefault(folder, {})[name] = part
    shown = found if asked else {folder: _shown(parts) for folder, parts in found.items()}
    named = {}
    for path, parts in places.items():
        first = next((shown[folder][name] for folder, name, _ in parts if name in shown.get(folder, {})), None)
        if first is not None:
            named[path] = first
    return named


def _places(path: str) -> list[tuple[str, str, bool]]:
    """Return every folder on the way to a file with what lies in it on that way, and whether that is the file itself."""
    names = path.split("/")
    return [("/".join(names[:at]), name, at == len(names) - 1) for at, name in enumerate(names)]


def _part(name: str, *, is_file: bool) -> _Part | None:
    stem = _stem(name.casefold()) if is_file else name.casefold()
    sharded = _SHARD.search(stem)
    own = stem[: sharded.start()] if sharded else _NUMBER.sub("", stem)
    words = list(_WORD.finditer(own))
    if len({_SPLIT_OF_WORD[word.group()] for word in words}) > 1:
        return None  # such as train_test.jsonl
    if not words:
        return _Part(own, own, "") if sharded else None
    word = words[0]
    return _Part(_SPLIT_OF_WORD[word.group()], own, f"{own[: word.start()]}*{own[word.end() :]}")


def _stem(name: str) -> str:
    for known in (CODECS, READABLE):
        for extension in known:
            if name.endswith(extension):
                name = name.removesuffix(extension)
                break
    return name


def _shown(parts: Mapping[str, _Part]) -> dict[str, _Part]:
    """Return the splits that one folder shows; none without a training split that is named like the others."""
    training = [part for part in parts.values() if part.split == TRAIN]
    forms = {part.form for part in training}
    others = {
        name: part
        for name, part in parts.items()
        if part.split != TRAIN and forms and (part.form in forms or part.is_bare or "*" in forms)
    }
    if not others:
        return {}
    return others | {name: part for name, part in parts.items() if part.split == TRAIN}
