"""The command line as programs and people meet it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from versatune.cli.terminal import Terminal

ROOT = Path(__file__).parents[3]


# A test run with -I (against the installed wheel) starts its children with -I too, so that they load the wheel as well.
PYTHON = [sys.executable, *(["-I"] if sys.flags.isolated else [])]


def _versatune(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTHON, "-m", "versatune", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_help_teaches_every_command_and_needs_neither_torch_nor_beam() -> None:
    code = "import sys, versatune.cli.app; print(sorted(m for m in ('torch', 'apache_beam', 'vllm', 'matplotlib') if m in sys.modules))"
    loaded = subprocess.run([*PYTHON, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.strip() == "[]"
    shown = _versatune("--help")
    assert shown.returncode == 0
    for command in (
        "check",
        "build",
        "probe",
        "mix",
        "train",
        "run",
        "report",
        "verify",
        "inspect",
        "ls",
        "diff",
        "trace",
        "rejects",
        "reprocess",
        "export",
        "label",
    ):
        assert command in shown.stdout
        assert _versatune(command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("build", "nowhere.yaml"), 2, "nowhere.yaml: no such configuration file"),
        (("buld",), 2, "No such command 'buld'"),
        (("report", "nowhere"), 2, "nowhere: no such directory"),
        (("verify", "nowhere"), 2, "nowhere: no such directory"),
        (("build", "examples/quickstart.yaml", "stray"), 2, "unexpected argument 'stray'"),
        (("mix", "examples/quickstart.yaml", "--set", "output=/nonexistent"), 2, "run `versatune build CONFIG` first"),
        (
            ("mix", "examples/quickstart.yaml", "--set", "output=nowhere://bucket"),
            2,
            "nowhere://bucket/quickstart: it cannot be listed",
        ),
        (
            ("run", "examples/quickstart.yaml", "--set", "output=nowhere://bucket"),
            2,
            "nowhere://bucket/quickstart: it cannot be listed",
        ),
        (("train", "examples/quickstart.yaml", "--set", "output=/nonexistent"), 2, "run `versatune mix CONFIG` first"),
    ],
)
def test_a_mistake_has_one_message_an_exit_code_and_no_stack_trace(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = _versatune(*arguments)
    assert done.returncode == code
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_where() -> None:
    assert "Traceback" in _versatune("build", "nowhere.yaml", "--debug").stderr


def test_json_is_the_last_line_of_standard_output_also_for_an_error() -> None:
    done = _versatune("build", "nowhere.yaml", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["exit_code"] == 2


def test_nothing_a_library_prints_reaches_standard_output_in_json_mode() -> None:
    code = (
        "import os, subprocess\n"
        "from versatune.cli.terminal import Terminal, only_json_on_stdout\n"
        "with only_json_on_stdout(True):\n"
        "    print('noise'); os.write(1, b'noise'); subprocess.run(['echo', 'noise'])\n"
        "    Terminal(as_json=True).summary('', None, {'a': 1})\n"
        "print('after')\n"
    )
    done = subprocess.run([*PYTHON, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == '{"a":1}\nafter\n'


def test_a_file_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(as_json=False)
    terminal.say("refused: \x1b[2Ja.jsonl")
    terminal.fail("\x1b]0;b\x07.jsonl")
    terminal.summary("rows: \x1b[1Ac", None, {})
    printed = capsys.readouterr()
    assert "\x1b" not in (printed.err + printed.out).replace("\x1b[1;31m", "").replace("\x1b[0m", "")
    assert "a.jsonl" in printed.err
