"""Does `versatune verify` name a file in which one bit was flipped?

    python benchmarks/bit_flips.py outputs/quickstart              # 200 flips over the outputs of a finished configuration
    python benchmarks/bit_flips.py outputs/quickstart --flips 20   # fewer

Each flip: a file by chance (every file alike, so that small ones count), a bit in it by chance; the document that answers for the file is verified; the
bit is put back. A flip is found if a problem names the file. Files that docs/versions.md lists as not covered are flipped too and counted apart.
The folder must verify before, and is left as it was.
"""

from __future__ import annotations

import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import machine, parser, report
from versatune.schemas.errors import VersatuneError
from versatune.schemas.progress import Silence
from versatune.versions.verify import verify

DOCUMENTS = ("manifest.json", "mixture.json", "probe.json", "labels.json", "run.json")
NOT_COVERED = (
    "*/README.md",
    "probe/*/probe.html",
    "probe/generations/**",
    "labels/answers/**",
    "runs/*/report.html",
    "rejected/**",
    "stages.json",
)
"""The list of docs/versions.md, by path in OUTPUT/NAME; ``**`` is all below."""


def is_covered(name: str) -> bool:
    """Say whether verify answers for a file, given its path in OUTPUT/NAME."""
    return not any(
        fnmatch(name, pattern) and (pattern.endswith("**") or name.count("/") == pattern.count("/"))
        for pattern in NOT_COVERED
    )


def files_of(home: Path) -> list[Path]:
    """Return every file of OUTPUT/NAME that has a bit to flip."""
    return sorted(file for file in home.rglob("*") if file.is_file() and file.stat().st_size)


def document_of(file: Path, home: Path) -> Path:
    """Return the document that answers for a file; for a pointer, one of those beside it."""
    for folder in (folder for folder in file.parents if folder.is_relative_to(home)):
        for name in DOCUMENTS:
            if (folder / name).is_file():
                return folder / name
    beside = [found for name in DOCUMENTS for found in sorted(file.parent.glob(f"*/{name}"))]
    return beside[0] if beside else home / "manifest.json"


@contextmanager
def flipped(file: Path, bit: int) -> Iterator[None]:
    """Flip one bit of a file for a while."""
    before = file.stat()
    _flip(file, bit)
    try:
        yield
    finally:
        _flip(file, bit)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _flip(file: Path, bit: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(bit // 8)
        value = stream.read(1)[0]
        stream.seek(bit // 8)
        stream.write(bytes([value ^ 1 << bit % 8]))


def problems_of(document: Path) -> list[str]:
    """Return what verify says is wrong."""
    try:
        return verify(document, Silence())[1]
    except VersatuneError as error:
        return [str(error)]


def is_found(file: Path, home: Path, bit: int) -> bool:
    """Flip a bit, and say whether verify names the file."""
    with flipped(file, bit):
        return any(str(file) in problem for problem in problems_of(document_of(file, home)))


def kind_of(name: str) -> str:
    """Return what sort of file a path in OUTPUT/NAME is: the same without names of versions, digests and numbers."""
    parts = [re.sub(r"^(\d{8}-)?[0-9a-f]{8,}$|^\d+$", "*", part) for part in name.split("/")]
    last = re.sub(r"^part-.*", "part-*", re.sub(r"\d{5}", "N", parts[-1]))
    return "/".join([*parts[:-1], last])


def main() -> None:
    """Flip, verify, put back, count."""
    flags = parser(str(__doc__), repeats=1)
    flags.add_argument("home", type=Path, help="OUTPUT/NAME of a configuration that was run to its end")
    flags.add_argument("--flips", type=int, default=200)
    flags.add_argument("--seed", type=int, default=0)
    arguments = flags.parse_args()
    home = arguments.home.absolute()
    files, made = files_of(home), 20 if arguments.quick else arguments.flips
    for document in sorted({document_of(file, home) for file in files if is_covered(str(file.relative_to(home)))}):
        if problems := problems_of(document):
            sys.exit("\n".join([f"{document}: does not verify as it is:", *problems]))
    chance = random.Random(arguments.seed)
    done: Counter[str] = Counter()
    named: Counter[str] = Counter()
    missed: list[str] = []
    for _ in range(made):
        file = chance.choice(files)
        bit, name = chance.randrange(8 * file.stat().st_size), str(file.relative_to(home))
        found, covered = is_found(file, home, bit), is_covered(name)
        kind = kind_of(name) if covered else f"not covered: {kind_of(name)}"
        done[kind] += 1
        named[kind] += found
        if covered and not found:
            missed.append(f"{name}, bit {bit}")
    covered_kinds = [kind for kind in done if not kind.startswith("not covered")]
    result: dict[str, Any] = {
        "machine": machine(),
        "flips": made,
        "in_covered_files": sum(done[kind] for kind in covered_kinds),
        "found": sum(named[kind] for kind in covered_kinds),
        "missed": missed,
        **{kind: f"{named[kind]} of {done[kind]}" for kind in sorted(done)},
    }
    report("bit_flips", result, arguments)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
