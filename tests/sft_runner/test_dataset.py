"""Shards to rows, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.records import manifest_of
from tests.sft_runner.conftest import DOMAINS, MAX_TOKENS, Workplace, conversation, encode, write_shard
from versatune.schemas.arrow import MESSAGES
from versatune.schemas.dataset import Shard
from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.mixture import DatasetRef, MixtureManifest
from versatune.sft_runner.dataset import _target_bytes, check_ids, read_pool


def moved(work: Workplace, where: Path | str, **changes: object) -> MixtureManifest:
    """The mixture of a workplace, with its dataset in another place."""
    path = os.path.relpath(where, work.mixture_path.parent) if isinstance(where, Path) else where
    fields = (
        work.mixture.model_dump() | {"dataset": DatasetRef(path=path, name="tiny", version="1", digest="d")} | changes
    )
    for outside in ("kind", "format_version", "digest"):
        del fields[outside]
    return MixtureManifest.create(**fields)


def test_rows_come_back_as_they_were_written(workplace: Callable, dataset: tuple, tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    work = workplace()
    pool = read_pool(work.mixture, work.mixture_path)
    assert [len(rows) for rows in pool.train] == [20, 12, 8]
    assert [len(rows) for rows in pool.validation] == [6, 6, 6]
    for number in (0, 5, 6, 11):  # both shards of 'code'
        ids, mask = encode(tokenizer, *conversation("code", number))
        row = pool.train[1][number]
        assert row.input_ids.tolist() == ids
        assert row.loss_mask.tolist() == mask
        assert pool.train[1].loss_tokens[number] == sum(mask)
        assert pool.train[1].tokens[number] == len(ids)
    assert pool.validation[1].target_bytes.tolist() == [
        len(conversation("code", n)[1].encode()) for n in range(100, 106)
    ]


def test_a_row_at_the_token_limit_has_no_bytes_because_its_text_is_longer_than_its_loss(
    workplace: Callable, dataset: tuple
) -> None:
    work = workplace()
    lengths = read_pool(work.mixture, work.mixture_path).validation[0].tokens
    record = work.mixture.tokenizer.model_copy(update={"max_tokens": int(lengths.max())})
    cut = read_pool(moved(work, dataset[0], tokenizer=record), work.mixture_path).validation[0]
    assert (cut.target_bytes == 0).tolist() == (lengths == lengths.max()).tolist()
    assert int(lengths.max()) < MAX_TOKENS


def test_a_row_with_thoughts_has_no_bytes_because_the_template_decides_what_of_it_is_scored() -> None:
    said = [("user", "Q"), ("reasoning", "50 and 35."), ("assistant", "85")]
    rows = [said[::2], said, [], [*said[::2], *said[::2]]]
    messages = pa.array([[{"role": role, "content": text} for role, text in row] for row in rows], MESSAGES)
    assert _target_bytes(messages, pa.array([[], [], [], [1]], pa.list_(pa.int32()))).tolist() == [2, 0, 0, 2]


def test_a_changed_shard_is_named(workplace: Callable, dataset: tuple[Path, list[Shard]], tmp_path: Path) -> None:
    work = workplace()
    copy = tmp_path / "copy"
    shutil.copytree(dataset[0], copy)
    shard = copy / work.mixture.shards[3].path
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"{work.mixture.shards[3].path}: sha256 is"):
        read_pool(moved(work, copy), work.mixture_path)
    shard.unlink()
    with pytest.raises(DataError, match=rf"{work.mixture.shards[3].path}: cannot be read"):
        read_pool(moved(work, copy), work.mixture_path)


def test_a_shard_that_is_a_link_out_of_the_dataset_is_refused(
    workplace: Callable, dataset: tuple[Path, list[Shard]], tmp_path: Path
) -> None:
    work = workplace()
    copy = tmp_path / "copy"
    shutil.copytree(dataset[0], copy)
    shard = copy / work.mixture.shards[3].path
    shutil.move(shard, tmp_path / "elsewhere.parquet")  # the very bytes that the mixture pins
    shard.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(IntegrityError, match=rf"{work.mixture.shards[3].path}: is outside .*a link leads there"):
        read_pool(moved(work, copy), work.mixture_path)


def test_another_dataset_in_its_place_is_refused_before_a_shard_is_read(workplace: Callable, tmp_path: Path) -> None:
    work = workplace()
    (tmp_path / "other").mkdir()
    manifest_of([], DOMAINS).write(tmp_path / "other" / "manifest.json")
    with pytest.raises(IntegrityError, match=r"was mixed from dataset digest .*, but .*other/manifest.json has"):
        read_pool(moved(work, tmp_path / "other"), work.mixture_path)
    with pytest.raises(DataError, match="no such file; expected a versatune/dataset"):
        read_pool(moved(work, tmp_path), work.mixture_path)


def test_a_mixture_without_tokens_says_what_to_configure(workplace: Callable, dataset: tuple) -> None:
    work = workplace()
    with pytest.raises(DataError, match="the dataset has no tokens; set 'model'"):
        read_pool(moved(work, dataset[0], tokenizer=None), work.mixture_path)


def test_a_dataset_that_is_not_here_says_where_it_is(workplace: Callable) -> None:
    work = workplace()
    with pytest.raises(DataError, match="gs://bucket/data; copy it"):
        read_pool(moved(work, "gs://bucket/data"), work.mixture_path)


def test_a_row_without_a_loss_token_is_refused(workplace: Callable, tiny_model: Path, tmp_path: Path) -> None:
    class OneToken:
        """A tokenizer whose answers are empty, so that only the first token of a row could have a loss."""

        def encode(self, text: str, **_: object) -> list[int]:
            return [1] if text.startswith("<|im_start|>") else []

    work = workplace()
    shard = write_shard(tmp_path / "odd", OneToken(), "train", "law", range(2))
    manifest = manifest_of([shard], DOMAINS)
    manifest.write(tmp_path / "odd" / "manifest.json")
    with pytest.raises(DataError, match="has no token to train on"):
        read_pool(moved(work, tmp_path / "odd", shards=[shard], dataset_digest=manifest.digest), work.mixture_path)


def test_a_token_without_an_embedding_is_refused_before_any_step(workplace: Callable) -> None:
    work = workplace()
    pool = read_pool(work.mixture, work.mixture_path)
    largest = max(int(rows.input_ids.max()) for rows in (*pool.train, *pool.validation))
    check_ids(pool, largest + 1)
    check_ids(pool, None)
    with pytest.raises(DataError, match=f"token {largest}, and the model's embedding has {largest:,} rows"):
        check_ids(pool, largest)
