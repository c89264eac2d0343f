"""What an export can be that was not trained: each is found before anything appears, and the run can be exported again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tests.sft_runner.conftest import mixture_of, tokenizer_record
from versatune.schemas.checkpoint import CheckpointState
from versatune.schemas.config import Config, MixerConfig
from versatune.schemas.dataset import Shard
from versatune.schemas.errors import DataError, RunError
from versatune.schemas.export_plan import load_plan
from versatune.schemas.files import sha256_file
from versatune.schemas.progress import Silence
from versatune.schemas.run import RunRecord
from versatune.sft_runner import audit, publish
from versatune.sft_runner.audit_files import carried_tensors
from versatune.sft_runner.audit_run import audit_run
from versatune.sft_runner.train import export, run

ROOT = Path(__file__).resolve().parents[2]
QUERY = "model.layers.0.self_attn.q_proj.weight"
WEIGHTS = "model.safetensors"


def train_in(folder: Path, dataset: tuple[Path, list[Shard]], model: Path, train: dict[str, Any]) -> Path:
    """Train for one segment of three steps; return the run's directory."""
    path = folder / "mixture" / "mixture.json"
    changes = {"mixer": MixerConfig(name="constant"), "segments": 1}
    mixture_of(*dataset, path, tokenizer_record(model), **changes).write(path)
    section = {
        "dtype": "float32",
        "device": "cpu",
        "global_batch_rows": 4,
        "micro_batch_rows": 2,
        "learning_rate": 1e-2,
    }
    config = Config.model_validate(
        {
            "name": folder.name,
            "output": str(folder.parent),
            "taxonomy": {"domains": ["law", "code", "general"], "aliases": {}},
            "model": {"path": str(model)},
            "train": section | train,
        }
    )
    return run(config, path, progress=Silence()).parent


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, dataset: tuple[Path, list[Shard]], tiny_model: Path
) -> dict[str, Path]:
    """A finished run of each method; not to be changed."""
    home = tmp_path_factory.mktemp("runs")
    return {
        method: train_in(home / method, dataset, tiny_model, {"method": method, "lora": {"rank": 4}})
        for method in ("full", "lora")
    }


@pytest.fixture
def again(trained: dict[str, Path]) -> Iterator[Callable[[str], Path]]:
    """A copy of a finished run, as deep in the folders as the run itself: ``again("lora")``."""
    made = []

    def copy(method: str) -> Path:
        directory = trained[method]
        home = directory.parents[1]
        made.append(shutil.copytree(home, home.with_name(f"{home.name}-{len(made)}")))
        return made[-1] / "runs" / directory.name

    yield copy
    for folder in made:
        shutil.rmtree(folder)


def all_files(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): sha256_file(f) for f in sorted(folder.rglob("*")) if f.is_file()}


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]) -> None:
    """Let every export be written wrongly."""
    write = publish.write_model

    def wrongly(config: Any, model: Any, base: Path, made: Path, **ends: Any) -> None:
        write(config, model, base, made, **ends)
        spoil(made)

    monkeypatch.setattr(publish, "write_model", wrongly)


def tensors(change: Callable[[dict[str, torch.Tensor]], Any], name: str = WEIGHTS) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        values = load_file(folder / name)
        change(values)
        save_file(values, folder / name, metadata={"format": "pt"})

    return edit


def settings(name: str, **changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))

    return edit


def one_value(values: dict[str, torch.Tensor]) -> None:
    values[QUERY] = values[QUERY].clone()
    values[QUERY][3, 5] += 1e-4


