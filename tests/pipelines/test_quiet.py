"""Beam is silenced while it runs, and nobody else, in one run or in several at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from versatune.pipelines.quiet import quiet

BEAM_FILE = os.sep.join(["", "site-packages", "apache_beam", "io", "gcp", "bigquery.py"])


def state() -> tuple[object, ...]:
    root = logging.getLogger()
    return (root.level, [*root.handlers], [*root.filters], logging.getLogger("apache_beam").level, threading.excepthook)


def says(logger: str, file: str) -> logging.LogRecord:
    return logging.LogRecord(logger, logging.WARNING, file, 1, "said", None, None)


def test_what_beam_says_to_the_root_logger_is_kept_back_and_what_a_program_says_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with quiet(), caplog.at_level(logging.INFO):
        logging.getLogger().handle(says("root", BEAM_FILE))
        logging.getLogger("apache_beam.runners").warning("said")
        assert caplog.records == []
        logging.getLogger().info("mine")
        logging.getLogger("my.program").info("mine too")
        assert caplog.messages == ["mine", "mine too"]


def test_all_is_as_before_when_the_last_of_several_has_left() -> None:
    before = state()
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logging.getLogger("apache_beam").level == logging.CRITICAL
    second.__exit__(None, None, None)
    assert state() == before


def test_a_thread_of_beams_dies_heard_and_without_a_trace_and_others_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: traced.append(args.thread.name))
    heard: list[str] = []

    def fail() -> None:
        raise ValueError

    with quiet(heard.append):
        for name in ("run_worker", "mine"):
            thread = threading.Thread(target=fail, name=name)
            thread.start()
            thread.join()
    assert (heard, traced) == (["run_worker", "mine"], ["mine"])


def test_a_stage_leaves_logging_for_the_program_to_configure(tmp_path: Path) -> None:
    """Beam's first remark would configure the root logger, and a later ``basicConfig`` of the program would do nothing."""
    (tmp_path / "rows.jsonl").write_text('{"question": "Why?", "answer": "Because."}\n' * 3)
    (tmp_path / "my.yaml").write_text("name: a\noutput: out\nsources: [{name: s, files: [rows.jsonl]}]\n")
    program = (
        "import logging, threading, versatune\n"
        "config = versatune.load_config('my.yaml')\n"
        "built = threading.Thread(target=lambda: print(versatune.build(config).name))\n"  # and in a thread: one process
        "built.start(); built.join()\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "logging.info('mine')\n"
    )
    root = Path(__file__).parents[2]
    environment = os.environ | ({} if sys.flags.isolated else {"PYTHONPATH": str(root)})
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "manifest.json\n", "mine\n")
