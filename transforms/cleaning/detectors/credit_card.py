"""Numbers of payment cards (ISO/IEC 7812)."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Undivided, or in the groups that are embossed on cards, with one separator throughout.
_NUMBER = re.compile(
    r"(?<![\w.+#/&-])"
    r"(?:[1-9]\d{13,18}|[1-9]\d{3}([ .\u00a0\u202f-])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3\d{3}([ .\u00a0\u202f-])\d{6}\2\d{4,5})"
    r"(?![\w%]|[.-]\d)",
    re.ASCII,
)
_ISSUERS = re.compile(
    r"4\d{15}"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}"  # Discover
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14,17}"  # UnionPay
)
_ADDRESS_CHARS = 200
_CARD_NAME = re.compile(r"(?:card|cc|pan)\w{0,12}=$", re.IGNORECASE)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # digit sum of twice the digit


def find(text: str) -> Iterator[tuple[int, int]]:
    """Yield where card numbers stand: an issuer's prefix and length, and a check digit that holds (Luhn)."""
    for match in _NUMBER.finditer(text):
        digits = "".join(filter(str.isdecimal, match[0]))
        if _ISSUERS.fullmatch(digits) and _checks(digits) and not _names_a_page(text, match.start()):
            yield match.span()


def _names_a_page(text: str, start: int) -> bool:
    """Say whether a number is a parameter of an address (``?id=``), and none that is called a card."""
    if text[start - 1 : start] != "=":
        return False
    before = text[max(0, start - _ADDRESS_CHARS) : start].rsplit(maxsplit=1)[-1]
    return "://" in before and not _CARD_NAME.search(before)


def _checks(digits: str) -> bool:
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(_DOUBLED[number] for number in numbers[1::2])) % 10 == 0
