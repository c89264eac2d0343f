"""What a file holds: by its first bytes where they tell, else by its name."""

from __future__ import annotations

import os
import re

from versatune.transforms.formats.compressed import MAGIC
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.formats.json_lines import is_by_line, parses
from versatune.transforms.transport.batch import ReadOptions

CODECS = {".gz": "gzip", ".gzip": "gzip", ".bz2": "bzip2", ".zst": "Zstandard", ".zstd": "Zstandard", ".xz": "xz"}
LINES = frozenset({".jsonl", ".ndjson", ".jsonlines", ".jl"})
JSON = LINES | {".json"}
DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|", ".ssv": ";"}
TEXT = frozenset({".txt", ".text", ".md", ".markdown"})
PARQUET = frozenset({".parquet", ".pq"})
ARROW = frozenset({".arrow", ".feather", ".ipc"})
READABLE = JSON | DELIMITED.keys() | TEXT | PARQUET | ARROW | {".zip"}
KNOWN = ".jsonl .json .csv .tsv .txt .md (each also with .gz .bz2 .zst .xz) .parquet .arrow .feather .zip"

_AS_TABLE = "save it as CSV, Parquet or JSON Lines"
_UNPACK = "unpack it and name the files"
_DECOMPRESS = "decompress it, or compress it with gzip, bzip2, Zstandard or xz"
UNREADABLE = {
    ".tar": f"a tar archive; {_UNPACK}",
    ".tgz": f"a tar archive; {_UNPACK}",
    ".tbz2": f"a tar archive; {_UNPACK}",
    ".7z": f"a 7z archive; {_UNPACK}",
    ".rar": f"a RAR archive; {_UNPACK}",
    ".lz4": f"LZ4-compressed data; {_DECOMPRESS}",
    ".br": f"Brotli-compressed data; {_DECOMPRESS}",
    ".lzma": f"LZMA-compressed data; {_DECOMPRESS}",
    ".lz": f"lzip-compressed data; {_DECOMPRESS}",
    ".z": f"data of the old compress; {_DECOMPRESS}",
    ".sz": f"Snappy-compressed data; {_DECOMPRESS}",
    ".xlsx": f"an Excel workbook; {_AS_TABLE}",
    ".xls": f"an Excel workbook; {_AS_TABLE}",
    ".ods": f"a spreadsheet; {_AS_TABLE}",
    ".avro": f"an Avro file; {_AS_TABLE}",
    ".orc": f"an ORC file; {_AS_TABLE}",
    ".tfrecord": f"TFRecords; {_AS_TABLE}",
    ".sqlite": f"an SQLite database; {_AS_TABLE}",
    ".db": f"a database; {_AS_TABLE}",
    ".h5": f"an HDF5 file; {_AS_TABLE}",
    ".hdf5": f"an HDF5 file; {_AS_TABLE}",
    ".npz": f"NumPy arrays; {_AS_TABLE}",
    ".pkl": f"a pickle, which can run code when it is opened; {_AS_TABLE}",
    ".pickle": f"a pickle, which can run code when it is opened; {_AS_TABLE}",
    ".pt": f"a PyTorch file, which can run code when it is opened; {_AS_TABLE}",
    ".pdf": "a PDF; extract its text",
    ".docx": "a Word document; extract its text",
    ".epub": "an e-book; extract its text",
}
"""Names of files that hold data that is not read, and what to do with them."""

_SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer, not the data; run `git lfs pull`",
    b"SQLite format 3": UNREADABLE[".sqlite"],
    b"\x89HDF": UNREADABLE[".h5"],
    b"Obj\x01": UNREADABLE[".avro"],
    b"ORC": UNREADABLE[".orc"],
    b"%PDF": UNREADABLE[".pdf"],
    b"7z\xbc\xaf": UNREADABLE[".7z"],
    b"Rar!\x1a": UNREADABLE[".rar"],
    b"FEA1": "a Feather file of version 1; write it anew as version 2 or Parquet",
    b"\xd0\xcf\x11\xe0": UNREADABLE[".xls"],
    b"\x04\x22\x4d\x18": UNREADABLE[".lz4"],
    b"\x02\x21\x4c\x18": UNREADABLE[".lz4"],
    b"LZIP\x01": UNREADABLE[".lz"],
    b"\x1f\x9d": UNREADABLE[".z"],
    b"\xff\x06\x00\x00sNaPpY": UNREADABLE[".sz"],
    **{
        bytes([first]) + b"\xb5\x2f\xfd": f"Zstandard-compressed data of a format before 0.8; {_DECOMPRESS}"
        for first in (0x1E, *range(0x22, 0x28))
    },
}
SNIFFED_BYTES = 4096
"""Of a file whose name does not tell what it holds."""
_DATA_SIGNATURES = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"PK\x03\x04", *MAGIC)
_JSON_BEGINS = re.compile(rb'\s*(\[\s*)*\{\s*("(?:[^"\\\n]|\\.)*"\s*:|\}|$)|\s*\[\s*(\]|\[|"|$)')

