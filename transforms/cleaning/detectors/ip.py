"""Public IP addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_V4 = re.compile(r"(?<![\w.-])(?:(?<!/)|(?<=//))(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", re.ASCII)
# All that is handed out lies in 2000::/3.
_V6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])", re.ASCII)
_VERSION_BEFORE = re.compile(
    r"(?:\b(?:v|ver|versions?|release|build|firmware|sections?|sec|clause|article|rule|chapter|item|para|paragraph)\.?"
    r"|版本号?|[=<>~^§])[ :]*$",
    re.IGNORECASE,
)
_VERSION_CHARS = 12
_MAPPED = re.compile(r"(?<![\w:])::(?:ffff|FFFF):\Z")  # ::ffff:203.104.52.14


def find(text: str) -> Iterator[tuple[int, int]]:
    """Yield where IPv4 and IPv6 addresses of the public internet stand.

    Private, reserved and documentation ranges are left alone. Four numbers are a version or a section, and no address,
    after a word such as "version", or if fewer than two of them have more than one digit.
    """
    if text.count(".") >= 3:
        for match in _V4.finditer(text):
            numbers = match[0].split(".")
            if (
                sum(len(number) > 1 for number in numbers) >= 2
                and _is_public(match[0])
                and not _VERSION_BEFORE.search(text[max(0, match.start() - _VERSION_CHARS) : match.start()])
            ):
                mapped = _MAPPED.search(text, max(0, match.start() - _VERSION_CHARS), match.start())
                yield (mapped.start() if mapped else match.start()), match.end()
    if ":" in text:
        for match in _V6.finditer(text):
            if _is_public(match[0].rstrip(":")) and match[0].count(":") >= 3:
                yield match.start(), match.start() + len(match[0].rstrip(":"))


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
