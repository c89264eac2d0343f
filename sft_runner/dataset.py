"""Tokenized rows of each domain, read from the shards that a mixture names and checked against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from versatune.mixing.arrays import IntArray
from versatune.schemas.dataset import Shard
from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.files import sha256_bytes
from versatune.schemas.inside import inside
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.references import dataset_of


class TokenRow(NamedTuple):
    """One conversation: input_ids (T,) int32, and loss_mask (T,) bool, true where the token is trained on."""

    input_ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one domain and split, in the order of the shards: flat arrays, never one Python object per token."""

    domain: str
    ids: list[str]
    offsets: IntArray
    """(n + 1,): row i holds the tokens offsets[i] to offsets[i + 1]."""
    input_ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.bool_]
    loss_tokens: IntArray
    """(n,) tokens with a loss: the first token of a row is predicted by nothing and never counts."""
    target_bytes: IntArray
    """(n,) UTF-8 bytes of the answers; 0 for a row of which other text is scored: one cut at the token limit, or with thoughts."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> TokenRow:
        part = slice(self.offsets[row], self.offsets[row + 1])
        return TokenRow(self.input_ids[part], self.loss_mask[part])

    @property
    def tokens(self) -> IntArray:
        """(n,) tokens of each row."""
        return np.diff(self.offsets)


class Pool(NamedTuple):
    """The rows of every domain, in the order of the mixture's domains."""

    train: list[Rows]
    validation: list[Rows]


def read_pool(
    mixture: MixtureManifest, mixture_path: Path, on_shard: Callable[[int], None] = lambda done: None
) -> Pool:
    """Read every shard of a mixture into memory, about five bytes a token.

    Args:
        mixture: the manifest.
        mixture_path: its file; the dataset's directory, with its manifest, is relative to it.
        on_shard: told how many shards are read.

    Raises:
        DataError: the dataset was built without tokens, is not on this machine, or a row has nothing to train on.
        IntegrityError: the dataset is another one, or a shard's bytes are not those that the manifest names.
    """
    if mixture.tokenizer is None:
        raise DataError(
            f"{mixture_path}: the dataset has no tokens; set 'model' in the configuration, leave build.tokenize on, and"
            " run build and mix again"
        )
    root, _ = dataset_of(mixture, mixture_path)
    parts: dict[tuple[str, str], list[Rows]] = {(s, d): [] for s in ("train", "validation") for d in mixture.domains}
    for done, shard in enumerate(mixture.shards, start=1):
        parts[shard.split, shard.domain].append(_read_shard(root, shard, mixture.tokenizer.max_tokens))
        on_shard(done)
    return Pool(*([_join(d, parts[s, d]) for d in mixture.domains] for s in ("train", "validation")))


def check_ids(pool: Pool, embedding_rows: int | None) -> None:
    """Refuse rows with a token that the model has no embedding for; None for a model that does not say how many it has.

    Raises:
        DataError: naming the domain and the largest id.
    """
    for rows in (*pool.train, *pool.validation):
        largest = int(rows.input_ids.max(initial=-1))
        if embedding_rows is not None and largest >= embedding_rows:
            raise DataError(
                f"domain '{rows.domain}' has rows with token {largest}, and the model's embedding has {embedding_rows:,} rows, from 0;"
                " take the model whose tokenizer made the dataset, or run build and mix again"
            )


def _read_shard(root: Path, shard: Shard, max_tokens: int) -> Rows:
    path = inside(root, shard.path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"shard {path}: cannot be read ({error.strerror}); build and mix again") from None
    if (found := sha256_bytes(data)) != shard.sha256:
        raise IntegrityError(
            f"shard {path}: sha256 is {found[:12]}..., the mixture says {shard.sha256[:12]}...; the shard was changed"
            " after the dataset was built. Build and mix again."
        )
    # Parsing the bytes that were just hashed leaves no time for the file to change in between.
    text = ["messages", "unlearned"] if shard.split == "validation" else []
    table = pq.read_table(pa.BufferReader(data), columns=["id", "input_ids", "loss_mask", *text]).combine_chunks()
    tokens, mask = (_list_column(table, name) for name in ("input_ids", "loss_mask"))
    offsets = tokens.offsets.to_numpy().astype(np.int64)
    loss_mask = mask.flatten().to_numpy(zero_copy_only=False)
    scored = loss_mask.copy()
    scored[offsets[:-1]] = False
    loss_tokens = _sums(scored, offsets)
    if not loss_tokens.all():
        row = table["id"][int(np.argmin(loss_tokens))]
        raise DataError(f"shard {path}: row {row} has no token to train on; build the dataset again")
    bytes_ = np.zeros(len(table), dtype=np.int64)
    if text:
        bytes_ = _target_bytes(_list_column(table, "messages"), _list_column(table, "unlearned"))
    whole = np.diff(offsets) < max_tokens
    return Rows(shard.domain, table["id"].to_pylist(), offsets, tokens.flatten().to_numpy(), loss_mask, loss_tokens,
                bytes_ * whole)  # fmt: skip


def _list_column(table: pa.Table, name: str) -> pa.ListArray:
    column = table[name].combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _target_bytes(messages: pa.ListArray, unlearned: pa.ListArray) -> IntArray:
    """UTF-8 bytes of the assistant turns of each row but those that are context only. Returns (n,).

    0 for rows with thoughts: which of them are scored, the chat template decides.
    """
    role, content = messages.flatten().flatten()
    offsets = messages.offsets.to_numpy()
    sizes = pc.binary_length(content).to_numpy() * pc.equal(role, "assistant").to_numpy(zero_copy_only=False)
    sizes[np.repeat(offsets[:-1], np.diff(unlearned.offsets.to_numpy())) + unlearned.flatten().to_numpy()] = 0
    totals = _sums(sizes, offsets)
    totals[_sums(pc.equal(role, "reasoning").to_numpy(zero_copy_only=False), offsets) > 0] = 0
    return totals


def _sums(values: npt.NDArray[np.generic], offsets: IntArray) -> IntArray:
    """Sum of each slice between two offsets. Returns (n,) int64."""
    totals = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    sums: IntArray = np.diff(totals[offsets])
    return sums


def _join(domain: str, parts: list[Rows]) -> Rows:
    lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(np.diff(p.offsets) for p in parts)])
    return Rows(
        domain=domain,
        ids=[row_id for p in parts for row_id in p.ids],
        offsets=np.cumsum(lengths),
        input_ids=np.concatenate([np.empty(0, dtype=np.int32), *(p.input_ids for p in parts)]),
        loss_mask=np.concatenate([np.empty(0, dtype=np.bool_), *(p.loss_mask for p in parts)]),
        loss_tokens=np.concatenate([np.empty(0, dtype=np.int64), *(p.loss_tokens for p in parts)]),
        target_bytes=np.concatenate([np.empty(0, dtype=np.int64), *(p.target_bytes for p in parts)]),
    )
