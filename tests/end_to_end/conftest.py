"""Build a small input through the command line, and see what became of it: rows, learned text, rejects, manifest, words on the terminal."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from versatune.schemas.config import load_config
from versatune.schemas.progress import Silence
from versatune.transforms.engines.engine import Generation, Outcome, Sample

CASES = Path(__file__).parents[1] / "cases"


@dataclass(frozen=True, kw_only=True)
class Built:
    """What `versatune build` did."""

    exit_code: int
    said: str
    """Standard error: progress, notices, the error if there was one."""
    folder: Path
    """Where the configuration is; its version, if it was written, lies in out/."""
    manifest: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Every written row, all columns, and ``split``; in the order of the files."""
    rejects: list[dict[str, Any]] = field(default_factory=list)
    tokenizer: Path | None = None

    @property
    def turns(self) -> list[list[tuple[str, str]]]:
        """Each written row's (role, content) pairs."""
        return [[(turn["role"], turn["content"]) for turn in row["messages"]] for row in self.rows]

    @property
    def answers(self) -> list[str]:
        """The last content of every written row, sorted."""
        return sorted(turns[-1][1] for turns in self.turns)

    @property
    def reasons(self) -> list[str]:
        """Why rows were rejected, sorted."""
        return sorted(reject["reason"] for reject in self.rejects)

    def learned(self, row: dict[str, Any]) -> str:
        """Return the text that loss falls on, from the token ids."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokenizer))
        ids = [i for i, scored in zip(row["input_ids"], row["loss_mask"], strict=True) if scored]
        return str(tokenizer.decode(ids, skip_special_tokens=False))

    def text(self, row: dict[str, Any]) -> str:
        """Return all of a row's text, from the token ids."""
        from tokenizers import Tokenizer

        return str(Tokenizer.from_file(str(self.tokenizer)).decode(row["input_ids"], skip_special_tokens=False))


def run_cli(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command of versatune in this process; return the exit code, standard output and standard error."""
    from versatune.cli.app import app

    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="session")
def cli() -> Callable[..., tuple[int, str, str]]:
    """:func:`run_cli`."""
    return run_cli


@pytest.fixture
def build_config(tmp_path: Path) -> Callable[..., Built]:
    """Build a configuration file and read everything that was written."""
    return _built


@pytest.fixture
def build_folder(tmp_path: Path) -> Callable[..., Built]:
    """Build the c.yaml of ``tests/cases/folders/NAME`` in a copy; keywords change the top level of the configuration."""

    def build(name: str, **changes: Any) -> Built:
        where = tmp_path / "folders" / name
        shutil.copytree(CASES / "folders" / name, where)
        shutil.copytree(CASES / "models", tmp_path / "folders" / "models", dirs_exist_ok=True)
        config = yaml.safe_load((where / "c.yaml").read_text()) | changes
        (where / "c.yaml").write_text(yaml.safe_dump(config))
        return _built(where / "c.yaml")

    return build


@pytest.fixture
def build_files(tmp_path: Path) -> Callable[..., Built]:
    """Build files of ``tests/cases/files`` as one source without a model; keywords are options of the source."""

    def build(*names: str, build: dict[str, Any] | None = None, **options: Any) -> Built:
        where = tmp_path / "files"
        where.mkdir()
        for name in names:
            copy = shutil.copytree if (CASES / "files" / name).is_dir() else shutil.copy
            copy(CASES / "files" / name, where / name)
        source = {"name": "s", "license": "CC0-1.0", "domain": "general", "files": list(names)} | options
        config = {
            "name": "d",
            "output": "out",
            "sources": [source],
            "build": {"validation_fraction": 0.0, "max_rejected_fraction": 1.0} | (build or {}),
        }
        (where / "c.yaml").write_text(yaml.safe_dump(config))
        return _built(where / "c.yaml")

    return build


def _built(config: Path) -> Built:
    code, _, said = run_cli("build", config, "--json")
    folder = config.parent
    value = yaml.safe_load(config.read_text())
    home = folder / value.get("output", "out") / value["name"]
    if code or not (home / "latest.json").is_file():
        left = sorted((home / "rejected").glob("**/*.parquet"))
        return Built(exit_code=code, said=said, folder=folder, rejects=_table_rows(left))
    file = home / json.loads((home / "latest.json").read_text())["path"]
    manifest = json.loads(file.read_text())
    model = value.get("model", {}).get("path")
    return Built(
        exit_code=code,
        said=said,
        folder=folder,
        manifest=manifest,
        rows=list(_rows(file.parent, manifest)),
        rejects=_table_rows([file.parent / part["path"] for part in manifest["rejects"]]),
        tokenizer=(folder / model / "tokenizer.json") if model else None,
    )


def _table_rows(files: list[Path]) -> list[dict[str, Any]]:
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def _rows(folder: Path, manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for shard in manifest["shards"]:
        for row in _table_rows([folder / shard["path"]]):
            yield row | {"split": shard["split"]}


class _Writer:
    """An engine without a model."""

    about: ClassVar[dict[str, Any]] = {"engine": "fake"}

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        subjects = (
            "The court held that the contract was void.",
            "The patient's fever fell.",
            "def add(a, b): return a + b",
        )
        yield [Generation(s.index, s.seed, f"{subjects[s.seed % 3]} {s.seed}", 9, "length") for s in samples]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, quickstart: dict[str, Any]) -> Path:
    """The configuration of a small run that has been through every stage; its outputs are in ``out/quickstart`` beside it. Copy before you change."""
    pytest.importorskip("torch")
    from versatune.pipelines.probe import run_with
    from versatune.reporting.page import write_report
    from versatune.reporting.probe_page import write_probe_page
    from versatune.stages import Job, run_one

    value = copy.deepcopy(quickstart) | {"output": "out", "probe": {"samples": 24, "max_new_tokens": 16}}
    value["build"]["near_duplicates"] = {"enabled": True}
    value["mix"] |= {"segments": 1, "budget": 12}
    value["train"] |= {"method": "lora", "learning_rate": 0.01, "checkpoint_steps": 1, "keep_checkpoints": 2}
    value["train"]["reference"] |= {"max_rows": 4, "evals_per_epoch": 1}
    file = tmp_path_factory.mktemp("finished") / "loop.yaml"
    file.write_text(yaml.safe_dump(value))
    config = load_config(file)
    job = Job(config=config, beam_args=(), progress=Silence())
    run_one(job, "build")
    write_probe_page(run_with(config, lambda plan: _Writer, progress=Silence()))
    run_one(job, "mix")
    write_report(run_one(job, "train"))
    return file
