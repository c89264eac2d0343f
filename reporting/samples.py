"""Generations to read: of every domain one that the classifier is sure of, a typical one, and one that it is not sure of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from versatune.schemas.errors import DataError
from versatune.schemas.probe import ProbeReport
from versatune.schemas.visible import visible

PLACES = (0.1, 0.5, 0.9)
"""Where in a domain's samples, ordered from the most to the least probable, the ones to read stand."""
MOST_CHARACTERS = 600


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One generation of the base model, to be read."""

    index: int
    probability: float
    """Of the domain it is shown under, which is its most probable one."""
    undetermined: bool
    text: str
    """The beginning, without invisible characters."""
    left: int
    """Characters after it."""
    num_tokens: int
    finish_reason: str


def samples_to_read(file: Path, report: ProbeReport) -> dict[str, list[Sample]]:
    """Return up to three counted samples of every domain, chosen by their probability alone.

    A domain's samples are those whose most probable domain it is; the three stand a tenth, a half and nine tenths down
    the list from the most to the least probable. Memory is that of the probabilities, not of the texts.

    Raises:
        DataError: the generations are missing, damaged or of other domains.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            wanted = _choose(parquet.read(columns=["index", "reject", "domain_probs"]), len(report.domains))
            texts = _texts(parquet, sorted({index for chosen in wanted for index, _ in chosen}))
    except FileNotFoundError:
        raise DataError(f"{file}: missing; the probe's page shows samples of it. Run `versatune probe` again") from None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(
            f"{file}: cannot be read as a probe's generations ({type(error).__name__}); run `versatune probe` again"
        ) from error
    return {
        domain: [
            Sample(probability=probability, undetermined=probability < report.undetermined_below, **texts[index])
            for index, probability in chosen
        ]
        for domain, chosen in zip(report.domains, wanted, strict=True)
    }  # fmt: skip


def _choose(table: pa.Table, k: int) -> list[list[tuple[int, float]]]:
    """Return (index, probability) of the samples to read, by domain."""
    if table.schema.field("domain_probs").type.list_size != k:
        raise ValueError("probabilities of other domains")
    counted = table.filter(pc.equal(table.column("reject"), ""))
    probabilities = counted.column("domain_probs").combine_chunks().flatten().to_numpy().reshape(-1, k)
    indices = counted.column("index").to_numpy()
    domain = probabilities.argmax(axis=1)
    chosen = []
    for j in range(k):
        mine = np.flatnonzero(domain == j)
        mine = mine[np.lexsort((indices[mine], -probabilities[mine, j]))]
        places = sorted({int(place * (len(mine) - 1) + 0.5) for place in PLACES}) if len(mine) else []
        chosen.append([(int(indices[mine[i]]), float(probabilities[mine[i], j])) for i in places])
    return chosen


def _texts(parquet: pq.ParquetFile, wanted: list[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    values = pa.array(wanted, pa.int64())
    for batch in parquet.iter_batches(1024, columns=["index", "text", "num_tokens", "finish_reason"]):
        for row in batch.filter(pc.is_in(batch.column("index"), value_set=values)).to_pylist():
            text = row["text"]
            begins = {"text": visible(text[:MOST_CHARACTERS]), "left": max(len(text) - MOST_CHARACTERS, 0)}
            found[row["index"]] = {**row, **begins}
    return found
