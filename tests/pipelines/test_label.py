"""Labelling from rows to record with a judge that needs no model; once with the real vLLM and a tiny one."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from versatune.pipelines.build import run as build
from versatune.pipelines.label import LabelPlan, agreement, plan_endpoint, plan_local, run
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import ConfigError, DataError, RunError, VersatuneError
from versatune.schemas.labels import LabelReport
from versatune.schemas.progress import Silence
from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.labelled_rows import read_rows
from versatune.transforms.engines.vllm_engine import stop_engines
from versatune.transforms.labelling.ask import Answer
from versatune.transforms.transport.part_store import count_kept
from versatune.versions.verify import verify

TAXONOMY = Taxonomy(domains=("law", "code", "sport"))
ROTATIONS = (0, 1, 2)

_KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_label import FakeJudge, _plan
from dataclasses import replace
from versatune.pipelines.build import run as build
from versatune.pipelines.label import run
from versatune.schemas.progress import Silence

class SlowJudge(FakeJudge):
    def ask(self, texts):
        time.sleep(0.4)
        return super().ask(texts)

run(replace(_plan(), start=SlowJudge), [sys.argv[1]], Path(sys.argv[2]), progress=Silence())
"""


class FakeJudge:
    """Gives the domain that a text names the weight 8, ``weak`` texts the weight 1, and the others 1."""

    about: ClassVar[dict[str, Any]] = {"engine": "fake"}
    asked: ClassVar[list[str]] = []

    def ask(self, texts: Sequence[str]) -> list[Answer]:
        FakeJudge.asked += texts
        return [Answer(tuple(self._order(text, rotation) for rotation in ROTATIONS), tokens=9) for text in texts]

    def _order(self, text: str, rotation: int) -> tuple[float, ...]:
        k = len(TAXONOMY)
        shown = [TAXONOMY.domains[(at + rotation) % k] for at in range(k)]
        return tuple(float(np.log(8.0 if domain in text.split() else 1.0)) for domain in shown)


class BrokenJudge:
    about: ClassVar[dict[str, Any]] = {}

    def ask(self, texts: Sequence[str]) -> list[Answer]:
        raise RunError("endpoint http://x/v1: 429: still too many requests")


def _forbidden() -> FakeJudge:
    pytest.fail("the judge is not needed")


def _plan(**label: Any) -> LabelPlan:
    config = Config.model_validate(
        {"name": "toy", "taxonomy": TAXONOMY.model_dump(), "label": {"batch_size": 4, **label}}
    )
    return replace(plan_endpoint(config, "m", "http://localhost:1/v1"), start=FakeJudge)


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    FakeJudge.asked.clear()


