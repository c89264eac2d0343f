"""Texts without near-duplicates among them, and planted edited copies whose Jaccard similarity is known exactly."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NGRAM = 5
WORDS = (60, 280)
VOCABULARY = 30_000
PLANTED = 0.1
"""Share of rows that are an edited copy of another row; no row has two copies."""
SIMILARITY = (0.55, 1.0)
ROWS, PAIRS = "rows.parquet", "pairs.json"


class Pair(NamedTuple):
    """Two rows, by number."""

    original: int
    copy: int
    similarity: float
    """Exact Jaccard similarity of their word n-grams."""


def make_planted(folder: Path, rows: int, seed: int = 20250117) -> None:
    """Write the texts and the list of pairs; the same arguments give the same files."""
    chance, draws = random.Random(seed), np.random.default_rng(seed)
    vocabulary = np.array(_vocabulary(chance))
    copies = int(rows * PLANTED)
    texts = [_words(vocabulary, chance, draws) for _ in range(rows - copies)]
    edited = [_edited(text, vocabulary, chance, draws) for text in texts[:copies]]
    places = list(range(rows))
    chance.shuffle(places)
    pairs = [Pair(places[at], places[rows - copies + at], jaccard(texts[at], edited[at])) for at in range(copies)]
    written = [""] * rows
    for place, words in zip(places, texts + edited, strict=True):
        written[place] = _sentences(words)
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"text": written}), folder / ROWS)
    (folder / PAIRS).write_text(json.dumps(pairs))


def read_texts(folder: Path) -> list[str]:
    """Return the texts, in order."""
    return list(pq.read_table(folder / ROWS)["text"].to_pylist())


def read_pairs(folder: Path) -> list[Pair]:
    """Return the planted pairs."""
    return [Pair(*pair) for pair in json.loads((folder / PAIRS).read_text())]


def jaccard(first: list[str], second: list[str]) -> float:
    """Return the exact similarity of two texts' sets of word n-grams."""
    sets = [{tuple(words[at : at + NGRAM]) for at in range(len(words) - NGRAM + 1)} for words in (first, second)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _vocabulary(chance: random.Random) -> list[str]:
    """Make words of letters alone: one library replaces digits."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(VOCABULARY)]


def _words(vocabulary: np.ndarray, chance: random.Random, draws: np.random.Generator, count: int = 0) -> list[str]:
    """Draw words, common ones often: the one of rank r about as r^-0.6."""
    at = (VOCABULARY * draws.random(count or chance.randint(*WORDS)) ** 2.5).astype(np.int64)
    return list(vocabulary[at].tolist())


def _edited(words: list[str], vocabulary: np.ndarray, chance: random.Random, draws: np.random.Generator) -> list[str]:
    """Replace single words until the similarity is about one drawn from the range."""
    wanted = chance.uniform(*SIMILARITY)
    grams = len(words) - NGRAM + 1
    changed = round(grams * (1 - wanted) / (1 + wanted) / NGRAM)  # an edit changes NGRAM n-grams of each side
    words = list(words)
    places = chance.sample(range(len(words)), changed)
    for at, word in zip(places, _words(vocabulary, chance, draws, changed) if changed else [], strict=True):
        words[at] = word
    return words


def _sentences(words: list[str]) -> str:
    """Write words as text with capitals and full stops."""
    parts = (words[at : at + 12] for at in range(0, len(words), 12))
    return " ".join(f"{' '.join(part).capitalize()}." for part in parts)
