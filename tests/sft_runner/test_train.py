"""Whole runs of a tiny model: what is logged, what moves the weights, and that nothing is lost when a run is killed."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.records import TEMPLATE
from versatune.schemas.config import MixerConfig
from versatune.schemas.dataset import SPLITS
from versatune.schemas.errors import ConfigError, DataError, IntegrityError, RunError
from versatune.schemas.files import sha256_file
from versatune.schemas.lock import only_one
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.progress import Silence
from versatune.schemas.run import CheckpointRecord, MeasuredReferences, RunRecord
from versatune.schemas.template_record import TurnEnd
from versatune.sft_runner import references
from versatune.sft_runner.dataset import read_pool
from versatune.sft_runner.evaluate import evaluate, held_out, summarize
from versatune.sft_runner.model import load_trainee
from versatune.sft_runner.train import run

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {"source": "given", "losses": {"law": 3.0, "code": 2.0, "general": 5.5}}
EXACT = ("step", "segment", "checkpoint", "loss", "domain_nll", "domain_loss_tokens", "learning_rate", "grad_norm")


def trained(work: Any) -> Path:
    return run(work.config, work.mixture_path, progress=Silence()).parent


def checkpoints(directory: Path) -> list[CheckpointRecord]:
    lines = (directory / "weights.jsonl").read_text().splitlines()
    return [CheckpointRecord.model_validate_json(line) for line in lines]


def metrics(directory: Path) -> list[dict[str, Any]]:
    """The log without wall-clock times."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in EXACT if key in line} for line in lines]


