"""Labelled documents in known shares, for probe_recovery.py: which sources, which mixtures, and how documents are drawn."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DOMAINS = ("law", "medicine", "finance", "science", "code", "general")
# What the language models learn from. The benchmark's classifier never sees these sources; of every domain others are left for it.
SOURCES = {
    "law": ("lawkey-indian-law-qa", "legalbench", "legalbench-subset"),
    "medicine": ("medmcqa", "medalpaca"),
    "finance": ("bank-faqs", "financial-qa-10k"),
    "science": ("openbookqa", "scieval"),
    "code": ("codealpaca", "spider", "mbxp"),
    "general": ("gpteacher-roleplay", "triviaqa", "siqa"),
}
MIXTURES = {
    "uniform": (1 / 6,) * 6,
    "code-and-general": (0.02, 0.05, 0.03, 0.10, 0.40, 0.40),
    "law-first": (0.45, 0.25, 0.15, 0.10, 0.03, 0.02),
}
APART = 0.02
"""Domains whose true shares differ by less have no order that an estimate could get wrong."""


class Document(NamedTuple):
    """One text of which the domain is known."""

    text: str
    domain: str
    source: str


def documents_of(rows: Iterable[Mapping[str, str]]) -> dict[str, list[Document]]:
    """Return the documents of the language models' sources, by source, each text once."""
    wanted = {source: domain for domain, sources in SOURCES.items() for source in sources}
    found: dict[str, dict[str, Document]] = defaultdict(dict)
    for row in rows:
        if wanted.get(row["source"]) == row["domain"]:
            found[row["source"]].setdefault(row["text"], Document(row["text"], row["domain"], row["source"]))
    return {source: list(by_text.values()) for source, by_text in found.items()}


def apportion(shares: Sequence[float], count: int) -> list[int]:
    """Divide a count in the given shares, as exactly as whole numbers can (largest remainder; of equal ones the first)."""
    exact = [share / sum(shares) * count for share in shares]
    whole = [int(part) for part in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: whole[i] - exact[i])
    for i in by_remainder[: count - sum(whole)]:
        whole[i] += 1
    return whole


def draw(
    documents: Mapping[str, Sequence[Document]], shares: Sequence[float], count: int, chance: random.Random
) -> list[Document]:
    """Draw documents whose domains have exactly the given shares, the sources of a domain alike, none twice, in random order.

    Args:
        documents: by source.
        shares: one for each domain of :data:`DOMAINS`.

    Raises:
        ValueError: a source has too few.
    """
    drawn: list[Document] = []
    for domain, number in zip(DOMAINS, apportion(shares, count), strict=True):
        sources = SOURCES[domain]
        for source, part in zip(sources, apportion([1.0] * len(sources), number), strict=True):
            if part > len(documents.get(source, ())):
                raise ValueError(f"source {source} has {len(documents.get(source, ()))} documents, {part} are needed")
            drawn += chance.sample(list(documents[source]), part)
    chance.shuffle(drawn)
    return drawn


def total_variation(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Return half the sum of absolute differences: the share of documents that would have to change their domain."""
    return float(0.5 * np.abs(np.asarray(a, float) - np.asarray(b, float)).sum())


def order_right(true: Sequence[float], estimate: Sequence[float] | Floats) -> bool | None:
    """Whether of every two domains with true shares at least 0.02 apart the larger one is estimated larger; None if there are no such two."""
    pairs = [(i, j) for i in range(len(true)) for j in range(len(true)) if true[i] - true[j] > APART - 1e-12]
    return all(bool(estimate[i] > estimate[j]) for i, j in pairs) if pairs else None


def covered(true: Sequence[float], lower: Sequence[float] | Floats, upper: Sequence[float] | Floats) -> list[bool]:
    """Say of every domain whether its true share lies in the interval."""
    return [bool(low <= share <= high) for share, low, high in zip(true, lower, upper, strict=True)]
