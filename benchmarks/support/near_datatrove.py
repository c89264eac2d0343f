"""datatrove's MinHash pipeline, its first three stages, as somebody who wants it to be fast would run it on one core; run by near_duplicates.py.

Words are found by splitting at blanks, not by its default spaCy tokenizer, which takes most of the time and is not installed here. Its
fourth stage, which reads all texts once more and leaves out what the third has listed, is not timed.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash
from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.word_tokenizers import WordTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.near_common import BANDS, PLACES, main
from benchmarks.support.planted import NGRAM


class SplitAtBlanks(WordTokenizer):
    """The fastest tokenizer there can be; punctuation is gone already."""

    def word_tokenize(self, text: str) -> list[str]:
        """Return the words."""
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        """Return the text: not used."""
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Return the whole: not used."""
        return [(0, len(text))]


def find(texts: list[str], folder: Path) -> Callable[[], Iterator[int]]:
    """Make documents of the texts."""
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    texts.clear()
    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=PLACES)
    signatures, buckets, removed = (str(folder / name) for name in ("signatures", "buckets", "removed"))

    def timed() -> Iterator[int]:
        signing = MinhashDedupSignature(signatures, config, SplitAtBlanks())
        signing._hash_func = _xxhash  # noqa: SLF001  # its own hands text to xxHash, which takes only bytes since version 4
        _run(folder, 1, lambda *_: iter(documents), signing)
        _run(folder, BANDS, MinhashDedupBuckets(signatures, buckets, config=config))
        _run(folder, 1, MinhashDedupCluster(buckets, removed, config=config))
        for (number,) in struct.iter_unpack("<I", (folder / "removed" / "000000.remove").read_bytes()):
            yield number

    return timed


def _xxhash(text: str) -> int:
    return xxhash.xxh64_intdigest(text.encode())


def _run(folder: Path, tasks: int, *steps: object) -> None:
    logs = folder / f"logs-{len(list(folder.glob('logs-*')))}"
    LocalPipelineExecutor(pipeline=list(steps), tasks=tasks, workers=1, logging_dir=str(logs)).run()


if __name__ == "__main__":
    main(find)
