"""E-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LOCAL = r"[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"(?<![A-Za-z0-9._%+-]){_LOCAL}@((?:{_LABEL}\.)+([A-Za-z]{{2,24}}))(?![A-Za-z0-9_(@]|-[A-Za-z0-9]|\.[A-Za-z0-9])"
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
        if (len(ending) == 2 or ending in _ENDINGS) and not _RESERVED.search(match[1]) and not _is_git(text, match):
            yield match.span()


def _is_git(text: str, match: re.Match[str]) -> bool:
    return match[0].startswith("git@") and text[match.end() : match.end() + 1] in {":", "/"}
