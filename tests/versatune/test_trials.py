"""Mixtures that were made with --set: written, named, and trained on only by those who ask for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from versatune import stages
from versatune.checks.report import CheckReport
from versatune.schemas.config import load_config
from versatune.schemas.errors import DataError
from versatune.schemas.mixture import MixtureManifest
from versatune.stages import Job, run_all, run_one
from versatune.versions.mixtures import differences, find_mixture, is_trial


class Heard:
    """A listener that keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, task: str, total: float | None, unit: str) -> None: ...
    def advance_to(self, done: float, note: str = "") -> None: ...
    def end(self) -> None: ...
    def say(self, message: str) -> None:
        self.lines.append(message)


class Work:
    """A dataset of 40 rows, a configuration, and a trainer that only notes what it is given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.trained, self.said = folder, [], []
        self.configure()
        module = pytest.importorskip("versatune.sft_runner.train")
        monkeypatch.setattr(module, "run", self._train)
        monkeypatch.setattr(stages, "check", lambda job: CheckReport(stages=[]))
        functions = dict(stages._FUNCTIONS) | {"build": lambda job: next(folder.glob("made/1/manifest.json"))}
        monkeypatch.setattr(stages, "_FUNCTIONS", functions)
        monkeypatch.setattr(stages, "_KEYS", dict(stages._KEYS) | {"build": lambda job: "built"})

    def configure(self, model: dict[str, Any] | None = None, **mix: Any) -> None:
        settings = {"policy": "uniform", "budget": 20, "mixer": {"name": "constant"}} | mix
        value = {"name": "made", "output": ".", "model": model, "mix": settings}
        (self.folder / "c.yaml").write_text(yaml.safe_dump(value))

    def _train(self, config: Any, mixture_path: Path, **_: Any) -> Path:
        self.trained.append(MixtureManifest.load(mixture_path))
        return self.folder / "made" / "run.json"

    def job(self, *overrides: str, mixture: str | None = None) -> Job:
        heard = Heard()
        self.said = heard.lines
        return Job(config=load_config(self.folder / "c.yaml", overrides), beam_args=(), progress=heard, mixture=mixture)

    def mix(self, *overrides: str) -> MixtureManifest:
        return MixtureManifest.load(run_one(self.job(*overrides), "mix"))

    def train(self, *overrides: str, mixture: str | None = None) -> MixtureManifest:
        run_one(self.job(*overrides, mixture=mixture), "train")
        return self.trained[-1]

    def run(self, *overrides: str) -> MixtureManifest:
        run_all(self.job(*overrides))
        return self.trained[-1]


@pytest.fixture
def work(tmp_path: Path, make_version: Any, row: Any, monkeypatch: pytest.MonkeyPatch) -> Work:
    rows = [row(f"answer {n}", row=n, domain=("law", "code")[n % 2]) for n in range(40)]
    make_version(rows=rows, version="1")
    return Work(tmp_path, monkeypatch)


def test_a_trial_is_written_and_named_and_the_newest_mixture_stays(work: Work) -> None:
    newest = work.mix()
    trial = work.mix("mix.budget=10")
    assert trial.budget == 10
    assert any(f"--mixture {trial.digest[:12]}" in line for line in work.said)
    assert work.train().digest == newest.digest
    assert work.train(mixture=trial.digest[:6]).digest == trial.digest
    assert work.train(mixture=str(work.folder / "made" / "mixture" / trial.digest[:12])).digest == trial.digest


def test_training_with_the_same_settings_takes_the_trial(work: Work) -> None:
    work.mix()
    trial = work.mix("mix.budget=10", "seed=4")
    assert work.train("mix.budget=10", "seed=4").digest == trial.digest
    with pytest.raises(DataError, match=r"no mixture of these settings \(mix.budget=11\)"):
        work.train("mix.budget=11")


def test_a_trial_alone_is_named_where_a_newest_mixture_is_missed(work: Work) -> None:
    trial = work.mix("mix.budget=10")
    with pytest.raises(DataError, match=rf"only some that were made with --set \({trial.digest[:12]}"):
        work.train()


def test_a_trial_that_changes_nothing_is_the_newest_mixture(work: Work) -> None:
    newest = work.mix()
    assert work.mix("mix.budget=20").digest == newest.digest
    assert work.said == []


def test_a_mixture_that_is_named_may_be_trained_with_another_seed(work: Work) -> None:
    newest = work.mix()
    with pytest.raises(DataError, match="name a mixture with --mixture"):
        work.train("seed=4")
    assert work.train("seed=4", mixture=newest.digest[:8]).digest == newest.digest


def test_mix_compares_the_rows_with_the_model(
    work: Work, make_version: Any, row: Any, tiny_model: Path, tmp_path: Path
) -> None:
    make_version(rows=[row(f"a {n}", row=n) for n in range(9)], version="3", tokenized=True)
    shutil.copytree(tiny_model, tmp_path / "model")
    work.configure(model={"path": "model"})
    work.mix()
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(settings | {"pad_token_id": 512}))
    with pytest.raises(DataError, match="pad_token_id is 512"):
        work.mix()


def test_other_settings_make_no_trial(work: Work) -> None:
    newest = work.mix("train.dtype=float32", "build.workers=1")
    assert work.train().digest == newest.digest


def test_run_trains_on_the_mixture_of_its_own_settings_and_the_next_one_on_its_own(work: Work) -> None:
    first = work.run()
    trial = work.run("mix.budget=10")
    assert (first.budget, trial.budget) == (20, 10)
    assert work.train().digest == first.digest
    assert work.run().digest == first.digest
    assert "mix: complete and unchanged" in " ".join(work.said)


def test_a_trial_that_the_file_takes_over_becomes_the_newest(work: Work) -> None:
    work.mix()
    trial = work.mix("mix.budget=10")
    work.configure(budget=10)
    assert work.mix().digest == trial.digest == work.train().digest


def test_training_says_what_it_takes_and_every_difference(work: Work) -> None:
    mixture = work.mix()
    work.train()
    (line,) = work.said
    assert line.startswith(
        f"train: mixture {mixture.digest[:12]}, made {mixture.created_at}: policy uniform, 4 segments of 20 rows"
    )
    assert line.endswith(f"of dataset made 1, digest {mixture.dataset_digest[:12]}")
    work.configure(budget=30, mixer={"name": "versatune_dynamic"})
    work.train()
    (line,) = work.said[1:]
    assert "mix.budget is 20 there and 30 here" in line
    assert "mix.mixer.name is constant there and versatune_dynamic here" in line
    assert "versatune mix CONFIG" in line


def test_training_says_that_there_is_a_newer_dataset(work: Work, make_version: Any, row: Any) -> None:
    work.mix()
    make_version(rows=[row("another", row=0)], version="2")
    work.train()
    assert any(
        "the newest dataset version is 2" in line and "the mixture is of version 1" in line for line in work.said
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "keys"),
    [
        ({"policy": "explicit", "weights": {"law": 1.0}}, {"policy": "explicit", "weights": {"code": 1.0}}, ["mix.weights"]),
        ({"policy": "explicit", "weights": {"law": 1.0}}, {"policy": "explicit", "weights": {"law": 1.0}}, []),
        ({"policy": "proportional"}, {}, ["mix.policy"]),
        ({"mixer": {"name": "versatune_expansion", "target": "law"}}, {"mixer": {"name": "versatune_expansion", "target": "law"}}, []),
    ],
)  # fmt: skip
def test_differences_are_those_of_the_settings(
    work: Work, ours: dict[str, Any], theirs: dict[str, Any], keys: list[str]
) -> None:
    work.configure(**theirs)
    mixture = work.mix()
    work.configure(**ours)
    assert [line.split(" is ")[0] for line in differences(work.job().config, mixture)] == keys


def test_a_digest_that_fits_none_or_several_is_refused(work: Work) -> None:
    with pytest.raises(DataError, match="there is none in"):
        work.train(mixture="abc")
    digests = [work.mix(f"mix.budget={budget}").digest for budget in range(1, 20)]
    shared = next(d[0] for d in digests if sum(other[0] == d[0] for other in digests) > 1)
    with pytest.raises(DataError, match="give more digits"):
        work.train(mixture=shared)
    with pytest.raises(DataError, match=r"mixture has .* and 14 more"):
        work.train(mixture="no digest")
    assert find_mixture(work.folder / "made" / "mixture", digests[0].upper())


@pytest.mark.parametrize(
    ("overrides", "trial"),
    [((), False), (("mix.budget=2",), True), (("mix={}",), True), (("seed=2",), True), (("name=mix",), False)],
)
def test_a_trial_is_what_changes_a_mixture(work: Work, overrides: tuple[str, ...], trial: bool) -> None:
    assert is_trial(work.job(*overrides).config) == trial
