from __future__ import annotations

import sys

import pytest

from benchmarks.support.common import measure

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages processes share")
MB = 2**20

FORKS = f"""
import os, time
block = bytearray(os.urandom({MB})) * 200
children = [os.fork() for _ in range(2)]
time.sleep(1.0)
if all(children):
    for child in children:
        os.waitpid(child, 0)
"""

ORPHAN = """
import subprocess, sys
work = "import time; end = time.process_time() + 0.6\\nwhile time.process_time() < end: pass"
subprocess.Popen([sys.executable, "-c", work], start_new_session=True)
"""


@ON_LINUX
def test_memory_that_processes_share_counts_once() -> None:
    taken = measure([sys.executable, "-c", FORKS])
    assert 200 < taken.peak_rss_mb < 350


@ON_LINUX
def test_the_time_of_a_helper_that_outlives_the_command_counts() -> None:
    assert measure([sys.executable, "-c", ORPHAN]).cpu_seconds > 0.6


def test_variables_reach_the_command() -> None:
    check = "import os, sys; sys.exit(os.environ['VERSATUNE_TEST'] != 'yes')"
    assert measure([sys.executable, "-c", check], env={"VERSATUNE_TEST": "yes"}).seconds > 0


def test_a_command_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="exit code 3"):
        measure([sys.executable, "-c", "raise SystemExit(3)"])
