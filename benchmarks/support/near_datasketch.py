"""datasketch's MinHash and MinHashLSH with xxHash, the usual loop; run by near_duplicates.py."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import xxhash
from datasketch import MinHash, MinHashLSH

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.near_common import BANDS, PERMUTATIONS, PLACES, main
from benchmarks.support.planted import NGRAM

_WORD = re.compile(r"\w+")


def find(texts: list[str], _folder: Path) -> Callable[[], list[int]]:
    """Take the texts as they are."""

    def timed() -> list[int]:
        index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, PLACES))
        removed = []
        empty = MinHash(num_perm=PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)
        for number, text in enumerate(texts):
            words = _WORD.findall(text.lower())
            sketch = empty.copy()
            sketch.update_batch({" ".join(words[at : at + NGRAM]).encode() for at in range(len(words) - NGRAM + 1)})
            if index.query(sketch):
                removed.append(number)
            else:
                index.insert(number, sketch, check_duplication=False)
        return removed

    return timed


if __name__ == "__main__":
    main(find)
