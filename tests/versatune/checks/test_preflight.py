"""What is refused before anything is done: one bad configuration for each check, and the quickstart, which passes them all."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from versatune.checks import inputs, machine
from versatune.checks.report import CheckReport
from versatune.cli.app import app
from versatune.schemas.config import load_config
from versatune.schemas.errors import CheckError, UsageError
from versatune.schemas.progress import Silence
from versatune.stages import STAGES, Job, check, run_all

Value = dict[str, Any]
Change = Callable[[Value, Path], object]


@pytest.fixture
def value(quickstart: Value, tmp_path: Path) -> Value:
    """The quickstart with a model of its own, in a folder where nothing was done yet."""
    made = copy.deepcopy(quickstart) | {"output": "out"}
    shutil.copytree(made["model"]["path"], tmp_path / "model")
    made["model"]["path"] = "model"
    return made


def _job(value: Value, folder: Path, *overrides: str, beam_args: tuple[str, ...] = ()) -> Job:
    (folder / "c.yaml").write_text(yaml.safe_dump(value))
    return Job(config=load_config(folder / "c.yaml", overrides), beam_args=beam_args, progress=Silence())


def _set(path: str, to: object) -> Change:
    def change(value: Value, folder: Path) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            value = value.setdefault(parent, {})
        value[last] = to

    return change


def _source(**changes: object) -> Change:
    return lambda value, folder: value["sources"][0].update(changes)


def _model_json(name: str, **changes: object) -> Change:
    def change(value: Value, folder: Path) -> None:
        file = folder / "model" / name
        file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | changes))

    return change


def _without(path: str) -> Change:
    return lambda value, folder: (folder / path).unlink()


def _file(path: str, text: str) -> Change:
    return lambda value, folder: (folder / path).write_text(text)


def _both(*changes: Change) -> Change:
    return lambda value, folder: [change(value, folder) for change in changes]


def _pinned_to_law(value: Value, folder: Path) -> None:
    for source in value["sources"]:
        source["domain"] = "law"


def _keys(report: CheckReport, *, refused: bool) -> list[tuple[str, str]]:
    return [(problem.stage, problem.key) for problem in report.problems if problem.refused == refused]


def test_the_quickstart_passes_and_is_summed_up(value: Value, tmp_path: Path) -> None:
    report = check(_job(value, tmp_path))
    assert report.problems == []
    assert report.stages == list(STAGES)
    assert set(report.facts) == {"inputs", "model", "tokenizer", "chat template", "device", "disk"}
    assert report.facts["inputs"].startswith("7 files")
    assert "context of 512 tokens" in report.facts["model"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "stage", "key", "said"),
    [
        (_both(_source(files=["absent.jsonl"]), _set("build.on_refused_file", "fail")), "build", "sources", "absent.jsonl"),
        (lambda value, folder: value.update(sources=[{"name": "one", "files": ["absent.jsonl"]}]), "build", "sources", "absent.jsonl"),
        (_both(_set("output", "."), _source(files=["quickstart/raw.jsonl"])), "build", "sources", "where this configuration's outputs go"),
        (_set("build.licenses", {"deny": ["CC0*"]}), "build", "build.licenses", "CC0-1.0, which the policy forbids"),
        (_set("classifier", {"path": "absent.bin"}), "build", "classifier", "absent.bin"),
        (_set("classifier", {"path": "c.bin", "sha256": "0" * 64}), "build", "classifier", "sha256"),
        (_set("build.clean", {"drop_patterns": ["("]}), "build", "build.clean.drop_patterns", "regular expression"),
        (_set("build.clean", {"languages": ["xx"]}), "build", "build.clean.languages", "xx"),
        (_set("build.pii", {"phone": "mask", "phone_regions": ["XX"]}), "build", "build.pii.phone_regions", "XX"),
        (_model_json("config.json", vocab_size=100), "probe", "model.path", "vocab_size is 100, and the weights have 512 rows"),
        (_model_json("config.json", tie_word_embeddings=False), "probe", "model.path", "the weights have no lm_head"),
        (_set("build.decontaminate", {"benchmarks": [{"name": "b", "files": ["absent.jsonl"]}]}), "build", "build.decontaminate.benchmarks", "absent"),
        (_set("output", "c.yaml"), "build", "output", "is a file"),
        (_set("model.chat_template", "absent.jinja"), "build", "model.chat_template", "there is no file"),
        (_without("model/chat_template.jinja"), "build", "model", "no chat template"),
        (_set("build.max_tokens", 513), "build", "model", "context of 512 tokens, and rows may have 513"),
        (_model_json("config.json", pad_token_id=-1), "build", "model", "pad_token_id is -1"),
        (_model_json("config.json", pad_token_id=512), "build", "model", "pad_token_id is 512"),
        (_set("model", None), "probe", "model.path", "needs a base model"),
        (_set("model.path", "absent"), "build", "model", "there is no folder"),
        (_both(_set("model.path", "absent"), _set("build.tokenize", False)), "probe", "model.path", "there is no folder"),
        (_set("output", "/proc/none"), "build", "output", "cannot be written to"),
        (_without("model/model.safetensors"), "probe", "model.path", "no weights"),
        (_model_json("config.json", model_type="own", auto_map={"AutoConfig": "own.Config"}), "train", "model.trust_remote_code", "of the type own"),
        (_model_json("config.json", model_type="own"), "train", "model.path", "of the type own, which this transformers"),
        (_set("probe.max_new_tokens", 512), "probe", "probe", "probe.max_new_tokens is 512"),
        (_set("probe.samples", 1), "probe", "probe", "probe.samples is 1"),
        (_set("probe.prompt_token", "<none>"), "probe", "probe", "<none>"),
        (_set("probe.endpoint", {"url": "nowhere", "model": "m"}), "probe", "probe", "probe.endpoint.url"),
        (_both(_set("mix.unit", "tokens"), _set("build.tokenize", False)), "mix", "mix.unit", "no token counts"),
        (_set("output", "nowhere://bucket"), "build", "output", "nowhere://bucket/quickstart: it cannot be listed"),
        (_both(_pinned_to_law, _set("mix", {"policy": "explicit", "weights": {"code": 1.0}})), "mix", "mix.weights", "names code"),
        (_both(_pinned_to_law, _set("mix.mixer", {"name": "versatune_expansion", "target": "code"})), "mix", "mix.mixer.target", "names code"),
        (_set("build.tokenize", False), "build", "build.tokenize", "set it to true"),
        (_set("build.validation_fraction", 0.0), "train", "build.validation_fraction", "no row is held out"),
        (_model_json("generation_config.json", num_return_sequences=4), "build", "model.path", "cannot be saved with the trained model"),
        (_both(_set("train.method", "lora"), _set("train.lora", {"target_modules": ["c_attn"]})), "build", "train.lora.target_modules", "names no module of this model"),
        (_set("train.reference.lora", {"target_modules": ["c_attn"]}), "build", "train.reference.lora.target_modules", "names no module"),
        (_set("train.keep_checkpoints", 10**9), "train", "output", "lower train.keep_checkpoints"),
    ],
)  # fmt: skip
def test_what_a_stage_would_refuse_is_refused_first(
    value: Value, tmp_path: Path, change: Change, stage: str, key: str, said: str
) -> None:
    (tmp_path / "c.bin").write_bytes(b"no classifier")
    change(value, tmp_path)
    (tmp_path / "quickstart").mkdir(exist_ok=True)
    (tmp_path / "quickstart" / "raw.jsonl").write_text("{}\n")
    report = check(_job(value, tmp_path))
    assert (stage, key) in _keys(report, refused=True)
    assert said in next(p.message for p in report.refused if (p.stage, p.key) == (stage, key))
    assert not list(tmp_path.glob("out*"))


@pytest.mark.skipif(
    "torch" in sys.modules and sys.modules["torch"].cuda.is_available(), reason="this machine has a GPU"
)
def test_a_device_that_is_not_there_is_refused(value: Value, tmp_path: Path) -> None:
    _set("train.device", "cuda")(value, tmp_path)
    assert _keys(check(_job(value, tmp_path)), refused=True) == [("train", "train.device")]


def test_an_output_that_may_not_be_written_is_refused(value: Value, tmp_path: Path) -> None:
    _set("output", "/proc/out")(value, tmp_path)  # where not even root may
    assert ("build", "output") in _keys(check(_job(value, tmp_path)), refused=True)


@pytest.mark.parametrize(
    ("missing", "stage", "said"), [("peft", "train", "versatune[train]"), ("vllm", "probe", "versatune[cpu]")]
)
def test_a_missing_package_is_refused_by_the_stage_that_needs_it(
    value: Value, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, stage: str, said: str
) -> None:
    found = machine.find_spec
    monkeypatch.setattr(machine, "find_spec", lambda name: None if name == missing else found(name))
    (problem,) = check(_job(value, tmp_path)).refused
    assert (problem.stage, problem.key) == (stage, "machine")
    assert said in problem.message
    others = [name for name in STAGES if name != stage]
    assert check(_job(value, tmp_path), others).refused == []


def test_an_engine_for_gpus_needs_one_but_not_on_other_machines(
    value: Value, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: object())
    monkeypatch.setattr(machine, "cpu_engine", lambda: False)
    monkeypatch.setattr(machine, "gpu_visible", lambda: False)
    assert _keys(check(_job(value, tmp_path), ["probe"]), refused=True) == [("probe", "machine")]
    remote = _job(value, tmp_path, beam_args=("--runner=DataflowRunner",))
    assert check(remote, ["probe"]).refused == []


@pytest.mark.parametrize(
    ("change", "stage", "key", "said"),
    [
        (_file("model/chat_template.jinja", "{% for m in messages %}{{ m['content'] }}{% endfor %}"), "build", "model.chat_template", "teaches the model to stop"),
        (_source(files=["model/*.none"]), "build", "sources", "The build leaves it out"),
        (_pinned_to_law, "mix", "mix.on_empty", "no rows of medicine, finance, science, code, general because every source"),
        (lambda value, folder: value.update(sources=value["sources"][:1]), "mix", "mix.on_empty", "code"),
        (_set("build.validation_fraction", 0.01), "train", "build.validation_fraction", "an estimate"),
    ],
)  # fmt: skip
def test_what_may_go_on_is_a_warning(
    value: Value, tmp_path: Path, change: Change, stage: str, key: str, said: str
) -> None:
    change(value, tmp_path)
    report = check(_job(value, tmp_path))
    assert report.refused == []
    assert said in next(p.message for p in report.warnings if (p.stage, p.key) == (stage, key))
    assert len({(p.stage, p.key) for p in report.warnings}) == len(report.warnings)
    report.raise_refused()


def test_an_engine_that_can_never_fit_into_memory_is_refused(
    value: Value, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cpu_engine", lambda: True)
    _set("probe.engine", {"cpu_kv_cache_gib": 10**6})(value, tmp_path)
    (problem,) = check(_job(value, tmp_path), ["probe"]).refused
    assert (problem.key, problem.stage) == ("probe.engine", "probe")
    assert "the engine needs" in problem.message


def test_a_package_that_a_check_needs_itself_is_named(
    value: Value, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    problems = check(_job(value, tmp_path)).refused
    assert any("transformers" in problem.message for problem in problems)


def test_bfloat16_on_a_cpu_without_it_is_a_warning(
    value: Value, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "slow_dtype", lambda device, dtype: f"{device} {dtype} is slow")
    _set("train.device", "cpu")(value, tmp_path)
    (warning,) = check(_job(value, tmp_path)).warnings
    assert (warning.key, warning.message) == ("train.dtype", "cpu float32 is slow")


def test_a_mixer_that_follows_nothing_needs_no_held_out_rows(value: Value, tmp_path: Path) -> None:
    _both(_set("build.validation_fraction", 0.0), _set("mix.mixer", {"name": "constant"}))(value, tmp_path)
    assert check(_job(value, tmp_path)).problems == []


def test_a_build_alone_needs_no_model(value: Value, tmp_path: Path) -> None:
    del value["model"]
    assert check(_job(value, tmp_path), ["build"]).problems == []


def test_an_endpoint_needs_no_engine_of_ours(value: Value, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.find_spec
    monkeypatch.setattr(machine, "find_spec", lambda name: None if name == "vllm" else found(name))
    _set("probe.endpoint", {"url": "http://localhost:1/v1", "model": "m", "prompt_token_id": 1})(value, tmp_path)
    assert check(_job(value, tmp_path)).refused == []


def test_a_stage_of_another_name_is_refused(value: Value, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'train'"):
        check(_job(value, tmp_path), ["trian"])


def test_checkpoints_of_an_adapter_are_small(value: Value, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    for method in ("full", "lora"):
        _set("train.method", method)(value, tmp_path)
        job = _job(value, tmp_path)
        asked[method] = machine._training_bytes(_subject(job))
    assert 0 < asked["lora"] < asked["full"]


def _subject(job: Job) -> Any:
    from versatune.checks.subject import Subject

    return Subject(config=job.config, stages=frozenset({"train"}))


def test_what_there_is_of_a_way_is_found(tmp_path: Path) -> None:
    assert inputs.existing(tmp_path / "a" / "b") == tmp_path


def test_run_refuses_everything_at_once_and_writes_nothing(value: Value, tmp_path: Path) -> None:
    _both(_set("build.tokenize", False), _set("build.validation_fraction", 0.0), _source(files=["absent.jsonl"]))(
        value, tmp_path
    )
    with pytest.raises(CheckError) as refused:
        run_all(_job(value, tmp_path))
    assert {problem.key for problem in refused.value.problems} == {
        "sources",
        "build.tokenize",
        "build.validation_fraction",
    }
    assert str(refused.value).startswith("3 things have to be changed before anything is done:\n- build: ")
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_exit_code_2_and_a_list(
    value: Value, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _set("build.tokenize", False)(value, tmp_path)
    _job(value, tmp_path)
    done = CliRunner().invoke(app, ["check", str(tmp_path / "c.yaml"), "--json"])
    said = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (done.exit_code, said["exit_code"]) == (2, 2)
    assert [problem["key"] for problem in said["problems"]] == ["build.tokenize"]
    assert done.stderr.count("error:") == 1
    assert "- build: build.tokenize: it is false" in done.stderr


def test_the_command_says_what_is_fine(value: Value, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _job(value, tmp_path)
    done = CliRunner().invoke(app, ["check", str(tmp_path / "c.yaml")])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "nothing stands in the way of build, probe, mix, train"
    CliRunner().invoke(app, ["check", str(tmp_path / "c.yaml"), "--stage", "build", "--json"])
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["stages"] == ["build"]
