"""Conversations out of a column."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.arrow import MESSAGES
from versatune.transforms.transport.messages import contents_without, conversations

TURNS = st.lists(
    st.tuples(st.sampled_from(["system", "user", "reasoning", "assistant"]), st.text(max_size=5)), max_size=4
)


@given(st.lists(TURNS, max_size=6), st.integers(0, 3))
def test_both_views_say_what_the_rows_say(rows: list[list[tuple[str, str]]], skipped: int) -> None:
    column = pa.array([[{"role": role, "content": text} for role, text in turns] for turns in rows], MESSAGES)
    batch = pa.record_batch([column], names=["messages"]).slice(skipped)
    rows = rows[skipped:]
    assert conversations(batch) == rows
    assert contents_without(batch, "system") == [
        " ".join(text for role, text in turns if role != "system").encode() for turns in rows
    ]
    assert contents_without(batch, "system", "reasoning") == [
        " ".join(text for role, text in turns if role not in ("system", "reasoning")).encode() for turns in rows
    ]
