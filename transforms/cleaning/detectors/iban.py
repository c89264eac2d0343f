"""International bank account numbers (ISO 13616)."""

from __future__ import annotations

import re
from collections.abc import Iterator

_START = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?= ?[A-Z0-9]{4})")
_LENGTH_OF_COUNTRY = {
    code: int(length)
    for length, codes in {
        "15": "NO", "16": "BE", "18": "DK FI FO GL NL SD FK", "19": "MK SI", "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH CR HR LI LV", "22": "BG BH DE GB GE IE ME RS VA", "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HN HU LB NI PL SV", "29": "BR EG PS QA UA", "30": "JO KW MU YE", "31": "MT SC",
        "32": "LC", "33": "RU",
    }.items()
    for code in codes.split()
}  # fmt: skip


def find(text: str) -> Iterator[tuple[int, int]]:
    """Yield where account numbers stand: of their country's length, with check digits that hold (mod 97)."""
    for match in _START.finditer(text):
        end = _end(text, match.start(), _LENGTH_OF_COUNTRY.get(match[0][:2], 0))
        if end is not None and _checks(text[match.start() : end].replace(" ", "")):
            yield match.start(), end


def _end(text: str, start: int, length: int) -> int | None:
    """Where ``length`` letters and digits from ``start`` end, single spaces between them or not; None if they do not."""
    position, seen = start, 0
    while seen < length:
        here = text[position : position + 1]
        if here.isascii() and here.isalnum() and not here.islower():
            seen += 1
        elif here != " " or text[position - 1] == " ":
            return None
        position += 1
    follows = text[position : position + 1]
    return None if not length or (follows.isascii() and follows.isalnum()) else position


def _checks(number: str) -> bool:
    return int("".join(str(int(letter, 36)) for letter in number[4:] + number[:4])) % 97 == 1
