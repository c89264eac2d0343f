"""The public Python interface: what loads when, what it reads, and what a type checker says of a user's program."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import versatune
from versatune.schemas.dataset import DatasetManifest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | ({} if sys.flags.isolated else {"PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)})


def python(code: str, folder: Path) -> str:
    """Run a program in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, cwd=folder, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def version(make_version: Any, row: Any) -> Path:
    """A version with 40 rows in three domains, tokenized."""
    return make_version(
        rows=[row(f"answer {n}", row=n, domain=("law", "code", "general")[n % 3]) for n in range(40)], tokenized=True
    )


def test_importing_versatune_loads_nothing_but_the_standard_library(tmp_path: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import versatune\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    assert python(code, tmp_path) == "['versatune']"


def test_reading_needs_neither_beam_nor_torch(version: Path) -> None:
    code = (
        "import sys, versatune\n"
        "rows = sum(batch.num_rows for batch in versatune.iter_batches('.'))\n"
        "versatune.read_dataset('.'), versatune.VersatuneError, versatune.load_config\n"
        "print(rows > 0, {'apache_beam', 'torch', 'vllm', 'transformers', 'fasttext'} & set(sys.modules))"
    )
    assert python(code, version) == "True set()"


def test_the_schemas_alone_read_every_document_without_beam_or_torch(tmp_path: Path) -> None:
    """A second reader of our manifests needs ``versatune.schemas`` and nothing heavier."""
    code = (
        "import importlib, pkgutil, sys, versatune.schemas as room\n"
        "for found in pkgutil.iter_modules(room.__path__): importlib.import_module(f'versatune.schemas.{found.name}')\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('versatune.')}\n"
        "print(rooms, {'apache_beam', 'torch', 'vllm', 'transformers', 'fasttext'} & set(sys.modules))"
    )
    assert python(code, tmp_path) == "{'schemas'} set()"


def test_every_public_name_is_there_and_listed() -> None:
    from versatune import interface

    assert all(getattr(versatune, name) is getattr(interface, name) for name in interface.__all__)
    assert dir(versatune) == sorted(interface.__all__)
    namespace: dict[str, Any] = {}
    exec("from versatune import *", namespace)
    assert set(interface.__all__) <= set(namespace)


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'bild'; it has .*build"):
        versatune.bild  # noqa: B018
    assert not hasattr(versatune, "__wrapped__")


def test_the_version_is_the_distributions() -> None:
    assert versatune.__version__ == "0.1.0"


def test_batches_hold_every_training_row_once_in_the_order_of_the_manifest(version: Path) -> None:
    manifest = versatune.read_dataset(version)
    batches = list(versatune.iter_batches(version, batch_rows=4))
    assert all(isinstance(batch, pa.RecordBatch) and 0 < batch.num_rows <= 4 for batch in batches)
    domains = [domain for batch in batches for domain in batch.column("domain").to_pylist()]
    expected = [(shard.domain, shard.rows) for shard in manifest.shards if shard.split == "train"]
    assert domains == [domain for domain, rows in expected for _ in range(rows)]
    ids = [identity for batch in batches for identity in batch.column("id").to_pylist()]
    held = [i for batch in versatune.iter_batches(version, split="validation") for i in batch.column("id").to_pylist()]
    assert len({*ids, *held}) == len(ids) + len(held) == 40
    assert held


def test_batches_of_one_domain_and_some_columns(version: Path) -> None:
    batches = list(versatune.iter_batches(version / "manifest.json", domain="law", columns=["num_tokens", "id"]))
    rows = sum(s.rows for s in versatune.read_dataset(version).shards if (s.split, s.domain) == ("train", "law"))
    assert sum(batch.num_rows for batch in batches) == rows
    assert batches[0].schema.names == ["num_tokens", "id"]


def test_an_alias_of_a_domain_is_that_domain(version: Path) -> None:
    assert next(versatune.iter_batches(version, domain="other")).column("domain")[0].as_py() == "general"


def test_a_domain_without_rows_has_no_batches(version: Path) -> None:
    assert list(versatune.iter_batches(version, domain="finance")) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "test"}, versatune.UsageError, "split is 'test'; expected one of train, validation"),
        ({"domain": "lawe"}, versatune.ConfigError, "unknown domain 'lawe'; did you mean 'law'?"),
        ({"columns": ["num_token"]}, versatune.DataError, "has no column 'num_token'; did you mean 'num_tokens'?"),
        ({"columns": "id"}, versatune.UsageError, "columns is 'id'; expected a list of names, such as ['id']"),
        (
            {"columns": ["x"], "domain": "finance"},
            versatune.DataError,
            "has no column 'x'",
        ),  # of which there are no rows
        ({"batch_rows": 0}, versatune.UsageError, "batch_rows is 0; expected a whole number of at least 1"),
        ({"batch_rows": 1.5}, versatune.UsageError, "batch_rows is 1.5; expected a whole number"),
    ],
)
def test_what_cannot_be_read_is_said_at_the_call(version: Path, arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        versatune.iter_batches(version, **arguments)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(("damage", "message"), [(_cut, "the manifest says"), (Path.unlink, "missing")])
def test_a_damaged_shard_is_refused_before_the_first_batch(
    version: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(version / versatune.read_dataset(version).shards[-1].path)
    with pytest.raises(versatune.IntegrityError, match=message):
        versatune.iter_batches(version, split=versatune.read_dataset(version).shards[-1].split)


def test_the_newest_version_is_read_from_its_dataset(version: Path) -> None:
    assert versatune.read_dataset(version.parent) == versatune.read_dataset(version)
    assert list(versatune.iter_batches(version.parent))


def test_a_probe_is_read_from_its_file_its_directory_its_home_and_its_configuration(
    tmp_path: Path, make_probe: Any
) -> None:
    from versatune.schemas.pointer import write_pointer

    home = tmp_path / "out" / "mine" / "probe"
    file = make_probe(home / "abc")
    report = versatune.read_probe(file)
    write_pointer(home / "latest.json", "abc/probe.json", report.digest)
    (tmp_path / "my.yaml").write_text("name: mine\noutput: out\nsources: [{name: s, files: [rows.jsonl]}]\n")
    for where in (file.parent, home, tmp_path / "my.yaml", str(tmp_path / "my.yaml")):
        assert versatune.read_probe(where) == report


def test_batches_are_read_also_when_the_program_has_changed_its_directory(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(version)
    batches = versatune.iter_batches(".", columns=iter(["id"]))
    monkeypatch.chdir(tmp_path)
    assert next(batches).schema.names == ["id"]


def test_a_file_in_the_place_of_a_folder_is_told_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "latest.json").mkdir()
    with pytest.raises(versatune.DataError, match=r"latest.json: cannot be read"):
        versatune.read_run(tmp_path)


@pytest.mark.parametrize("stage", ["build", "probe", "mix", "train"])
def test_a_stage_wants_a_configuration_and_says_so(stage: str) -> None:
    with pytest.raises(versatune.UsageError, match=r"config is 'my.yaml'; expected what versatune.load_config"):
        getattr(versatune, stage)("my.yaml")


def test_one_override_or_flag_may_be_given_without_a_list(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("name: mine\nsources: [{name: s, files: [rows.jsonl]}]\n")
    config = versatune.load_config(tmp_path / "my.yaml", "name=other")
    assert config.name == "other"
    (tmp_path / "rows.jsonl").write_text("{}\n")
    with pytest.raises(versatune.ConfigError, match="Beam knows no flag --runer"):
        versatune.build(config, beam_args="--runer=x")


def test_an_output_that_may_not_be_written_is_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> Path:  # as the system does; root, who may run the tests, is never refused
        raise PermissionError(errno.EACCES, "Permission denied", "/out")

    (tmp_path / "rows.jsonl").write_text('{"question": "Why?", "answer": "Because."}\n')
    (tmp_path / "my.yaml").write_text("name: mine\noutput: out\nsources: [{name: s, files: [rows.jsonl]}]\n")
    monkeypatch.setattr("versatune.stages._FUNCTIONS", {"build": refuse})
    with pytest.raises(versatune.UsageError, match=r"build: /out: Permission denied; give 'output' a place"):
        versatune.build(versatune.load_config(tmp_path / "my.yaml"))


@pytest.mark.parametrize(
    ("read", "command"),
    [("read_probe", "probe"), ("read_mixture", "mix"), ("read_run", "train"), ("read_dataset", "build")],
)
def test_a_reader_that_finds_nothing_says_what_makes_it(tmp_path: Path, read: str, command: str) -> None:
    with pytest.raises(versatune.DataError, match=f"run `versatune {command} CONFIG` first"):
        getattr(versatune, read)(tmp_path)
    with pytest.raises(versatune.DataError, match=rf"no such version|run `versatune {command} CONFIG` first"):
        getattr(versatune, read)(tmp_path / "nowhere")


def test_a_reader_refuses_another_kind_of_document(version: Path) -> None:
    with pytest.raises(versatune.DataError, match="expected 'versatune/run'"):
        versatune.read_run(version / "manifest.json")


def test_a_document_of_the_format_before_is_refused_by_number_with_what_makes_it_anew(version: Path) -> None:
    file = version / "manifest.json"
    file.write_text(file.read_text().replace('"format_version": 5', '"format_version": 4'))
    assert DatasetManifest.FORMAT_VERSION == 5
    with pytest.raises(versatune.DataError, match=r"format_version is 4.* reads version 5 .*`versatune build CONFIG`"):
        versatune.read_dataset(version)


USER = """
from pathlib import Path

import versatune
from versatune import Config, VersatuneError

config: Config = versatune.load_config("my.yaml", ["build.workers=2"])
path: Path = versatune.build(config, beam_args=["--runner=DataflowRunner"])
rows: int = versatune.read_dataset(path).shards[0].rows
after: list[float | None] = versatune.read_run(versatune.train(config)).loss_after
for batch in versatune.iter_batches(path, split="train", domain="law"):
    pass
try:
    versatune.mix(config)
except VersatuneError as error:
    code: int = error.exit_code
"""
WRONG = """
versatune.biuld(config)
versatune.build("my.yaml")
versatune.iter_batches(path, split="test")
"""


def mypy(program: str, folder: Path) -> list[str]:
    """What mypy says of a user's program, without its summary."""
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", sys.executable, "program.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=ENVIRONMENT,
    )
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("program.py")]


@pytest.mark.slow
def test_a_users_program_is_checked_against_our_types(tmp_path: Path) -> None:
    assert mypy(USER, tmp_path) == []
    wrong = mypy(USER + WRONG, tmp_path)
    start = USER.count("\n") + 2
    expected = ['has no attribute "biuld"', 'Argument 1 to "build" has incompatible type "str"', 'Argument "split" to']
    assert len(wrong) == 3
    for number, (line, part) in enumerate(zip(wrong, expected, strict=True)):
        assert line.startswith(f"program.py:{start + number}:") and part in line
