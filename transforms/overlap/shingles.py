"""Words and word n-grams of many texts at once, as 64-bit hashes: what near-duplicates and benchmark overlaps are found by.

A word is a run of letters, digits and combining marks; everything else only separates. Case and width do not count
(``Ｔｅｘｔ``, ``TEXT`` and ``text`` are one word). Scripts that put no spaces between words (Chinese, Japanese kana, Thai, Lao,
Khmer, Burmese) count every character as a word.

All arithmetic is unsigned, modulo 2^64, and starts from the code points alone, so a hash is the same on every machine.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BLOCK_BYTES = 2**16
"""Text is hashed in pieces of about this size, which stay in a core's cache; a longer run of letters counts as several words."""

_LETTER_BASE = 0x9E3779B97F4A7C15
_WORD_BASE = 0xD6E8FEB86659FD93
_ALONE = 0x80000000  # bit of a code point in the table that is a word by itself
_TABLED = 0x20000  # planes 0 and 1; plane 1's last letters end well below
_SCRIPTS_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # kana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x1B000, 0x1B16F),  # historic kana
)


class Words(NamedTuple):
    """The words of some rows, in order."""

    hashes: np.ndarray
    """(words,) uint64."""
    offsets: np.ndarray
    """(rows + 1,) int64: row i has the words offsets[i] to offsets[i + 1]."""


class Shingles(NamedTuple):
    """The word n-grams of some rows; one that a row repeats is there as often."""

    hashes: np.ndarray
    """(n-grams,) uint64."""
    offsets: np.ndarray
    """(rows + 1,) int64."""


def words_of_texts(texts: pa.Array) -> Words:
    """Return the words of each text of a string array."""
    data, bounds = _utf8(texts)
    found, counts = [np.zeros(0, np.uint64)], np.zeros(len(texts), np.int64)
    for start, end, first, last in _blocks(data, bounds):
        hashes, here = _hash_block(bytes(data[start:end]), np.maximum(bounds[first:last] - start, 0))
        found.append(hashes)
        counts[first:last] += here
    return Words(np.concatenate(found), _offsets(counts))


def words_of_conversations(messages: pa.Array, *, without: str | None = None) -> Words:
    """Return the words of each conversation, its turns joined.

    Args:
        messages: lists of (role, content), :data:`versatune.schemas.arrow.MESSAGES`.
        without: a role whose turns are left out.
    """
    roles, contents = messages.flatten().flatten()
    turns = _offsets(pc.fill_null(messages.value_lengths(), 0).to_numpy(zero_copy_only=False))
    if without is not None and (kept := pc.not_equal(roles, without)).false_count:
        contents = contents.filter(kept)
        turns = _offsets(kept.to_numpy(zero_copy_only=False))[turns]
    hashes, offsets = words_of_texts(contents)
    return Words(hashes, offsets[turns])


def shingles_of(words: Words, ngram: int) -> Shingles:
    """Return each row's n-grams of ``ngram`` words; a row of fewer words has one, of all its words; without words, none."""
    sizes = np.diff(words.offsets)
    counts = np.where(sizes > 0, np.maximum(sizes - (ngram - 1), 1), 0)
    offsets = _offsets(counts)
    starts = np.arange(offsets[-1]) + np.repeat(words.offsets[:-1] - offsets[:-1], counts)
    ends = starts + ngram
    np.minimum(ends, np.repeat(words.offsets[1:], counts), out=ends)
    return Shingles(span_hashes(running_sums(words), starts, ends), offsets)


def running_sums(words: Words) -> np.ndarray:
    """Return what :func:`span_hashes` needs to know about some words, (words + 1,) uint64."""
    powers, _ = _powers(_WORD_BASE, _room(len(words.hashes)))
    sums = np.zeros(len(words.hashes) + 1, np.uint64)
    np.cumsum(words.hashes * powers[: len(words.hashes)], out=sums[1:])
    return sums


