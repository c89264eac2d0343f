"""Labels and micro-batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from versatune.sft_runner.batches import IGNORE_INDEX, collate, micro_batches
from versatune.sft_runner.dataset import TokenRow

VECTORS = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[1] / "golden" / "vectors" / "losses.json").read_text())["cases"]
}


def row(ids: list[int], prompt: int) -> TokenRow:
    return TokenRow(np.array(ids, dtype=np.int32), np.arange(len(ids)) >= prompt)


def test_prompt_tokens_have_no_label() -> None:
    case = VECTORS["sft-mask"]
    batch = collate([row(case["inputs"]["input_ids"], case["inputs"]["prompt_length"])], pad_id=0)
    assert batch.labels.tolist() == [case["expected"]["labels"]]


def test_padding_is_on_the_right_masked_and_without_label() -> None:
    batch = collate([row([1, 2, 3], 1), row([4, 5, 6, 7, 8], 4)], pad_id=9)
    assert batch.input_ids.tolist() == [[1, 2, 3, 9, 9], [4, 5, 6, 7, 8]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.labels.tolist() == [[IGNORE_INDEX, 2, 3, IGNORE_INDEX, IGNORE_INDEX], [IGNORE_INDEX] * 4 + [8]]


def test_micro_batches_hold_every_row_once_and_rows_of_like_length_together() -> None:
    rows = [row(list(range(length)), 0) for length in (9, 2, 7, 3, 8)]
    made = list(micro_batches(rows, 2, pad_id=0))
    assert [chosen.tolist() for chosen, _ in made] == [[1, 3], [2, 4], [0]]
    assert [batch.input_ids.shape for _, batch in made] == [(2, 3), (2, 8), (1, 9)]
