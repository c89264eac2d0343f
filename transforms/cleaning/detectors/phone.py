"""Telephone numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from phonenumbers import SUPPORTED_REGIONS, Leniency, PhoneNumberMatcher

from schemas.errors import ConfigError, nearest

# Cheap, and wider than any number: seven or more digits, a few other signs between them.
_CANDIDATE = re.compile(
    r"(?<![\w.,$€£¥^*/=-])(?:\(?\+\)? ?)?\(?\d(?:[ \-./()]{0,3}\d){6,24}(?![\w%^*=]|[.,]\d)", re.ASCII
)
_GROUP = re.compile(r"\d+", re.ASCII)
_CUE = re.compile(
    r"(?:\b(?:tele)?phone|\bcell|\bmobile|\bcall|\btel|\bfax|\bfacsimile|\bdial|\bsms|\btext|\bwhats ?app|\bcontact|\bnumber"
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
        for candidate in _CANDIDATE.finditer(text):
            if 2 * len(_GROUP.findall(candidate[0])) <= sum(map(str.isdigit, candidate[0])):  # not "1 2 3 4 5 6 7"
                yield from _numbers(text, candidate, regions)

    return find


def _numbers(text: str, candidate: re.Match[str], regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    for region in regions or (None,):
        hits = list(PhoneNumberMatcher(candidate[0], region, leniency=Leniency.STRICT_GROUPING))
        spans = [
            (candidate.start() + hit.start + _lone_bracket(hit.raw_string), candidate.start() + hit.end) for hit in hits
        ]
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
        return dividers == ".."  # 555.123.4567, but no decimal and no section of a law
    return len(set(dividers)) == 1 or (not dividers and ")" in number)


def _lone_bracket(number: str) -> bool:
    return number.startswith("(") and ")" not in number