def span_hashes(sums: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the hash of each run of words, (n,) uint64: equal for equal words in equal order, wherever they stand.

    Args:
        sums: of the words, see :func:`running_sums`.
        starts: (n,) int64 numbers of first words.
        ends: (n,) int64 numbers of the words after the last.
    """
    _, inverse = _powers(_WORD_BASE, _room(len(sums) - 1))
    spans = sums[ends]
    spans -= sums[starts]
    spans *= inverse[starts]
    return mix(spans)


def mix(values: np.ndarray) -> np.ndarray:
    """Spread every bit over all others, in place (the finalizer of MurmurHash3, by A. Appleby)."""
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values


def _utf8(texts: pa.Array) -> tuple[memoryview, np.ndarray]:
    """Return the bytes of all texts, one after the other, and the (texts + 1,) int64 places where they begin and end."""
    texts = texts.cast(pa.large_string())
    if not len(texts):
        return memoryview(b""), np.zeros(1, np.int64)
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data or b"")[bounds[0] : bounds[-1]], bounds - bounds[0]


def _blocks(data: memoryview, bounds: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Divide texts into blocks: yield (first byte, end byte, first text, end text).

    Short texts share a block. A long one has blocks of its own, so that where it is cut, and what that makes of a word of more
    than :data:`BLOCK_BYTES`, does not depend on its neighbours.
    """
    text, texts = 0, len(bounds) - 1
    while text < texts:
        start = int(bounds[text])
        after = int(np.searchsorted(bounds, start + BLOCK_BYTES, side="right")) - 1
        if after > text:
            yield start, int(bounds[after]), text, after
            text = after
            continue
        end = int(bounds[text + 1])
        while start < end:
            cut = _cut(data, start, end)
            yield start, cut, text, text + 1
            start = cut
        text += 1


def _cut(data: memoryview, start: int, end: int) -> int:
    """Return where a block that begins at ``start`` ends: after its last blank, or between two characters."""
    if end - start <= BLOCK_BYTES:
        return end
    block = bytes(data[start : start + BLOCK_BYTES])
    if blank := max(block.rfind(b" "), block.rfind(b"\n")) + 1:
        return start + blank
    cut = start + BLOCK_BYTES
    while data[cut] & 0xC0 == 0x80:  # a byte that continues a character
        cut -= 1
    return cut


def _hash_block(data: bytes, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of a block's words, (words,) uint64, and how many each text has in it, (texts,) int64.

    Args:
        data: UTF-8.
        bounds: the byte at which each text begins.
    """
    text = data.decode()
    if len(text) < len(data):  # from places of bytes to places of characters
        bounds = _offsets((np.frombuffer(data, np.uint8) & 0xC0) != 0x80)[bounds]
    letters = _table().take(np.frombuffer(text.encode("utf-32-le"), np.uint32))
    starts = _word_starts(letters, bounds)
    powers, inverse = _powers(_LETTER_BASE, BLOCK_BYTES + 1)
    values = letters.astype(np.uint64)
    values *= powers[: len(values)]
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=sums[1:])
    sums = sums[np.append(starts, len(values))]  # separators count as 0, so a word may reach up to the next
    hashes = (sums[1:] - sums[:-1]) * inverse[starts]
    return mix(hashes), np.diff(np.searchsorted(starts, bounds), append=len(starts))


def _word_starts(letters: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return the places at which words begin: after a separator, at the beginning of a text, beside a character that stands alone."""
    inside = letters != 0
    begins = np.ones(len(letters) + 1, bool)
    np.logical_not(inside[:-1], out=begins[1:-1])
    if letters.max(initial=0) >= _ALONE:
        alone = letters >= _ALONE
        begins[:-1] |= alone
        begins[1:] |= alone
    begins[bounds] = True
    return np.flatnonzero(begins[:-1] & inside)


@cache
def _table() -> np.ndarray:
    """Return what each code point stands for, (1114112,) uint32: 0 for a separator, else the folded letter."""
    table = np.zeros(0x110000, np.uint32)
    table[:_TABLED] = [_folded(chr(point)) for point in range(_TABLED)]
    for first, last in _SCRIPTS_WITHOUT_SPACES:
        table[(table >= first) & (table <= last)] |= np.uint32(_ALONE)
    table[_TABLED:0x40000] = np.arange(_TABLED, 0x40000, dtype=np.uint32) | np.uint32(_ALONE)  # Han, planes 2 and 3
    return table


def _folded(character: str) -> int:
    if unicodedata.category(character)[0] not in "LMN":
        return 0
    for form in (unicodedata.normalize("NFKC", character).casefold(), character.lower()):
        if len(form) == 1 and unicodedata.category(form)[0] in "LMN":
            return ord(form)
    return ord(character)  # a letter that folds to several: ß, ligatures


@cache
def _powers(base: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first powers of an odd number and of its inverse, modulo 2^64, as two (count,) uint64 arrays."""
    both = []
    for factor in (base, pow(base, -1, 2**64)):
        powers = np.full(count, factor, np.uint64)
        powers[0] = 1
        both.append(np.cumprod(powers))
    return both[0], both[1]


def _room(count: int) -> int:
    """Round up to a power of two, so that few tables serve all batches."""
    return max(2**16, 1 << count.bit_length())


def _offsets(counts: np.ndarray) -> np.ndarray:
    """Return the running sums of some counts, from 0, as int64."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