class Log(Silence):
    """Remembers what was said and begun."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.tasks: list[tuple[str, float | None, str]] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def begin(self, task: str, total: float | None, unit: str) -> None:
        self.tasks.append((task, total, unit))


def test_weights_follow_from_the_logged_losses_and_references(workplace: Callable) -> None:
    reference = {"max_rows": 8, "epochs": 8, "evals_per_epoch": 2, "learning_rate": 2e-2, "lora": {"rank": 4}}
    work = workplace(train={"reference": reference, "learning_rate": 1e-3})
    directory = trained(work)
    records = checkpoints(directory)
    assert [r.checkpoint for r in records] == [0, 1, 2, 3]
    measured = MeasuredReferences.load(directory / "references.json").domains
    curves = {d: [loss for _, loss in measured[d]["curve"]] for d in work.mixture.domains}
    expected = [0.5, 0.3, 0.2]
    assert records[0].weights == expected
    for record in records[1:3]:
        weights = []
        for j, domain in enumerate(work.mixture.domains):
            assert record.reference[j] == min(curves[domain])
            gamma = max((record.loss[j] - record.reference[j]) / record.loss[j], 0.0)
            assert record.gamma[j] == pytest.approx(gamma, rel=1e-12)
            weights.append(expected[j] * (1 + 0.5 * gamma))
        weights = [w / sum(weights) for w in weights]
        assert record.weights_before == pytest.approx(expected, rel=1e-12)
        assert record.weights == pytest.approx(weights, rel=1e-12)
        assert record.weights != record.weights_before
        expected = weights
    assert records[3].weights == records[2].weights
    drawn = np.diff([r.rows for r in records], axis=0)
    assert drawn.sum(axis=1).tolist() == [12, 12, 12]
    for rows, record in zip(drawn, records, strict=False):
        assert np.abs(rows - 12 * np.array(record.weights)).max() <= 1


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_loss_goes_down_and_the_exported_model_has_it(workplace: Callable, method: str) -> None:
    work = workplace(train={"method": method, "learning_rate": 1e-2, "reference": GIVEN})
    directory = trained(work)
    record = RunRecord.load(directory / "run.json")
    assert all(after < before - 0.1 for before, after in zip(record.loss_before, record.loss_after, strict=True))
    assert record.steps == 9
    exported = directory / record.model
    assert (directory / "adapter" / "adapter_model.safetensors").exists() == (method == "lora")
    assert transformers.AutoModelForCausalLM.from_pretrained(exported).dtype == torch.float32
    assert transformers.AutoTokenizer.from_pretrained(exported).chat_template
    trainee = load_trainee(work.config, exported)
    slices = [held_out(rows, 512) for rows in read_pool(work.mixture, work.mixture_path).validation]
    again = summarize(slices, [evaluate(trainee, s, 2) for s in slices]).loss
    assert again == pytest.approx(record.loss_after, rel=1e-5 if method == "lora" else 1e-12)


def test_mixed_precision_trains_too(workplace: Callable) -> None:
    work = workplace(train={"dtype": "bfloat16", "learning_rate": 1e-2, "reference": GIVEN})
    record = RunRecord.load(trained(work) / "run.json")
    assert all(after < before - 0.3 for before, after in zip(record.loss_before, record.loss_after, strict=True))
    adapter = workplace(
        train={"dtype": "bfloat16", "method": "lora", "learning_rate": 1e-2, "reference": GIVEN}, name="b"
    )
    record = RunRecord.load(trained(adapter) / "run.json")
    assert all(after < before for before, after in zip(record.loss_before, record.loss_after, strict=True))


def test_the_logs_count_every_row_and_token_once(workplace: Callable) -> None:
    work = workplace(train={"reference": GIVEN})
    directory = trained(work)
    steps = [m for m in metrics(directory) if "domain_nll" in m]
    assert [m["step"] for m in steps] == list(range(1, 10))
    last = checkpoints(directory)[-1]
    assert np.sum([m["domain_loss_tokens"] for m in steps], axis=0).tolist() == last.loss_tokens_drawn
    for m in steps:
        assert m["loss"] == pytest.approx(sum(m["domain_nll"]) / sum(m["domain_loss_tokens"]))
    for number, record in enumerate(checkpoints(directory)[1:], start=1):
        mine = [m for m in steps if m["segment"] == number]
        nll, tokens = (np.sum([m[key] for m in mine], axis=0) for key in ("domain_nll", "domain_loss_tokens"))
        assert record.train_loss == pytest.approx((nll / tokens).tolist())
    assert last.passes == [r / n for r, n in zip(last.rows, (20, 12, 8), strict=True)]


def test_a_finished_run_is_not_run_again(workplace: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    work = workplace(train={"reference": GIVEN})
    file = run(work.config, work.mixture_path, progress=Silence())
    pointer = json.loads((file.parents[1] / "latest.json").read_text())
    assert pointer["path"] == f"{file.parent.name}/run.json"
    monkeypatch.setattr("versatune.sft_runner.train._Run", None)
    assert run(work.config, work.mixture_path, progress=Silence()) == file


def test_a_damaged_model_of_a_finished_run_is_made_again_without_training(workplace: Callable) -> None:
    work = workplace(train={"reference": GIVEN})
    directory = trained(work)
    digest, steps = RunRecord.load(directory / "run.json").digest, metrics(directory)
    for damage in (Path.unlink, lambda file: file.write_bytes(b"")):
        damage(directory / "model" / "model.safetensors")
        log = Log()
        run(work.config, work.mixture_path, progress=log)
        assert any("goes on from step 9 " in line for line in log.said)
        record = RunRecord.load(directory / "run.json")
        assert (record.digest, metrics(directory)) == (digest, steps)
        for name, sha256 in record.model_files.items():
            assert sha256_file(directory / "model" / name) == sha256


def test_two_processes_do_not_train_one_run(workplace: Callable) -> None:
    work = workplace(train={"reference": GIVEN})
    directory = trained(work)
    with only_one(directory, "train"), pytest.raises(RunError, match="another train is writing here"):
        trained(work)


def test_the_noise_of_every_loss_change_is_logged(workplace: Callable) -> None:
    mixer = MixerConfig(name="versatune_dynamic", phi_min_z=2.0)
    records = checkpoints(trained(workplace(mixture={"mixer": mixer}, train={"reference": GIVEN})))
    assert records[0].loss_change_z == [0.0] * 3
    for before, record in itertools.pairwise(records):
        for j, z in enumerate(record.loss_change_z):
            assert np.sign(z) == np.sign(record.loss[j] - before.loss[j])
            rise = max((record.loss[j] - before.loss[j]) / before.loss[j], 0.0)
            assert record.phi[j] == pytest.approx(rise if z > 2.0 else 0.0)


def test_two_runs_give_the_same_bits(workplace: Callable) -> None:
    first, second = (trained(workplace(train={"reference": GIVEN}, name=name)) for name in ("a", "b"))
    assert metrics(first) == metrics(second)
    records = [RunRecord.load(d / "run.json") for d in (first, second)]
    assert records[0].digest == records[1].digest
    assert records[0].model_files == records[1].model_files


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_can_go_on_from_every_checkpoint(workplace: Callable, tmp_path: Path, method: str) -> None:
    train = {"reference": GIVEN, "checkpoint_steps": 1, "keep_checkpoints": 100, "method": method}
    train["lora"] = {"rank": 4, "dropout": 0.1}
    work = workplace(train=train, mixture={"redraw": "continue"})
    directory = trained(work)
    whole, files = metrics(directory), RunRecord.load(directory / "run.json").model_files
    saved = sorted((directory / "checkpoints").iterdir())
    assert [int(p.name) for p in saved] == list(range(1, 10))
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    for number in range(len(saved)):
        shutil.rmtree(directory)
        shutil.copytree(copy, directory)
        (directory / "run.json").unlink()
        for later in saved[number + 1 :]:
            shutil.rmtree(later)
        log = Log()
        run(work.config, work.mixture_path, progress=log)
        assert any(f"goes on from step {number + 1} " in line for line in log.said)
        assert metrics(directory) == whole
        assert RunRecord.load(directory / "run.json").model_files == files


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from versatune.schemas.config import load_config
from versatune.schemas.progress import Silence
from versatune.sft_runner.train import run

class Killer(Silence):
    task = ""
    def begin(self, task, total, unit):
        self.task = task
    def advance_to(self, done, note=""):
        if self.task == sys.argv[3] and done >= int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
run(load_config(sys.argv[1]), Path(sys.argv[2]), progress=Killer())
"""