def _write(file: Path, rows: Sequence[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def _label(plan: LabelPlan, files: Sequence[str], home: Path, **how: Any) -> tuple[LabelReport, Path]:
    file = run(plan, files, home, progress=Silence(), **how)
    return LabelReport.load(file), file.parent


SOME = [
    {"text": "about law", "domain": "law", "source": "s"},
    {"text": "about code", "domain": "sport"},
    {"text": "about nothing", "domain": "law"},
    {"text": "  \n", "domain": "code"},
    {"text": "about law", "domain": "cooking"},
    {"text": "more of code"},
]


def test_every_row_comes_out_once_in_order_labelled_or_undetermined(tmp_path: Path) -> None:
    report, folder = _label(_plan(), [_write(tmp_path / "some.jsonl", SOME)], tmp_path / "labels")
    labelled, undetermined = _rows(folder / "labelled.jsonl.gz"), _rows(folder / "undetermined.jsonl.gz")
    assert folder == tmp_path / "labels" / report.digest[:12]
    assert [row["text"] for row in labelled] == ["about law", "about code", "about law", "more of code"]
    assert [row["text"] for row in undetermined] == ["about nothing", "  \n"]
    assert labelled[0] == {
        "text": "about law", "domain": "law", "source": "s", "probs": [0.8, 0.1, 0.1], "undetermined": False, "given": "law",
    }  # fmt: skip
    assert (labelled[3]["source"], "given" in labelled[3]) == ("some", False)
    assert undetermined[1]["probs"] == pytest.approx([1 / 3] * 3, abs=1e-6)
    assert (report.rows, report.texts, report.labelled.rows, report.undetermined.rows, report.empty) == (6, 4, 4, 2, 1)
    assert report.rows_by_domain == {"law": 2, "code": 2, "sport": 0}
    assert (report.position_bias, report.same_choice) == (pytest.approx(0.0, abs=1e-12), 1.0)
    assert sorted(FakeJudge.asked) == ["about code", "about law", "about nothing", "more of code"]
    assert report.environment["tokens"] == 36
    learned = read_rows([folder / "labelled.jsonl.gz"], TAXONOMY)  # what `versatune classifier train` reads
    assert learned == [{name: row[name] for name in ("text", "domain", "source")} for row in labelled]


def test_the_rows_own_domains_are_compared_where_the_taxonomy_has_them(tmp_path: Path) -> None:
    report, _ = _label(_plan(), [_write(tmp_path / "some.jsonl", SOME)], tmp_path / "labels")
    assert report.given is not None
    assert (report.given.rows, report.unknown_given) == (3, 1)
    # law-law, code-sport, nothing-law (a tie goes to law); nobody was asked about the blank one.
    assert report.given.table == [[2, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert report.given.accuracy == pytest.approx(2 / 3)
    assert (report.given.determined_rows, report.given.determined_accuracy) == (2, 0.5)
    assert report.given.kappa == pytest.approx((2 / 3 - 4 / 9) / (5 / 9))
    assert report.fasttext is None


def test_agreement_is_none_where_nobody_else_says_anything() -> None:
    probs, flags = np.array([[0.9, 0.1]]), np.array([False])
    assert agreement(probs, flags, [None], 2) is None


@pytest.mark.parametrize(("below", "labelled"), [(0.8, 1), (0.8001, 0)])
def test_a_row_is_undetermined_below_the_threshold_and_not_at_it(tmp_path: Path, below: float, labelled: int) -> None:
    # Powers of two are exact: weights 8, 1, 1 have the softmax 0.8, 0.1, 0.1 up to the last digit.
    plan = _plan(undetermined_below=below if labelled == 0 else below - 1e-12)
    report, _ = _label(plan, [_write(tmp_path / "a.jsonl", SOME[:1])], tmp_path / "labels")
    assert report.labelled.rows == labelled


def test_with_the_default_domains_the_bundled_classifier_is_compared(tmp_path: Path) -> None:
    class Undecided:
        about: ClassVar[dict[str, Any]] = {}

        def ask(self, texts: Sequence[str]) -> list[Answer]:
            return [Answer(((0.0,) * 6,) * 3, tokens=1) for _ in texts]

    plan = replace(plan_endpoint(Config(name="toy"), "m", "http://localhost:1/v1"), start=Undecided)
    rows = [{"text": "def add(left, right):\n    return left + right"}, {"text": " "}]
    report, _ = _label(plan, [_write(tmp_path / "a.jsonl", rows)], tmp_path / "labels")
    assert report.fasttext is not None
    assert (report.fasttext.rows, report.fasttext.table[0][4]) == (
        1,
        1,
    )  # the judge's tie goes to law, the classifier says code
    assert report.classifier_sha256 is not None


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(tmp_path: Path) -> None:
    file = _write(tmp_path / "some.jsonl", SOME)
    first, folder = _label(_plan(), [file], tmp_path / "labels")
    bytes_ = (folder / "labelled.jsonl.gz").read_bytes()
    second, again = _label(replace(_plan(), start=_forbidden), [file], tmp_path / "labels")
    assert (second.digest, again, second.environment["reused"]) == (first.digest, folder, 4)
    assert (folder / "labelled.jsonl.gz").read_bytes() == bytes_


def test_more_rows_ask_about_the_new_texts_only_and_another_question_about_all(tmp_path: Path) -> None:
    file = _write(tmp_path / "some.jsonl", SOME)
    _label(_plan(), [file], tmp_path / "labels")
    more = _write(tmp_path / "more.jsonl", [{"text": "a new one on sport"}])
    report, _ = _label(_plan(), [more, file], tmp_path / "labels")
    assert (report.environment["asked"], report.environment["reused"]) == (1, 4)
    other, _ = _label(_plan(descriptions={"law": "courts"}), [file], tmp_path / "labels")
    assert other.environment["asked"] == 4


def test_results_may_lie_in_a_folder_of_their_own_and_verify_looks_at_them(tmp_path: Path) -> None:
    _, folder = _label(_plan(), [_write(tmp_path / "some.jsonl", SOME)], tmp_path / "here", by_digest=False)
    assert folder == tmp_path / "here"
    assert verify(folder, Silence())[1] == []
    for file in [file for file in folder.iterdir() if file.is_file() and file.stat().st_size]:
        whole = file.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
            try:
                _, problems = verify(folder, Silence())
            except VersatuneError as error:
                problems = [str(error)]
            assert any(str(file) in problem for problem in problems), (file, at)
        file.write_bytes(whole)
    assert verify(folder, Silence())[1] == []


def test_a_dataset_version_s_examples_can_be_labelled(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    version = build(make_config(), progress=Silence()).parent
    manifest = DatasetManifest.load(version / "manifest.json")
    report, folder = _label(_plan(batch_size=64), [str(version)], tmp_path / "labels")
    assert report.rows == sum(shard.rows for shard in manifest.shards) == len(FakeJudge.asked)
    assert {entry.path.rpartition("/data/")[2] for entry in report.inputs} == {
        shard.path.removeprefix("data/") for shard in manifest.shards
    }
    sources = {row["source"] for row in _rows(folder / "undetermined.jsonl.gz") + _rows(folder / "labelled.jsonl.gz")}
    assert {"law", "medicine", "code"} <= sources
    assert report.given is not None
    assert report.unknown_given == sum(shard.rows for shard in manifest.shards if shard.domain not in TAXONOMY.domains)


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"text": f"{domain} number {at}"} for at in range(8) for domain in TAXONOMY.domains]
    file, home = _write(tmp_path / "rows.jsonl", rows), tmp_path / "labels"
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, file, str(home), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    store, deadline = home / "answers" / _plan().store_key, time.monotonic() + 120
    while count_kept(store) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = count_kept(store)
    assert 8 <= kept < 24
    report, folder = _label(_plan(), [file], home)
    assert (report.environment["reused"], report.environment["asked"]) == (kept, 24 - kept)
    whole, untouched = _label(_plan(), [file], tmp_path / "other")
    assert whole.digest == report.digest
    for name in ("labelled.jsonl.gz", "undetermined.jsonl.gz"):
        assert (folder / name).read_bytes() == (untouched / name).read_bytes()


def test_what_a_judge_says_when_it_fails_is_the_message_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^endpoint http://x/v1: 429: still too many requests$"):
        _label(replace(_plan(), start=BrokenJudge), [_write(tmp_path / "a.jsonl", SOME)], tmp_path / "labels")
    assert not list(tmp_path.glob("labels/**/labels.json"))


def test_a_taxonomy_with_too_many_domains_and_a_folder_that_is_no_model_are_refused(tmp_path: Path) -> None:
    wide = Config.model_validate({"name": "toy", "taxonomy": {"domains": [f"d{at}" for at in range(27)]}})
    with pytest.raises(ConfigError, match="27 domains"):
        plan_local(wide, str(tmp_path))
    with pytest.raises(DataError, match=r"config\.json"):
        plan_local(Config(name="toy"), str(tmp_path))


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_real_engine_gives_the_softmax_over_the_codes_and_the_same_bytes_after_a_kill(
    tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    label = {"batch_size": 4, "max_text_tokens": 24, "engine": {"cpu_kv_cache_gib": 1, "dtype": "float32"}}
    label["engine"]["gpu_memory_utilization"] = 0.3
    config = Config.model_validate({"name": "toy", "taxonomy": TAXONOMY.model_dump(), "label": label})
    texts = [f"{word} {at} " * (1 + 9 * at) for at in range(4) for word in ("law", "code", "tennis")]
    file = _write(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    plan = plan_local(config, str(tiny_model))
    report, folder = _label(plan, [file], tmp_path / "labels")
    assert report.environment["engine"][0].startswith("vllm ")
    assert (report.judge.backend, len(str(report.judge.weights_sha256)), report.texts) == ("vllm", 64, 12)
    assert capfd.readouterr().out == ""

    model = transformers.LlamaForCausalLM.from_pretrained(tiny_model).eval()
    judge = plan.start.args[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    rows = {row["text"]: row for row in _rows(folder / "labelled.jsonl.gz") + _rows(folder / "undetermined.jsonl.gz")}
    for text in texts[::3]:
        mean = np.zeros(3)
        for rotation, head, tail in zip(ROTATIONS, judge.questions.heads, judge.questions.tails, strict=True):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"][:24]
            with torch.no_grad():
                logits = model(torch.tensor([[*head, *ids, *tail]])).logits[0, -1][list(judge.questions.code_ids)]
            mean += np.roll(torch.softmax(logits, 0).numpy(), rotation) / 3
        assert rows[text]["probs"] == pytest.approx(mean.tolist(), abs=1e-4)

    part = sorted((tmp_path / "labels" / "answers" / plan.store_key).glob("part-*"))[1]
    part.unlink()
    again, _ = _label(plan, [file], tmp_path / "labels")
    assert (again.environment["asked"], again.digest) == (4, report.digest)
    stop_engines()
