"""Names of licences, as people write them, to SPDX expressions."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import lru_cache

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

_ADDRESS = re.compile(r"^(?:https?://)?(?:www\.)?([^/\s]+)/(\S+)$")
_PATHS = (  # what of an address is the name
    (re.compile(r"creativecommons\.org/publicdomain/zero/([\d.]+)"), r"cc0 \1"),
    (re.compile(r"creativecommons\.org/licenses/([a-z-]+)/([\d.]+)"), r"cc \1 \2"),
    (re.compile(r"(?:spdx|opensource)\.org/licenses?/([^/?#]+?)(?:\.(?:html|php|txt))?$"), r"\1"),
    (re.compile(r"apache\.org/licenses/license-([\d.]+?)(?:\.(?:html|txt))?$"), r"apache \1"),
    (re.compile(r"gnu\.org/licenses/(?:old-licenses/)?([^/?#]+?)(?:\.(?:html|txt))?$"), r"\1"),
    (re.compile(r"opendatacommons\.org/licenses/(by|odbl|pddl)\b.*"), r"odc \1"),
)
_WORDS = (
    (r"creative commons", "cc"), (r"open data commons", "odc"), (r"attribution", "by"), (r"non ?commercial", "nc"),
    (r"share ?alike", "sa"), (r"no ?deriv(?:ative|ation)?s?(?: works)?", "nd"), (r"gnu affero general public", "agpl"),
    (r"gnu lesser general public", "lgpl"), (r"gnu general public", "gpl"), (r"mozilla public", "mpl"),
    (r"eclipse public", "epl"), (r"cc zero", "cc0"), (r"^ *by\b", "cc by"), (r"odc (odbl|pddl|open database)", r"\1"), (r"open database", "odbl"),
    (r"\b(?:licen[cs]ed?|version|ver|international|unported|generic|universal|public domain dedication|the|software)\b", " "),
    (r"\bv(?=\d)|(?<=pl)v(?=\d)", " "), (r"(?<=[a-z])(?=\d+\.\d)", " "), (r"\b(cc|cc0|bsd|gpl|lgpl|agpl|mpl|epl)(?=[1-9])", r"\1 "),
)  # fmt: skip
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_PORT = re.compile(r"^(cc by.* \d\.\d) [a-z]{2}$")
# Names of GNU's licences that SPDX deprecates, because they do not say whether later versions are meant.
_GNU_ONLY, _GNU_LATER = re.compile(r"\b([AL]?GPL-\d\.\d)(?![\w.+-])"), re.compile(r"\b([AL]?GPL-\d\.\d)\+")
_VERSIONS = ("", ".0", "-4.0", "-3.0", "-2.0", "-1.0", "-1.0.0")  # a version that is not given is the newest


@lru_cache(maxsize=1024)
def spdx(name: str) -> str | None:
    """Return the SPDX expression that a licence's name means, else None.

    Names of licences, their addresses and the tags of data hubs are known: ``CC BY-NC 4.0``, ``Apache License, Version
    2.0``, ``cc0``, ``https://creativecommons.org/licenses/by/4.0/``. Without a version the newest is meant, and that
    version only of a licence of GNU; a country's edition without an identifier of its own is the international one.
    """
    for fold in (_exact, _named, _expression):
        folded = fold(name.strip())
        if folded is not None:
            return folded
    return None


def _exact(name: str) -> str | None:
    try:
        exact = str(canonicalize_license_expression(name))
    except InvalidLicenseExpression:
        return None
    return _GNU_LATER.sub(r"\1-or-later", _GNU_ONLY.sub(r"\1-only", exact))


def _named(name: str) -> str | None:
    """Read one licence's name."""
    name = re.sub(r"(?<=\d)_(?=\d)", ".", name.lower().translate(_DASHES))
    if _ADDRESS.match(name):
        named = next((match.expand(meaning) for path, meaning in _PATHS if (match := path.search(name))), None)
        if named is None:
            return None
        name = named
    name = re.sub(r"\([^()]*\)|[\"'“”‘’]", " ", name)
    name = re.sub(r"[\s_,/:-]+", " ", name)
    for written, meant in _WORDS:
        name = re.sub(written, meant, name)
    name = " ".join(name.split())
    if not name:
        return None
    stems = [stem.replace(" ", "-") for stem in (name, _PORT.sub(r"\1", name))]
    return next(
        (found for stem in stems for version in _VERSIONS if (found := _exact(stem + version)) is not None), None
    )


def _expression(name: str) -> str | None:
    """Read names that are joined by AND, OR and brackets."""
    parts = re.split(r"(\s+(?:AND|OR|and|or)\s+|[()])", name)
    if len(parts) == 1:
        return None
    folded = [part.upper() if _is_operator(part) else spdx(part) for part in parts if part.strip()]
    return None if None in folded else _exact(" ".join(part for part in folded if part))


def _is_operator(part: str) -> bool:
    return part.strip().upper() in ("AND", "OR", "(", ")")


def satisfies(expression: str, allowed: Callable[[str], bool]) -> bool:
    """Say whether an expression can be met with licences that are allowed: all that AND joins, one of those that OR joins.

    Args:
        expression: as :func:`spdx` returns it.
        allowed: says whether one licence is, with its exception if it has one.
    """
    words = re.findall(r"[()]|[^\s()]+", expression)
    position = 0

    def term() -> bool:
        nonlocal position
        if words[position] == "(":
            position += 1
            met = choice()
            position += 1
            return met
        name = words[position]
        position += 1
        if words[position : position + 1] == ["WITH"]:
            name = f"{name} WITH {words[position + 1]}"
            position += 2
        return allowed(name)

    def joined(part: Callable[[], bool], word: str, met_together: Callable[[bool, bool], bool]) -> bool:
        nonlocal position
        met = part()
        while words[position : position + 1] == [word]:
            position += 1
            met = met_together(met, part())  # every part is read, whatever those before it say
        return met

    def choice() -> bool:
        return joined(lambda: joined(term, "AND", operator.and_), "OR", operator.or_)

    return choice()
