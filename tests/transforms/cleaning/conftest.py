from __future__ import annotations

import sys
from collections import Counter

import pytest

from versatune.schemas.config import CleanConfig, PiiConfig
from versatune.transforms.cleaning.chain import make_cleaner
from versatune.transforms.shapes.base import CLEAN_REASONS, Example


def chat(answer: str, prompt: str = "What is the capital of France, please?") -> Example:
    return Example([("user", prompt), ("assistant", answer)])


@pytest.fixture
def clean():
    """Clean one example with these settings; gives (example, counts)."""

    def run(example: Example | str, clean: dict | None = None, pii: dict | None = None):
        example = chat(example) if isinstance(example, str) else example
        cleaner = make_cleaner(CleanConfig(**(clean or {})), PiiConfig(**(pii or {})))
        assert cleaner is not None
        counts: Counter[str] = Counter()
        try:
            return cleaner(example, counts), counts
        finally:
            fault = sys.exception()
            assert fault is None or (fault.reason in CLEAN_REASONS and not counts)

    return run
