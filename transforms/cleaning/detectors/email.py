"""E-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Letters of the scripts that are written with blanks between words: Latin, Greek, Cyrillic (RFC 6531). A Chinese word before an
# address is no part of it.
_LETTER = "A-Za-z0-9\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\u03ff\u0400-\u052f\u1e00-\u1eff"
_LOCAL = rf"[{_LETTER}](?:(?:[{_LETTER}._%+-]|(?<=[{_LETTER}])['’](?=[{_LETTER}])){{0,62}}[{_LETTER}_%+-])?"
_QUOTED = r"\"[^\"@\s\\](?:[^\"@\n\\]{0,60}[^\"@\s\\])?\""
_LABEL = r"[^\W_](?:[^\W_]|-){0,61}"
_OTHER_ENDINGS = "рф|бел|укр|срб|бг|ею|қаз|мон|онлайн|сайт|орг|ком|ελ|ευ|中国|中國|公司|网络|网址|台湾|台灣|香港|한국|भारत|xn--[a-z0-9-]{2,59}"
_ADDRESS = re.compile(
    rf"(?:(?<![{_LETTER}._%+-]){_LOCAL}|{_QUOTED})@((?:{_LABEL}\.)+?({_OTHER_ENDINGS}|[A-Za-z]{{2,24}}))"
    rf"(?![{_LETTER}_(@]|-[{_LETTER}-]|\.[{_LETTER}])"
)

# Every two-letter ending is a country's; of the longer ones those in wide use: "a@b.shape" is Python, not an address.
_ENDINGS = frozenset(
    [
        "com",
        "org",
        "net",
        "edu",
        "gov",
        "mil",
        "int",
        "info",
        "biz",
        "name",
        "pro",
        "mobi",
        "jobs",
        "museum",
        "travel",
        "coop",
        "aero",
        "asia",
        "tel",
        "cat",
        "post",
        "app",
        "dev",
        "blog",
        "shop",
        "site",
        "online",
        "store",
        "tech",
        "cloud",
        "xyz",
        "club",
        "email",
        "live",
        "world",
        "life",
        "today",
        "news",
        "agency",
        "company",
        "group",
        "solutions",
        "digital",
        "media",
        "network",
        "systems",
        "support",
        "academy",
        "finance",
        "health",
        "legal",
        "law",
        "bank",
        "science",
        "software",
        "space",
        "website",
        "top",
        "vip",
        "link",
        "work",
        "works",
        "email",
        "page",
        "wiki",
        "london",
        "berlin",
        "paris",
        "nyc",
        "tokyo",
        "global",
    ]
)
_RESERVED = re.compile(
    r"(?:^|\.)(?:example|test|invalid|localhost)(?:\.(?:com|org|net|edu))?$", re.IGNORECASE
)  # RFC 2606


def find(text: str) -> Iterator[tuple[int, int]]:
    """Yield where addresses stand; not those of domains that are reserved for examples, nor ``git@host:path``."""
    if "@" not in text:
        return
    for match in _ADDRESS.finditer(text):
        ending = match[2].lower()
        if (
            (len(ending) == 2 or ending in _ENDINGS or not ending.isascii() or ending.startswith("xn--"))
            and not _RESERVED.search(match[1])
            and not _is_git(text, match)
        ):
            yield match.span()


def _is_git(text: str, match: re.Match[str]) -> bool:
    return match[0].startswith("git@") and text[match.end() : match.end() + 1] in {":", "/"}
