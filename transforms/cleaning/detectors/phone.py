"""Telephone numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from phonenumbers import SUPPORTED_REGIONS, Leniency, PhoneNumberMatcher

from versatune.schemas.errors import ConfigError, nearest

# Cheap, and wider than any number: seven or more digits, a few other signs between them.
_RUN = re.compile(
    r"(?:(?<![\w.$€£¥^*-])\(?\+\)? ?|(?<![\w.,$€£¥^*/=-]))\(?\d(?:[ \u00a0\u202f\-./()]{0,3}\d){6,}", re.ASCII
)
_MOST_DIGITS = 30  # two numbers side by side; more are a table
_GOES_ON = re.compile(r"[\w%^*=]|[.,]\d", re.ASCII)  # the last digits belong to a word, a formula or a fraction
_LAST_GROUP = re.compile(r"(?:(?<=\d)\D++|\A\D*+)\d++\Z", re.ASCII)
_GROUP = re.compile(r"\d+", re.ASCII)
_CUE = re.compile(
    r"(?:\b(?:tele)?phone|\bcell|\bmobile|\bcall|\bt[eé]l|\bfax|\bfacsimile|\bdial|\bsms|\btext|\bwhats ?app|\bcontact|\bnumber"
    r"|电话|手机|号码|联系|致电|拨打|热线|传真|微信)[^\d\n]{0,20}$",
    re.IGNORECASE,
)
_CUE_CHARS = 32


def phone_finder(regions: Sequence[str]) -> Callable[[str], Iterator[tuple[int, int]]]:
    """Return the function that yields where telephone numbers stand, by libphonenumber's numbering plans.

    A number counts in its international form, or as it is written within one of the regions. Without a + it needs its
    digits in groups, all divided alike, or a word such as "phone" before it: bare digits are mostly something else.

    Raises:
        ConfigError: an unknown region.
    """
    for region in regions:
        if region not in SUPPORTED_REGIONS:
            raise ConfigError(
                f"build.pii.phone_regions: '{region}' is no ISO 3166 code{nearest(region, SUPPORTED_REGIONS)}"
            )

    def find(text: str) -> Iterator[tuple[int, int]]:
        for run in _RUN.finditer(text):
            candidate = run[0]
            if _GOES_ON.match(text, run.end()):
                candidate = _LAST_GROUP.sub("", candidate)
            if _may_hold_numbers(candidate):
                yield from _numbers(text, run.start(), candidate, regions)

    return find


def _may_hold_numbers(candidate: str) -> bool:
    groups = _GROUP.findall(candidate)
    digits = sum(map(len, groups))
    if digits < 7 or digits > _MOST_DIGITS:
        return False
    # "1 2 3 4 5 6 7" is no number; behind a country code one group may be of one digit: +33 1 42 68 53 00
    return digits >= 2 * len(groups) - (2 if "+" in candidate[:2] else 0)


def _numbers(text: str, offset: int, candidate: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    for region in regions or (None,):
        hits = PhoneNumberMatcher(candidate, region, leniency=Leniency.STRICT_GROUPING)
        spans = [(offset + hit.start + _lone_bracket(hit.raw_string), offset + hit.end) for hit in hits]
        spans = [span for span in spans if _is_written_as_one(text, *span)]
        if spans:
            yield from spans
            return


def _is_written_as_one(text: str, start: int, end: int) -> bool:
    number = text[start:end]
    if "+" in number[:2]:
        # "3600 + 62426244000" is a sum
        return not (re.search(r"\d\s{0,3}$", text[max(0, start - 4) : start]) and re.fullmatch(r"\+ ?\d+", number))
    if _CUE.search(text[max(0, start - _CUE_CHARS) : start]):
        return True
    dividers = re.sub(r"[\d()]|(?<=\)) ?", "", number.removeprefix("1-").removeprefix("1 "))
    if "." in dividers:
        return dividers in ("..", "....")  # 555.123.4567 and 01.42.68.53.00, but no decimal and no section of a law
    return len(set(dividers)) == 1 or (not dividers and ")" in number)


def _lone_bracket(number: str) -> bool:
    return number.startswith("(") and ")" not in number
