"""Text that is not UTF-8: which encoding it is in, where its bytes show it, and the same text as UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from itertools import chain

from versatune.transforms.formats.blocks import HEAD, Blocks, peek, transcoded
from versatune.transforms.formats.encoding import UNDECODABLE

_ASCII_ONLY = re.compile(rb"[^\x00-\x7f]")
_LATIN_MARKS = frozenset("‚„…‘’“”•–—™«»¿¡ºª°§©®£€·½¼¾´¨\xa0\xad†‡‹›‰±²³×÷µ¶¹")
_WORD = re.compile(r"[^\W\d_]+")
# Never inside words of cp1252: Polish text, and text of a Macintosh or of DOS, decoded wrongly.
_INSIDE_WORDS = re.compile(
    r"(?<=[^\W\d_])[²³¹º¿¡×÷¾¼½§](?=[^\W\d_])|(?<=[a-z])[„”‚†‡™À-ÖØ-ÞŠŽŒŸ](?=[a-z])|[¹º¿¡][²³¹º¿¡]|ÿ|Þ|þ\b"
)
# Letters that no language written in cp1252 has together: Czech, Hungarian, Romanian and Turkish text, decoded wrongly.
_NEVER_TOGETHER = [("ø", "ìèùï"), ("õ", "öü"), ("þ", "ãüöºª"), ("ð", "üöç"), ("ý", "üç")]
_SIMPLIFIED = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里什么怎样请问答哪"
)
_TRADITIONAL = frozenset(
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡什麼怎樣請問答哪"
)
_KANA = frozenset(map(chr, [*range(0x3041, 0x3097), *range(0x30A1, 0x30FB), 0x30FC, 0x3001, 0x3002]))
_KOREAN = frozenset("이다는에을의가은로하고지도를한기사어인대정자서리나시라습니까요해있무엇것수아")
_CYRILLIC = frozenset("оеаинтсрвлкмдп")
_WORD_LETTERS = 3
_BY_COMMON = {  # encoding: its language's commonest characters, and the share of them that text has at least
    "gb18030": (_SIMPLIFIED, 0.1),
    "cp932": (_KANA, 0.3),
    "euc_jp": (_KANA, 0.3),
    "cp949": (_KOREAN, 0.2),
    "big5": (_TRADITIONAL, 0.1),
    "cp1251": (_CYRILLIC, 0.5),
    "koi8_r": (_CYRILLIC, 0.5),
    "cp866": (_CYRILLIC, 0.5),
}


def as_utf8(blocks: Blocks, note: Callable[[str], None]) -> Blocks:
    """Transcode text of which :func:`find_encoding` finds the encoding; all other text stays as it is.

    Looked at is the first MiB from the first byte that is not ASCII, so the blocks' sizes change nothing.
    """
    for block in blocks:
        found = _ASCII_ONLY.search(block)
        if found is None:
            yield block
            continue
        yield block[: found.start()]
        sample, rest = peek(chain([block[found.start() :]], blocks))
        encoding = find_encoding(sample, whole=len(sample) < HEAD)
        if encoding is None:
            yield from rest
        else:
            note(f"its text is not UTF-8; it was read as {encoding}, which encoding: OTHER changes")
            yield from transcoded(rest, encoding)


def find_encoding(sample: bytes, *, whole: bool) -> str | None:
    """Tell the encoding of text that is not UTF-8; None where it is UTF-8 (with rows that are broken), or its bytes do not show it.

    Western European text is cp1252: letters with accents inside words of ASCII letters. Chinese, Japanese, Korean and
    Russian are told by their commonest characters, of which wrong decoding yields few.

    Args:
        sample: the text from its first byte that is not ASCII.
        whole: the sample is not cut at its end.
    """
    if _is_utf8(sample, whole=whole):  # nearly all text
        return None
    text = sample.decode("utf-8", UNDECODABLE)
    broken = sum("\udc80" <= char <= "\udcff" for char in text) - (0 if whole else 3)
    if broken <= 0 or b"\0" in sample or sum("\x7f" < char < "\udc80" or char > "\udcff" for char in text) >= broken:
        return None
    scores = {encoding: _share_of_common(sample, encoding, whole=whole) for encoding in _BY_COMMON}
    best = max(scores, key=lambda encoding: scores[encoding])
    if scores[best] > 0:
        return best
    return "cp1252" if _is_western(sample) else None


def _is_utf8(sample: bytes, *, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError:
        return False
    return True


def _share_of_common(sample: bytes, encoding: str, *, whole: bool) -> float:
    """Return the share of a language's commonest characters among those that are not ASCII; 0 where it is too small."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample, final=whole)
    except UnicodeDecodeError:
        return 0.0
    common, least = _BY_COMMON[encoding]
    if common is _CYRILLIC and not _has_words(text):
        return 0.0
    foreign = [char for char in text if char > "\x7f" and (char.isalpha() or char in common)]
    share = sum(char in common for char in foreign) / max(1, len(foreign))
    return share if share >= least else 0.0


def _has_words(text: str) -> bool:
    """Say whether most letters that are not ASCII stand in words of their own; accents of Western text stand among ASCII letters."""
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    alone = sum(len(word) for word in words if len(word) >= _WORD_LETTERS and all(char > "\x7f" for char in word))
    return 2 * alone >= sum(char > "\x7f" for word in words for char in word)


def _is_western(sample: bytes) -> bool:
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    foreign = [char for char in text if char > "\x7f"]
    if not all(char.isalpha() or char in _LATIN_MARKS for char in foreign) or _INSIDE_WORDS.search(text):
        return False
    letters = set(text.lower())
    if any(one in letters and not letters.isdisjoint(others) for one, others in _NEVER_TOGETHER):
        return False
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    accents: int = sum(char > "\x7f" for word in words for char in word)
    return bool(2 * accents <= sum(map(len, words)) + 2)
