"""The part of the page about the dataset: its books, what cleaning did, what was refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import DictLoader, Environment, PackageLoader, StrictUndefined

from tests.records import TEMPLATE
from versatune.reporting import page, plots
from versatune.schemas.dataset import BenchmarkRecord, DecontaminationRecord, InputFile, SourceBooks
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.schemas.template_record import TurnEnd


@pytest.fixture
def dataset() -> Any:
    books = SourceBooks(
        source="<b>one</b>", read=8, expanded=2, written={"law": 4}, duplicates={"law": 1}, near_duplicates={"law": 2},
        undetermined={"law": 1}, rejected={"read.not_json": 3}, counts={"pii.email": 7},
    )  # fmt: skip
    refused = InputFile(source="one", uri="x", bytes=1, sha256="", rows=0, license="MIT", refused="x: damaged <i>")
    looked_for = DecontaminationRecord(
        digest="0", benchmarks=[BenchmarkRecord(name="arc", items=9, too_short=0, hits=5)]
    )
    return SimpleNamespace(
        taxonomy=DEFAULT_TAXONOMY, books=[books], inputs=[refused], decontamination=looked_for,
        classifier=SimpleNamespace(undetermined_below=0.45), undetermined_shares={"law": 0.25, "code": None},
        cut_rows=2, cut_tokens=1500, rows_that_lose_thoughts=3,
        tokenizer=SimpleNamespace(max_tokens=512, template=TEMPLATE.model_copy(update={"answer": TurnEnd(token=None)})),
    )  # fmt: skip


def test_duplicates_near_duplicates_and_rejects_are_drawn_apart(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(
        plots, "stacked_rows", lambda sources, parts, colours: drawn.update(parts=parts, colours=colours)
    )
    page._books(dataset)
    assert {name: rows for name, rows in drawn["parts"].items() if rows != [0]} == {
        "law": [4], "duplicates": [1], "near-duplicates": [2], "rejected": [3],
    }  # fmt: skip
    assert len(drawn["colours"]) == len(set(drawn["colours"])) == len(drawn["parts"])


def test_the_books_are_a_table_and_everything_is_escaped(dataset: Any) -> None:
    template = PackageLoader("versatune.reporting").get_source(Environment(), "report.html.j2")[0]
    section = template[template.index("<h2>What became") : template.index("<h2>Where it comes from")]
    environment = Environment(loader=DictLoader({"x": section}), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"thousands": lambda n: f"{n:,}", "share": lambda x: f"{x:.1%}"}
    shown = " ".join(environment.get_template("x").render(dataset=dataset, figures={"books": "figure"}).split())
    assert "<td>&lt;b&gt;one&lt;/b&gt;</td><td>8</td><td>2</td> <td>4</td><td>1</td> <td>2</td><td>3</td>" in shown
    assert "pii.email 7" in shown
    assert "arc 5" in shown
    assert "2 written rows were cut at build.max_tokens = 512; at least 1,500" in shown
    assert '<p class="warning">no token ends an answer (chat template of model m), so nothing teaches' in shown
    assert "3 rows have thoughts that the chat template (of model m) does not write" in shown
    assert "(no probability reaches 0.45): law 25.0%." in shown
    assert "Refused: x: damaged &lt;i&gt;" in shown


def test_the_probe_tells_its_threshold_and_how_many_generations_lie_below() -> None:
    template = PackageLoader("versatune.reporting").get_source(Environment(), "report.html.j2")[0]
    section = template[template.index("{% if probe %}\n<section>") : template.index("<section>\n<h2>What became")]
    environment = Environment(loader=DictLoader({"x": section}), autoescape=True, undefined=StrictUndefined)
    environment.filters["thousands"] = lambda n: f"{n:,}"
    probe = SimpleNamespace(
        samples=24, counted=23, rejected={}, model=SimpleNamespace(name="m"), prompt_token="<s>", alpha=0.05,
        undetermined=7, undetermined_below=0.45, estimate=SimpleNamespace(covers="sampling"),
    )  # fmt: skip
    shown = " ".join(environment.get_template("x").render(probe=probe, figures={"probe": "figure"}).split())
    assert "7 of the counted ones have no domain that can be relied on (no probability reaches 0.45)." in shown
    assert "they allow for sampling, not for the classifier's own errors" in shown