@pytest.mark.parametrize(("task", "at"), [("train", 5), ("reference losses", 3)])
def test_a_killed_run_repeats_the_losses_it_would_have_had(
    workplace: Callable, tmp_path: Path, task: str, at: int
) -> None:
    work = workplace(train={"checkpoint_steps": 2})
    whole = trained(work)
    expected = metrics(whole), checkpoints(whole), (whole / "references.json").read_bytes()
    shutil.rmtree(whole)
    file = tmp_path / "config.json"  # JSON is YAML
    file.write_text(work.config.model_dump_json())
    command = [sys.executable, "-c", KILLED, str(file), str(work.mixture_path), task, str(at)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert whole.exists() and not (whole / "run.json").exists()
    again = trained(work)
    assert again == whole
    assert (metrics(whole), checkpoints(whole), (whole / "references.json").read_bytes()) == expected


def test_only_the_newest_checkpoints_are_kept(workplace: Callable) -> None:
    work = workplace(train={"reference": GIVEN, "checkpoint_steps": 1, "keep_checkpoints": 2})
    directory = trained(work)
    assert sorted(p.name for p in (directory / "checkpoints").iterdir()) == ["00000008", "00000009"]


def test_a_checkpoint_of_another_run_is_refused_by_name(workplace: Callable) -> None:
    first = workplace(train={"reference": GIVEN}, name="a")
    second = workplace(train={"reference": GIVEN}, mixture={"budget": 8}, name="b")
    one, two = trained(first), trained(second)
    (two / "run.json").unlink()
    shutil.rmtree(two / "checkpoints")
    shutil.copytree(one / "checkpoints", two / "checkpoints")
    with pytest.raises(IntegrityError, match=r"checkpoint .*00000009: mixture_digest is .*made by another run"):
        trained(second)


def test_a_constant_mixer_needs_no_references_and_keeps_the_weights(workplace: Callable) -> None:
    work = workplace(mixture={"mixer": MixerConfig(name="constant")})
    directory = trained(work)
    assert not (directory / "references.json").exists()
    assert RunRecord.load(directory / "run.json").reference.source == "zero"
    assert all(r.weights == [0.5, 0.3, 0.2] and r.gamma is None for r in checkpoints(directory))


def test_expansion_grows_its_target_while_little_is_forgotten(workplace: Callable) -> None:
    mixer = MixerConfig(name="versatune_expansion", target="general", delta=0.1, epsilon=0.05)
    work = workplace(
        mixture={"mixer": mixer}, train={"reference": {"source": "given", "losses": GIVEN["losses"] | {"general": 1.0}}}
    )
    records = checkpoints(trained(work))
    for before, record in itertools.pairwise(records[:-1]):  # the last evaluation changes no weights
        phi = [max((new - old) / old, 0.0) for new, old in zip(record.loss[:2], before.loss[:2], strict=True)]
        gamma = (record.loss[2] - 1.0) / record.loss[2]
        assert record.condition == {
            "lhs": pytest.approx(sum(phi) / 2), "rhs": pytest.approx(0.05 * gamma), "expanded": True,
        }  # fmt: skip
        assert record.weights[2] == pytest.approx(before.weights[2] + 0.1)


def test_update_before_first_uses_the_base_models_losses(workplace: Callable) -> None:
    mixer = MixerConfig(name="versatune_dynamic", update_before_first=True)
    records = checkpoints(trained(workplace(mixture={"mixer": mixer}, train={"reference": GIVEN})))
    raw = [w * (1 + 0.5 * g) for w, g in zip((0.5, 0.3, 0.2), records[0].gamma, strict=True)]
    assert records[0].weights == pytest.approx([w / sum(raw) for w in raw])


def test_references_that_say_nothing_are_warned_of(workplace: Callable) -> None:
    work = workplace(train={"reference": {"source": "zero"}})
    log = Log()
    directory = run(work.config, work.mixture_path, progress=log).parent
    records = checkpoints(directory)
    assert [bool(r.warnings) for r in records] == [False, True, False, False]
    assert records[1].warnings[0].startswith("uninformative_reference")
    assert f"warning: {records[1].warnings[0]}" in log.said


def test_rows_that_teach_no_stop_are_warned_of(workplace: Callable) -> None:
    work = workplace()
    mixture = MixtureManifest.load(work.mixture_path)
    template = TEMPLATE.model_copy(update={"answer": TurnEnd(token=None)})
    record = mixture.tokenizer.model_copy(
        update={"template": template, "sha256": "0" * 64}
    )  # ends before the first step
    mixture.changed(tokenizer=record).write(work.mixture_path)
    log = Log()
    with pytest.raises(DataError):
        run(work.config, work.mixture_path, progress=log)
    (warning,) = [said for said in log.said if said.startswith("warning")]
    assert "nothing teaches the model to stop" in warning


def test_a_shortfall_is_warned_of(workplace: Callable) -> None:
    work = workplace(mixture={"budget": 100, "segments": 1}, train={"reference": GIVEN})
    assert "shortfall: segment 1 had 80 of 100 rows" in checkpoints(trained(work))[1].warnings[0]


def test_a_domain_without_held_out_rows_stops_a_mixer_that_follows_losses(workplace: Callable) -> None:
    work = workplace()
    shards = [s for s in work.mixture.shards if (s.split, s.domain) != (SPLITS[1], "code")]
    fields = work.mixture.model_dump(exclude={"kind", "format_version", "digest"})
    MixtureManifest.create(**fields | {"shards": shards}).write(work.mixture_path)
    with pytest.raises(
        DataError, match=r"no held-out rows: 'code' \(12\); mixer 'versatune_dynamic'.*validation_fraction"
    ):
        trained(work)
    constant = fields | {"shards": shards, "mixer": MixerConfig(name="constant")}
    MixtureManifest.create(**constant).write(work.mixture_path)
    records = checkpoints(trained(work))
    assert [r.loss[1] for r in records] == [None] * 4 and records[3].loss[0] is not None


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("generation_config.json", {"num_return_sequences": 4}, "cannot be saved with the trained model"),
        ("config.json", {"pad_token_id": -1}, "pad_token_id is -1"),
        ("config.json", {"max_position_embeddings": 95}, "context of 95 tokens, and rows may have 96"),
    ],
)
def test_a_model_that_would_break_the_run_or_its_export_is_refused_before_the_first_step(
    workplace: Callable, tiny_model: Path, tmp_path: Path, file: str, changes: dict[str, Any], said: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))
    work = workplace()
    model = work.config.model.model_copy(update={"path": str(folder)})
    with pytest.raises(DataError, match=said):
        trained(work._replace(config=work.config.model_copy(update={"model": model})))
    assert not list(tmp_path.glob("work/runs/*/metrics.jsonl"))


