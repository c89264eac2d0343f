"""Decompression of whole files as a stream, in bounded memory, with an end to bombs."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from versatune.transforms.formats.blocks import BLOCK_BYTES, Blocks, Tap, peek
from versatune.transforms.formats.fault import FormatError

MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "Zstandard", b"\xfd7zXZ\x00": "xz"}
MAGIC |= {
    bytes([0x50 + kind]) + b"\x2a\x4d\x18": "Zstandard" for kind in range(16)
}  # skippable frames, which pzstd writes first
_CHUNK_BYTES = 1 << 17  # at most 128 MiB come out of so much, which is asked for in blocks
_SANE_RATIO = 1000  # text shrinks 3 to 20 times, logs 100 times; deflate cannot do more than 1032
_ALWAYS_SANE = 2**30


def codec_of(head: bytes) -> str | None:
    """Say how a file is compressed that begins so."""
    return next((codec for magic, codec in MAGIC.items() if head.startswith(magic)), None)


def unpacked(tap: Tap, stored: Blocks) -> Blocks:
    """Yield the blocks of a file as it was before it was compressed, if it was: ``stored`` is what the tap gives, in full.

    Raises:
        FormatError: compressed twice; see :func:`decompressed`.
    """
    head, stored = peek(stored, 512)
    codec = codec_of(head)
    if codec is None:
        return stored
    head, plain = peek(decompressed(_Replayed(tap, stored), codec), 512)
    if codec_of(head):
        raise FormatError(f"found {codec}-compressed data that is compressed once more. Decompress it once")
    return plain


def decompressed(stored: Tap | Any, codec: str) -> Blocks:
    """Yield the decompressed blocks, of 1 MiB at most, of a file that is read from its beginning.

    Raises:
        FormatError: damaged, cut short, or a bomb.
    """
    codecs: dict[str, Callable[[Any], Blocks]] = {
        "gzip": _gzip,
        "bzip2": lambda file: _members(file, bz2.BZ2Decompressor),
        "xz": lambda file: _members(file, lzma.LZMADecompressor),
        "Zstandard": _zstandard,
    }
    try:
        yield from guarded(codecs[codec](stored), lambda: stored.count)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise FormatError(
            f"found {codec}-compressed data that is damaged or cut short ({' '.join(str(error).split())[:200]}). Fetch"
            " the file again, or take it out of the source"
        ) from None


def guarded(blocks: Blocks, stored_bytes: Callable[[], int]) -> Blocks:
    """Yield blocks until more came out than data ever gives.

    Raises:
        FormatError: more than 1 GiB, and more than a thousand times what was read for it.
    """
    total = 0
    for block in blocks:
        total += len(block)
        if total > _ALWAYS_SANE and total > _SANE_RATIO * stored_bytes():
            raise FormatError(
                f"found more than {_SANE_RATIO:,} times as many bytes as are stored: no data compresses so well. If the"
                " file is what it should be, decompress it"
            )
        yield block


def _gzip(file: Any) -> Blocks:
    inflate: Any = None
    data = file.read(_CHUNK_BYTES)
    while data:
        inflate = zlib.decompressobj(31)  # a member with gzip's header; there may be several
        while not inflate.eof:
            block = inflate.decompress(data, BLOCK_BYTES)
            if block:
                yield block
            data = inflate.unconsumed_tail
            if not data and not inflate.eof and len(block) < BLOCK_BYTES:  # a full block may have more behind it
                data = file.read(_CHUNK_BYTES)
                if not data:
                    raise EOFError("cut short")
        data = _next_member(file, inflate.unused_data)


def _members(file: Any, new: Callable[[], Any]) -> Blocks:
    data = file.read(_CHUNK_BYTES)
    while data:
        inflate = new()
        while not inflate.eof:
            block = inflate.decompress(data, BLOCK_BYTES)
            if block:
                yield block
            data = b""
            if inflate.needs_input and not inflate.eof:
                data = file.read(_CHUNK_BYTES)
                if not data:
                    raise EOFError("cut short")
        data = _next_member(file, inflate.unused_data)


def _next_member(file: Any, data: bytes) -> bytes:
    """Return what follows a member, without the zeros that tapes and block devices leave."""
    data = data.lstrip(b"\0")
    while not data:
        more = file.read(_CHUNK_BYTES)
        if not more:
            return b""
        data = more.lstrip(b"\0")
    return data


def _zstandard(file: Any) -> Blocks:
    with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd") as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block


class _Replayed:
    """A tap some blocks of which have been taken already: what a decompressor reads from."""

    closed = False

    def __init__(self, tap: Tap, blocks: Blocks) -> None:
        self._tap = tap
        self._blocks = blocks
        self._left = b""

    @property
    def count(self) -> int:
        return self._tap.count

    def read(self, size: int) -> bytes:
        if not self._left:
            self._left = next(self._blocks, b"")
        block, self._left = self._left[:size], self._left[size:]
        return block

    def close(self) -> None:
        """The file is closed by who opened it."""
