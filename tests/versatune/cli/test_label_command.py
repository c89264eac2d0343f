"""The label command against a real server of the chat protocol on this machine."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
ROOT = Path(__file__).parents[3]
PYTHON = [sys.executable, *(["-I"] if sys.flags.isolated else [])]
CONFIG = {"name": "toy", "output": "out", "taxonomy": {"domains": ["law", "sport"]}}


class _Handler(BaseHTTPRequestHandler):
    """Gives the letter of the domain whose name is the text's last word the probability 0.8, and the other one 0.15."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        before, _, after = body["messages"][0]["content"].partition("Text:\n\n")
        domain = after.splitlines()[0].split()[-1]
        letters = {line[3:]: line[0] for line in before.splitlines() if line[1:3] == ": "}
        weights = {letter: -0.223 if name == domain else -1.897 for name, letter in letters.items()}
        top = [{"token": letter, "logprob": weight, "bytes": None} for letter, weight in weights.items()]
        choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "A"}}
        value = {
            "id": "1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{**choice, "logprobs": {"content": [{**top[0], "top_logprobs": top}]}}],
        }  # fmt: skip
        data = json.dumps(value).encode()
        self.send_response(200 if self.path == "/v1/chat/completions" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    rows = [{"text": f"number {at} on {('law', 'sport')[at % 2]}", "domain": "law"} for at in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def _label(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPENAI_API_KEY": "sk-very-secret"}
    if not sys.flags.isolated:
        environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [*PYTHON, "-m", "versatune", "label", *arguments],
        capture_output=True, text=True, check=False, cwd=folder, env=environment,
    )  # fmt: skip


def test_rows_are_labelled_beside_the_configuration_s_other_outputs(work: Path, url: str) -> None:
    done = _label(work, "rows.jsonl", "--model", "m", "--endpoint", url, "--config", "config.json", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert Path(result["report"]).parent.parent == work / "out" / "toy" / "labels"
    assert (result["rows"], result["rows_labelled"], result["rows_by_domain"]) == (4, 4, {"law": 2, "sport": 2})
    assert (result["given"]["accuracy"], result["fasttext"]) == (0.5, None)
    lines = gzip.decompress(Path(result["labelled"]).read_bytes()).splitlines()
    assert [json.loads(line)["domain"] for line in lines] == ["law", "sport", "law", "sport"]
    written = b"".join(file.read_bytes() for file in (work / "out").rglob("*") if file.is_file())
    assert b"sk-very" not in written + done.stdout.encode() + done.stderr.encode()


def test_without_a_configuration_labels_lie_in_labels_and_with_output_there(work: Path, url: str) -> None:
    shared = ("rows.jsonl", "--model", "m", "--endpoint", url)
    config = ("--config", "config.json")
    shown = _label(work, *shared, *config, "--output", "here")
    assert shown.returncode == 0, shown.stderr
    assert "4 of 4 rows labelled by m, 0 undetermined, position bias 0.000" in " ".join(shown.stdout.split())
    assert (work / "here" / "labels.json").is_file()
    assert _label(work, *shared).returncode == 0
    assert len(list((work / "labels").glob("*/labels.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("absent.jsonl", "--model", "m"), 2, "absent.jsonl: no such file"),
        (("rows.jsonl", "--model", "no-such-folder"), 2, "there is no folder"),
        (("rows.jsonl",), 2, "Missing option '--model'"),
        (("rows.jsonl", "--model", "m", "--endpoint", "http://a:b@c/v1"), 2, "holds a user, a password or a query"),
        (("rows.jsonl", "--model", "m", "--endpoint", "URL/nowhere"), 1, "404: there is no model m, or no chat API"),
        (
            ("rows.jsonl", "--model", "m", "--endpoint", "URL", "--", "--no-such-flag"),
            2,
            "Beam knows no flag --no-such",
        ),
    ],
)
def test_a_mistake_is_one_message(work: Path, url: str, arguments: tuple[str, ...], code: int, said: str) -> None:
    if arguments[0] == "absent.jsonl":
        arguments = (*arguments, "--endpoint", url)
    done = _label(work, *(argument.replace("URL", url) for argument in arguments))
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
