"""Which files of a folder are its training split, and which are held out of it: by what lies beside them, else by their names.

Names are looked at where the ``datasets`` library looks: whole words of file names and of folders' names. A word alone makes no split:
the folder must hold a training split too, and the two must be named alike, but for numbers; only files that have no other name than
that of a split (``de/test.jsonl``) count beside training files of other folders.
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
    "test": (
        "test",
        "testing",
        "eval",
        "evaluation",
        "heldout",
        "held_out",
        "held-out",
        "holdout",
        "hold_out",
        "hold-out",
    ),
}
_SPLIT_OF_WORD = {word: split for split, words in _WORDS.items() for word in words}
_WORD = re.compile(rf"(?:^|(?<=[-._ 0-9]))({'|'.join(_SPLIT_OF_WORD)})(?=(?:set|data|split)?(?:$|[-._ 0-9]))")
_SHARD = re.compile(r"-[0-9]{5}-of-[0-9]{5}(?:-[0-9a-f]{16})?$")
_NUMBER = re.compile(r"[-._ ]*[0-9]+$")
_ANY_NUMBER = re.compile(r"[-._ ]*[0-9]+[km]?(?![a-z])")


class _Part(NamedTuple):
    """A folder's or file's name in which a split may be named."""

    split: str
    own: str
    """The name without number and extension, such as ``train_sft``; what a source may ask for too."""
    form: str
    """The same with a mark in place of the word, without numbers: equal for ``train_sft`` and ``test_sft``."""
    is_file: bool = False

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
    held_out: set[str] = field(default_factory=set)
    """What is read though it is named as held out, because nothing is named as the training split."""

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
            if self.wanted is None:
                self.held_out |= _only_held_out(paths, told)
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
    bare = [part for parts in found.values() for part in parts.values() if part.is_file and part.is_bare]
    is_trained = any(part.split == TRAIN for part in bare)
    shown = found if asked else {folder: _shown(parts, beside_others=is_trained) for folder, parts in found.items()}
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
    if len({_SPLIT_OF_WORD[word[1]] for word in words}) > 1:
        return None  # such as train_test.jsonl
    if not words:
        return _Part(own, own, "") if sharded else None
    word = words[0]
    form = _ANY_NUMBER.sub("", f"{own[: word.start()]}*{own[word.end() :]}")
    return _Part(_SPLIT_OF_WORD[word[1]], own, form, is_file)


def _only_held_out(paths: Sequence[str], told: Mapping[str, tuple[str, str]]) -> set[str]:
    """Return the splits of files that are all held out by what tells of them or by their bare names; nothing where one is not."""
    named = _named_splits(paths, asked=True)
    splits = {told[path][0] if path in told else named[path].split if path in named else "" for path in paths}
    return splits if splits <= _WORDS.keys() - {TRAIN} else set()


def _stem(name: str) -> str:
    for known in (CODECS, READABLE):
        for extension in known:
            if name.endswith(extension):
                name = name.removesuffix(extension)
                break
    return name


def _shown(parts: Mapping[str, _Part], *, beside_others: bool) -> dict[str, _Part]:
    """Return the splits that one folder shows; none without a training split that is named like the others.

    Args:
        parts: what lies in the folder.
        beside_others: another folder may have the training file.
    """
    training = [part for part in parts.values() if part.split == TRAIN]
    forms = {part.form for part in training}
    others = {
        name: part
        for name, part in parts.items()
        if part.split != TRAIN
        and (
            (forms and (part.form in forms or part.is_bare or "*" in forms))
            or (beside_others and part.is_bare and part.is_file)
        )
    }
    if not others and not beside_others:
        return {}
    return others | {name: part for name, part in parts.items() if part.split == TRAIN}