WRONG = {
    "one value": (tensors(one_value), rf"tensor '{QUERY}': not the trained values, off by up to 0\.0001"),
    "a format": (
        tensors(lambda values: values.update({QUERY: values[QUERY].bfloat16()})),
        rf"tensor '{QUERY}': number format BF16, in the base model's files F32",
    ),
    "a tensor less": (
        tensors(lambda values: values.pop(QUERY)),
        rf"tensor '{QUERY}' of the base model's files: missing in model/[\s\S]*tensor '{QUERY}': missing when model/ is loaded",
    ),
    "a tensor more": (
        tensors(lambda values: values.update({"model.surplus": torch.ones(2)})),
        r"tensor 'model\.surplus': in model/, but neither in the base model's files nor",
    ),
    "a shape": (
        tensors(lambda values: values.update({QUERY: values[QUERY][:10].clone()})),
        rf"tensor '{QUERY}' has the shape \[10, 64\], in the base model's files \[64, 64\]",
    ),
    "a setting of the model": (
        settings("config.json", hidden_act="relu"),
        r"model/: the loss of domain 'law' is \d\.\d+ nats per token over 4 held-out rows, and was \d\.\d+ at the run's last",
    ),
    "no architecture": (settings("config.json", model_type="nonsense"), "model/: transformers does not load it"),
    "a shared weight that is two": (
        tensors(lambda values: values.update({"lm_head.weight": values["model.embed_tokens.weight"] + 1.0})),
        r"tensors 'model\.embed_tokens\.weight', 'lm_head\.weight': one weight in the trained model, two in the one that model/ makes",
    ),
    "another tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text(
            (folder / "tokenizer.json").read_text().replace("im_start", "IM")
        ),
        "model/: its tokenizer is not the base model's",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{"), "model/: its tokenizer is of no use"),
    "no template": (
        lambda folder: (folder / "chat_template.jinja").unlink(),
        "model/: its tokenizer has no chat template",
    ),
    "no end": (
        settings("generation_config.json", eos_token_id=1),
        r"generation goes on after <\|im_end\|> \(token 2\), which ends what the rows teach; eos_token_id of the exported .* is 1",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_export_that_is_not_what_was_trained_is_not_published(
    again: Callable, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    spoil, said = WRONG[what]
    directory = again("full")
    before = all_files(directory)
    spoiled(monkeypatch, spoil)
    with pytest.raises(RunError, match=said) as raised:
        export(directory, progress=Silence())
    assert f"`versatune export {directory}` tries again without training" in str(raised.value)
    assert all_files(directory) == before  # the good model that was there, its record, and the checkpoints
    assert not list(directory.glob(".*.partial"))


WRONG_ADAPTERS = {
    "a tensor less": (
        lambda values: values.pop(next(name for name in values if "lora_B" in name)),
        r"adapter/: tensor '.*lora_B.*': not the trained values",
    ),
    "another rank": (
        lambda values: values.update(
            {n: v[:2].clone() if "lora_A" in n else v[:, :2].clone() for n, v in values.items()}
        ),
        "adapter/: peft does not put it on the base model",
    ),
    "other values": (
        lambda values: values.update({n: v * 1.5 for n, v in values.items()}),
        r"adapter/: tensors '.*' and \d+ more: not the trained values",
    ),
}


@pytest.mark.parametrize("what", WRONG_ADAPTERS)
def test_an_adapter_that_is_not_what_was_trained_is_not_published(
    again: Callable, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    change, said = WRONG_ADAPTERS[what]
    directory = again("lora")
    before = all_files(directory)
    merge = publish.merged_model

    def merged_then_spoiled(config: Any, base: Path, adapter: Path) -> Any:
        model = merge(config, base, adapter)
        tensors(change, "adapter_model.safetensors")(adapter)
        return model

    monkeypatch.setattr(publish, "merged_model", merged_then_spoiled)
    with pytest.raises(RunError, match=said):
        export(directory, progress=Silence())
    assert all_files(directory) == before


def test_a_merge_that_forgets_half_of_the_adapter_is_found_by_its_loss(
    again: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = again("lora")

    def half_merged(config: Any, base: Path, adapter: Path) -> Any:
        model = PeftModel.from_pretrained(
            transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter)
        )
        for name, parameter in model.named_parameters():
            if "lora_B" in name and "q_proj" in name:
                parameter.data.zero_()
        return model.merge_and_unload()

    monkeypatch.setattr(publish, "merged_model", half_merged)
    with pytest.raises(RunError, match="model/: the loss of domain") as raised:
        export(directory, progress=Silence())
    assert "adapter/" not in str(raised.value)


def test_an_adapter_on_a_shared_weight_is_not_merged_into_both_of_its_uses(
    tmp_path: Path, dataset: tuple[Path, list[Shard]], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def naively_merged(config: Any, base: Path, adapter: Path) -> Any:
        model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()

    monkeypatch.setattr(publish, "merged_model", naively_merged)
    lora = {"rank": 8, "target_modules": ["embed_tokens"]}
    with pytest.raises(RunError, match="model/: the loss of domain") as raised:
        train_in(tmp_path / "tied", dataset, tiny_model, {"method": "lora", "lora": lora, "learning_rate": 5e-2})
    assert "adapter/" not in str(raised.value)
    (directory,) = (tmp_path / "tied" / "runs").iterdir()
    assert not (directory / "model").exists() and not (directory / "adapter").exists()
    assert not (directory / "run.json").exists() and list((directory / "checkpoints").iterdir())


def test_a_tensor_that_is_only_carried_through_must_not_change(tiny_model: Path, tmp_path: Path) -> None:
    folders = [shutil.copytree(tiny_model, tmp_path / name) for name in ("base", "made")]
    for folder, value in zip(folders, (1.0, 2.0), strict=True):
        tensors(lambda values, value=value: values.update({"vision.weight": torch.full((2, 2), value)}))(folder)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folders[1], output_loading_info=True)
    assert carried_tensors(folders[1], folders[1], model, info) == (1, [])
    carried, (problem,) = carried_tensors(*folders, model, info)
    assert carried == 1
    assert problem.startswith("tensor 'vision.weight': not part of what was trained, and no longer what the base")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_record_has_the_figures_of_the_audit(trained: dict[str, Path], method: str) -> None:
    record = RunRecord.load(trained[method] / "run.json")
    figures = record.audit
    weights = load_file(trained[method] / "model" / WEIGHTS)
    assert figures.tensors >= len(weights) and figures.carried == 0
    assert [(d.domain, d.rows) for d in figures.domains] == [("law", 4), ("code", 4), ("general", 4)]
    assert figures.tolerance == 1e-3 and figures.largest_difference < 1e-5
    for domain in figures.domains:
        assert domain.loss_model == pytest.approx(domain.loss_run, abs=1e-5)
        assert (domain.loss_adapter is None) == (method == "full")
    assert figures.ends == {"<|im_end|>": "generated"}
    assert 0.0 < figures.share < 1.0 and figures.seconds > 0.0


def test_a_model_of_16_bits_may_differ_by_its_rounding(
    tmp_path: Path, dataset: tuple[Path, list[Shard]], tiny_model: Path
) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(base)
    for method in ("full", "lora"):
        directory = train_in(tmp_path / method, dataset, base, {"method": method})
        figures = RunRecord.load(directory / "run.json").audit
        assert figures.tolerance == 2e-2 and 1e-6 < figures.largest_difference < 1e-2


def test_a_rounding_that_undoes_the_training_is_named(
    tmp_path: Path, dataset: tuple[Path, list[Shard]], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(base)
    monkeypatch.setattr(audit, "ROUNDED", 1e-6)  # as if the rounding were large
    with pytest.raises(
        RunError, match=r"it is the rounding alone: with the trained values in .* \(BF16\) the loss is the run's"
    ):
        train_in(tmp_path / "full", dataset, base, {"method": "full"})


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_is_exported_again_without_training(
    again: Callable, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    directory = again(method)
    expected = all_files(directory / "model") | all_files(directory / "adapter")
    digest = RunRecord.load(directory / "run.json").digest
    for name in ("run.json", "model", "adapter"):
        target = directory / name
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
    monkeypatch.setattr("versatune.sft_runner.train.train_step", None)
    assert export(directory, progress=Silence()) == directory / "run.json"
    assert all_files(directory / "model") | all_files(directory / "adapter") == expected
    assert RunRecord.load(directory / "run.json").digest == digest


def test_a_run_of_a_versatune_whose_sections_had_fewer_keys_is_exported(again: Callable) -> None:
    directory = again("full")
    plan, (checkpoint,) = load_plan(directory), (directory / "checkpoints").iterdir()
    fewer = {key: value for key, value in plan.train.items() if key != "keep_checkpoints"}
    plan.changed(train=fewer, model={"path": plan.model["path"]}).write(directory / "export.json")
    CheckpointState.load(checkpoint / "state.json").changed(train=fewer).write(checkpoint / "state.json")
    export(directory, progress=Silence())
    assert RunRecord.load(directory / "run.json").config == fewer


def test_what_is_not_trained_to_its_end_is_not_exported(again: Callable, tmp_path: Path) -> None:
    directory = again("full")
    (checkpoint,) = (directory / "checkpoints").iterdir()
    checkpoint.rename(directory / "elsewhere")
    with pytest.raises(DataError, match="has no checkpoint; only what is trained to its end"):
        export(directory, progress=Silence())
    with pytest.raises(DataError, match=r"has no export\.json; expected the directory of a run"):
        export(tmp_path, progress=Silence())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_finished_run_is_audited_again_on_demand(again: Callable, method: str) -> None:
    directory = again(method)
    before = all_files(directory)
    figures, problems = audit_run(directory, Silence())
    assert problems == []
    same = {"seconds", "share"}
    assert figures.model_dump(exclude=same) == RunRecord.load(directory / "run.json").audit.model_dump(exclude=same)
    assert all_files(directory) == before
    tensors(one_value)(directory / "model")
    _, (problem,) = audit_run(directory, Silence())
    assert problem.startswith(f"tensor '{QUERY}': not the trained values")


def test_a_lost_adapter_is_found_by_an_audit_on_demand(again: Callable) -> None:
    directory = again("lora")
    shutil.rmtree(directory / "adapter")
    _, (problem,) = audit_run(directory, Silence())
    assert problem.startswith("adapter/: peft does not put it on the base model")


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from versatune.schemas.progress import Silence
from versatune.sft_runner import audit, publish
from versatune.sft_runner.train import export

def kill(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function):
    def both(*args, **kwargs):
        function(*args, **kwargs)
        kill()
    return both

torch.set_num_threads(1)
if sys.argv[2] == "written":
    publish.write_model = after(publish.write_model)
elif sys.argv[2] == "half written":
    publish.write_model = lambda config, model, base, made, ends: ((made / "model.safetensors").write_bytes(b"half"), kill())
elif sys.argv[2] == "audited":
    publish.sha256_file = kill
else:
    audit.evaluate = kill
export(Path(sys.argv[1]), progress=Silence())
"""


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("where", ["half written", "written", "in the audit", "audited"])
def test_a_kill_during_export_and_audit_leaves_no_half_model_and_the_same_bytes_come(
    again: Callable, method: str, where: str
) -> None:
    directory = again(method)
    expected = all_files(directory / "model") | all_files(directory / "adapter")
    for name in ("model", "adapter"):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / "run.json").unlink()
    done = subprocess.run([sys.executable, "-c", KILLED, str(directory), where], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not any((directory / name).exists() for name in ("model", "adapter", "run.json"))
    export(directory, progress=Silence())
    assert all_files(directory / "model") | all_files(directory / "adapter") == expected
    assert not list(directory.glob(".*.partial"))