def test_settings_that_do_not_fit_are_refused(workplace: Callable) -> None:
    work = workplace()

    def refused(changes: dict[str, Any]) -> Any:
        return work._replace(config=work.config.model_copy(update=changes))

    with pytest.raises(ConfigError, match="needs a base model"):
        trained(refused({"model": None}))
    far = work.config.model_copy(update={"model": work.config.model.model_copy(update={"path": "gs://bucket/m"})})
    with pytest.raises(DataError, match="fetched gs:/bucket/m"):
        run(far, work.mixture_path, progress=Silence(), fetch=lambda uri: Path(f"fetched {uri}"))
    with pytest.raises(ConfigError, match="output is gs://bucket"):
        trained(refused({"output": "gs://bucket"}))
    with pytest.raises(DataError, match="the mixture has domains"):
        trained(refused({"taxonomy": work.config.taxonomy.model_copy(update={"domains": ("law", "code")})}))
    given = work.config.train.reference.model_copy(update={"source": "given", "losses": {"law": 1.0}})
    with pytest.raises(ConfigError, match="domain 'code' has 12 training rows and the loss nan"):
        trained(refused({"train": work.config.train.model_copy(update={"reference": given})}))


def test_progress_tells_of_every_task(workplace: Callable) -> None:
    work, log = workplace(), Log()
    run(work.config, work.mixture_path, progress=log)
    assert log.tasks == [
        ("read shards", 9.0, "shards"),
        ("evaluate the base model", 18.0, "rows"),
        ("reference losses", 6.0, "steps"),
        ("train", 9.0, "steps"),
    ]


def test_finished_references_are_not_measured_again(workplace: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    work = workplace()
    directory = trained(work)
    (directory / "run.json").unlink()
    shutil.rmtree(directory / "checkpoints")
    measured: list[str] = []
    kept = dict(MeasuredReferences.load(directory / "references.json").domains)
    del kept["code"]
    MeasuredReferences.create(domains=kept).write(directory / "references.json")
    original = references._measure
    monkeypatch.setattr(references, "_measure", lambda *args: measured.append(args[2].rows.domain) or original(*args))
    before = checkpoints(directory)
    assert checkpoints(trained(work)) == before
    assert measured == ["code"]
