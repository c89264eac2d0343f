"""Work that never ends is ended, in every thread, and nothing is raised after it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from versatune.transforms.chat import time_limit
from versatune.transforms.chat.time_limit import TookTooLong


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "TICK_S", 0.05)
    monkeypatch.setattr(time_limit, "LIMIT_S", 0.1)


def endless() -> str:
    try:
        with time_limit.time_limit():
            while True:
                pass
    except TookTooLong:
        return "ended"


def test_what_takes_too_long_is_ended_in_the_main_thread_and_in_others() -> None:
    assert endless() == "ended"
    with ThreadPoolExecutor(3) as pool:
        assert [pool.submit(endless).result(timeout=60) for _ in range(3)] == ["ended"] * 3


def test_a_handler_of_errors_within_does_not_take_it_for_its_own() -> None:
    def swallows() -> None:
        while True:
            try:
                time.sleep(0.001)
            except Exception:  # noqa: BLE001  # as a template's library might
                time.sleep(0)

    with pytest.raises(TookTooLong), time_limit.time_limit():
        swallows()


def test_what_ends_in_time_is_left_alone_and_the_watch_ends_too() -> None:
    before = threading.active_count()
    for _ in range(200):
        with time_limit.time_limit():
            sum(range(100))
    deadline = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before
