"""`versatune probe` is a command and a group; `versatune probe compare` sets models side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from versatune import stages
from versatune.cli.app import app
from versatune.cli.compare_probes import compare, read_probes, warnings
from versatune.schemas.files import sha256_json
from versatune.schemas.pointer import write_pointer
from versatune.schemas.probe import ModelRecord, ProbeReport

Make = Callable[..., Path]
SMALL, LARGE = (0.08, 0.1, 0.06, 0.16, 0.2, 0.4), (0.02, 0.02, 0.02, 0.02, 0.62, 0.3)


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def _other(name: str = "other") -> ModelRecord:
    return ModelRecord(name=name, revision=None, weights_sha256=sha256_json(name))


@pytest.fixture
def probed(make_probe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A probe that takes no time; what it was given is noted."""
    seen: dict[str, Any] = {}

    def run_one(job: Any, stage: str) -> Path:
        seen.update(stage=stage, samples=job.config.probe.samples, beam=job.beam_args)
        return make_probe(
            tmp_path / "made", rejects={"too_short": 5}, refused={"corrected": "no card"}, names=("soft", "hard", "em")
        )

    monkeypatch.setattr(stages, "run_one", run_one)
    return seen


def _config(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_text("name: toy\nmodel: {path: somewhere}\n")
    return file


@pytest.mark.parametrize("name", ["my.yaml", "compare"])
def test_what_is_no_command_is_the_configuration(
    probed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _config(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    done = _run("probe", f"./{name}", "--set", "probe.samples=512", "--", "--runner=X", "--y=1")
    assert done.exit_code == 0, done.output
    assert probed == {"stage": "probe", "samples": 512, "beam": ("--runner=X", "--y=1")}


def test_options_may_come_before_the_configuration(probed: dict[str, Any], tmp_path: Path) -> None:
    assert _run("probe", "--set", "probe.samples=7", str(_config(tmp_path, "my.yaml")), "--json").exit_code == 0
    assert probed["samples"] == 7


def test_a_stray_word_after_the_configuration_is_refused(probed: dict[str, Any], tmp_path: Path) -> None:
    done = _run("probe", str(_config(tmp_path, "my.yaml")), "compare")
    assert done.exit_code == 2
    assert "unexpected argument 'compare'" in done.output
    assert not probed


def test_help_teaches_both_and_neither_needs_a_configuration() -> None:
    both, one = _run("probe", "--help"), _run("probe", "compare", "--help")
    assert both.exit_code == one.exit_code == 0
    for word in ("CONFIG", "--set", "compare", "probe.html", "./compare"):
        assert word in both.output
    assert "--estimate" in one.output
    assert "--set" not in one.output


@pytest.mark.parametrize("arguments", [("probe",), ("probe", "compare")])
def test_a_missing_argument_is_named(arguments: tuple[str, ...]) -> None:
    done = _run(*arguments)
    assert done.exit_code == 2
    assert "Missing argument" in done.output


def test_the_probe_prints_its_estimates_and_writes_its_page(probed: dict[str, Any], tmp_path: Path) -> None:
    done = _run("probe", str(_config(tmp_path, "my.yaml")))
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    page = tmp_path / "made" / "probe.html"
    assert page.is_file()
    assert f"page: {page}" in done.output
    assert "soft ┃ lower ┃ upper ┃ hard ┃ em" in said
    assert "no corrected estimate: no card" in said
    assert "round 3 of 3 was the last, because every planned sample is drawn" in said
    assert "115 of 120 samples counted" in said


def test_the_summary_for_programs_has_every_estimate(
    probed: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _run("probe", str(_config(tmp_path, "my.yaml")), "--json")
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    report = ProbeReport.load(tmp_path / "made" / "probe.json")
    assert result["distribution"] == pytest.approx(dict(zip(report.domains, report.distribution, strict=True)))
    assert result["intervals"]["law"] == pytest.approx([report.estimate.lower[0], report.estimate.upper[0]])
    assert (result["samples"], result["counted"], result["stopped_by"]) == (120, 115, "budget")
    assert result["tokens_per_second"] == 703.4
    assert result["half_width"] == pytest.approx(max(report.looks[-1].half_widths))
    assert set(result["estimates"]) == {"soft", "hard", "em"}
    assert result["estimates"]["hard"]["covers"] == "sampling"
    assert Path(result["page"]).is_file()


def test_report_writes_the_page_of_a_probe_anew(make_probe: Make, tmp_path: Path) -> None:
    file = make_probe(tmp_path / "made")
    page = tmp_path / "made" / "probe.html"
    for given in (file, file.parent):
        assert _run("report", str(given)).exit_code == 0
        assert page.is_file()
        page.unlink()


@pytest.fixture
def two(make_probe: Make, tmp_path: Path) -> tuple[Path, Path]:
    """Two homes, OUTPUT/NAME, whose models write about different things."""
    homes = (tmp_path / "one", tmp_path / "two")
    for home, truth, model in zip(homes, (SMALL, LARGE), (_other("small"), _other("large")), strict=True):
        file = make_probe(home / "probe" / "d1", truth=truth, model=model, samples=600, seed=len(model.name))
        write_pointer(home / "probe" / "latest.json", "d1/probe.json", ProbeReport.load(file).digest)
    return homes


def test_a_report_its_directory_its_home_and_the_probes_beside_it_mean_the_same(two: tuple[Path, Path]) -> None:
    one = two[0]
    ways = [one, one / "probe", one / "probe" / "d1", one / "probe" / "d1" / "probe.json"]
    probes = read_probes(ways, None)
    assert len({probed.report.digest for probed in probes}) == 1
    assert {difference.total_variation for difference in compare(probes)} == {0.0}
    assert not any(any(difference.beyond_doubt) for difference in compare(probes))


def test_a_difference_is_beyond_doubt_where_its_interval_has_no_zero(two: tuple[Path, Path]) -> None:
    first, second = read_probes(two, None)
    (difference,) = compare([first, second])
    gaps = [b - a for a, b in zip(first.estimate.shares, second.estimate.shares, strict=True)]
    assert difference.shares == pytest.approx(gaps)
    assert difference.total_variation == pytest.approx(sum(map(abs, gaps)) / 2)
    for j, sure in enumerate(difference.beyond_doubt):
        assert difference.lower[j] <= gaps[j] <= difference.upper[j]
        assert sure == (difference.lower[j] > 0 or difference.upper[j] < 0)
    code, general = 4, 5
    assert difference.beyond_doubt[code]
    assert not difference.beyond_doubt[general]
    (back,) = compare([second, first])
    assert back.beyond_doubt == difference.beyond_doubt
    assert back.shares == pytest.approx([-gap for gap in gaps])


def test_the_tables_name_models_shares_and_marks(two: tuple[Path, Path]) -> None:
    done = _run("probe", "compare", *map(str, two))
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert "soft estimate, per cent of documents" in said
    assert "domain ┃ small ┃ large" in said
    assert "difference from small, percentage points" in said
    assert next(line for line in done.output.splitlines() if "code" in line and "+" in line).rstrip(" │").endswith("*")
    first, _ = read_probes(two, None)
    assert f"{100 * first.estimate.shares[0]:.1f} [{100 * first.estimate.lower[0]:.1f}" in said
    assert "warning" not in said
    assert "* beyond doubt: the interval of the difference" in said


def test_where_no_difference_is_beyond_doubt_that_is_said(two: tuple[Path, Path]) -> None:
    said = _run("probe", "compare", str(two[0]), str(two[0])).output
    assert "no difference is beyond doubt: every interval holds 0" in said
    assert "* beyond doubt" not in said


def test_json_and_plot_say_the_same(two: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "models.svg"
    _run("probe", "compare", *map(str, two), "--json", "--estimate", "hard", "--plot", str(plot))
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    first, second = read_probes(two, "hard")
    assert [model["name"] for model in result["models"]] == ["small", "large"]
    assert result["models"][0]["estimate"] == "hard"
    assert result["models"][1]["distribution"]["code"] == pytest.approx(second.estimate.shares[4])
    assert "code" in result["differences"][0]["beyond_doubt"]
    assert result["differences"][0]["from"] == first.name
    assert result["warnings"] == []
    assert result["plot"] == str(plot)
    figure = plot.read_text()
    assert figure.startswith("<svg")
    assert "small" in figure
    assert "large" in figure


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classifier_sha256": "d2" * 32}, "labelled by different classifiers"),
        ({"prompt_token": "<s>", "prompt_token_id": 2}, "started from different tokens, <|im_start|> and <s>"),
        ({"sampling": {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 96}}, "sampled differently: repetition_penalty 1.0 and not given, temperature 1.0 and 0.7"),
        ({"chosen": "em"}, "estimated differently, soft and em"),
        ({"chosen": "em"}, "allow for sampling and for sampling and labels"),
        ({"alpha": 0.01}, "hold with probability 0.95 and 0.99"),
        ({"rejects": {"too_short": 20}}, "0.0% and 16.7% of the samples were left out"),
        ({"model": None}, "same model, sampling and seed"),
    ],
)  # fmt: skip
def test_what_differs_besides_the_model_is_a_warning(
    make_probe: Make, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    first = make_probe(tmp_path / "a")
    changes = {"model": _other(), **changes}
    if changes["model"] is None:
        del changes["model"]
    second = make_probe(tmp_path / "b", **changes)
    found = warnings(read_probes([first, second], None))
    assert any(said in warning for warning in found)
    assert len(found) == (2 if changes.get("chosen") else 1)


def test_models_of_one_name_are_told_apart(make_probe: Make, tmp_path: Path) -> None:
    files = [make_probe(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    names = [probed.name for probed in read_probes(files, None)]
    assert len(set(names)) == 2
    assert all(name.startswith("SmolLM2-135M-Instruct (") for name in names)


def test_a_comparison_that_cannot_be_made_says_why(make_probe: Make, two: tuple[Path, Path], tmp_path: Path) -> None:
    one = str(two[0])
    domains = make_probe(tmp_path / "three", domains=("a", "b"), truth=(1, 1))
    refused = make_probe(tmp_path / "four", names=("soft", "hard"), refused={"corrected": "no card"})
    for arguments, said in (
        ((one,), "1 probe given; expected two or more"),
        ((one, str(domains)), "its domains are a, b"),
        ((one, str(refused), "--estimate", "corrected"), "has no 'corrected' estimate (no card); it has soft, hard"),
        ((one, one, "--estimate", "corect"), "did you mean 'corrected'?"),
        ((one, str(tmp_path)), "holds no probe"),
        ((one, "nowhere"), "nowhere: no such file or directory"),
        ((one, one, "--plot", "x.png"), "expected a name that ends in .svg"),
        ((one, one, "--plot", "nowhere/x.svg"), "there is no directory nowhere"),
    ):
        done = _run("probe", "compare", *arguments)
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