_NOTES = frozenset(
    """
    readme license licence copying notice authors contributors contributing changelog changes history citation requirements
    code_of_conduct security todo install
    """.split()  # noqa: SIM905
)
_NO_OPTIONS = ReadOptions()
_SIDE_FILES = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})


def extensions(name: str) -> tuple[str, str | None]:
    """Return a file name's extension, in lower case, and the codec of a second one behind it."""
    root, extension = os.path.splitext(os.path.basename(name).lower())
    codec = CODECS.get(extension)
    return (os.path.splitext(root)[1] if codec else extension), codec


def may_hold_data(name: str) -> bool | None:
    """Say by its name whether a file that lies in a folder is data; None where the name does not tell."""
    base = os.path.basename(name).lower()
    stem = base.split(".", maxsplit=1)[0]
    extension, _ = extensions(name)
    if base.startswith((".", "~")) or base in _SIDE_FILES or base.endswith((".license", ".spdx", ".crc", ".lock")):
        return False
    if stem in _NOTES and (extension in TEXT or not extension):
        return False
    if extension in READABLE or extension in UNREADABLE:
        return True
    return None


def text_kind(head: bytes, name: str, *, whole: bool, options: ReadOptions = _NO_OPTIONS) -> str:
    """Say what text is: lines, document (both JSON), delimited or text.

    Args:
        head: the beginning, without a byte-order mark.
        name: decides where the content does not.
        whole: the head is all of the file.
        options: a delimiter makes text delimited whose first line has it, a pattern makes it plain text, unless the name
            says that it is JSON or, in the latter case, delimited.

    Raises:
        FormatError: none of them.
    """
    extension, _ = extensions(name)
    if options.pattern is not None and extension not in JSON | DELIMITED.keys():
        return "text"
    if looks_like_json(head):
        if extension in DELIMITED and not parses(head.strip().split(b"\n", 1)[0]):
            return "delimited"
    elif extension in DELIMITED or (
        extension not in JSON and options.delimiter and options.delimiter.encode() in head.split(b"\n", 1)[0]
    ):
        return "delimited"
    elif extension in TEXT:
        return "text"
    lines = is_by_line(head, whole=whole, named_lines=extension in LINES)
    if not lines and head.lstrip()[:1] not in {b"{", b"["}:
        what = "" if extension in JSON else f", and its name says nothing else (known are {KNOWN})"
        raise FormatError(
            "found text that is not JSON: no line begins with '{' or '['. Expected an object a line, a list of objects, or an"
            f" object of objects{what}"
        )
    return "lines" if lines else "document"


def looks_like_data(head: bytes) -> bool:
    """Say by its first bytes whether a file of a name that tells nothing is data."""
    return head.startswith(_DATA_SIGNATURES) or looks_like_json(head)


def looks_like_json(head: bytes) -> bool:
    """Say whether text is JSON, and not prose that begins with a bracket; its beginning is enough."""
    head = head.removeprefix(b"\xef\xbb\xbf")[: 1 << 20].lstrip()
    if parses(head.split(b"\n", 1)[0].strip()):
        return True
    return bool(_JSON_BEGINS.match(head[: 1 << 16]))


def refuse_unreadable(head: bytes, name: str) -> None:
    """Raise FormatError for a file that is no text, or of a kind that is not read."""
    found = next((what for signature, what in _SIGNATURES.items() if head.startswith(signature)), None)
    if found is None and head[257:262] == b"ustar":
        found = UNREADABLE[".tar"]
    if found is None and _is_binary(head[:4096]) and not looks_like_json(head):
        found = UNREADABLE.get(extensions(name)[0], "binary data of an unknown kind")
    if found is not None:
        raise FormatError(f"found {found}. Known are {KNOWN}")


def _is_binary(head: bytes) -> bool:
    """Say whether a file begins like no text; a text may hold a NUL, and bytes of another encoding."""
    zeros = head.count(b"\0")
    if 4 * zeros > len(head):
        return True
    try:
        head[: len(head) - 3].decode()  # a character may be cut at the end
    except UnicodeDecodeError as error:
        return zeros > 0 and error.start < len(head) - 8
    return False
