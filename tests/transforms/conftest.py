"""What tests of several transforms share."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from schemas.arrow import NORMALIZED


@pytest.fixture
def rows() -> Callable[..., pa.RecordBatch]:
    """Return a function that makes normalised rows of conversations; the n-th one has the id n in hex."""
    return make_rows


def make_rows(*conversations: list[tuple[str, str]], source: str = "s") -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [
            {
                "id": f"{i:032x}",
                "messages": [{"role": role, "content": content} for role, content in turns],
                "source": source,
                "license": "MIT",
                "origin": {"uri": "f.jsonl", "row": i},
                "num_chars": 1,
            }
            for i, turns in enumerate(conversations)
        ],
        schema=NORMALIZED,
    )
