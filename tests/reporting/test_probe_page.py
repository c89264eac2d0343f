"""The probe's page: complete, safe, the same every time."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from versatune.reporting.probe_page import answer, why_stopped, write_probe_page
from versatune.reporting.samples import samples_to_read
from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.files import sha256_file
from versatune.schemas.probe import Look, ProbeReport, Rounds
from versatune.schemas.visible import visible

Make = Callable[..., Path]


def _page(file: Path) -> str:
    return write_probe_page(file).read_text()


def _shown(page: str) -> str:
    """What a reader sees, on one line."""
    return " ".join(
        html.unescape(re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)).split()
    )


def test_the_page_tells_everything_and_is_found_by_directory_or_file(make_probe: Make, tmp_path: Path) -> None:
    file = make_probe(tmp_path, rejects={"too_short": 5, "repetitive": 3})
    report = ProbeReport.load(file)
    assert write_probe_page(tmp_path) == write_probe_page(file) == tmp_path / "probe.html"
    shown = _shown(_page(file))
    largest = max(report.distribution)
    for text in (
        f"The largest domain of SmolLM2-135M-Instruct is general: {largest:.1%}",
        f"That is the soft estimate; the others say {report.estimates[1].shares[5]:.1%} (hard)",
        "Grey bands",
        "120 samples were drawn and 112 count. The probe stopped because every planned sample was drawn.",
        "8 of 120 samples do not count: 3 repetitive, 5 too short.",
        "allow for sampling only, not for the classifier's own errors",
        "1.2% of the counted samples reached the limit of 96 tokens",
        "all 3 planned looks",
        "3 rounds in numbers",
        "vllm 0.32.0",
        report.digest,
        report.model.weights_sha256,
        report.classifier_sha256,
    ):
        assert str(text) in shown
    for estimate in report.estimates:
        for share, lower, upper in zip(estimate.shares, estimate.lower, estimate.upper, strict=True):
            assert f"{share:.1%} {lower:.1%} to {upper:.1%}" in shown


def test_without_a_target_intervals_are_of_the_last_look_alone(make_probe: Make, tmp_path: Path) -> None:
    rounds = Rounds(samples_per_round=40, min_rounds=1, max_rounds=3, half_width=None, max_change=0.01)
    shown = _shown(_page(make_probe(tmp_path, rounds=rounds)))
    assert "All intervals hold together, for all domains, with probability 95 %; they allow for" in shown
    assert "planned looks" not in shown


def test_nothing_is_fetched_and_nothing_runs_whatever_the_texts_say(make_probe: Make, tmp_path: Path) -> None:
    hostile = '</div><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\x1b[2J\x00\u202e"'
    file = make_probe(
        tmp_path,
        texts=[hostile],
        domains=("<b>law</b>", "$x$", "${code}"),
        truth=(1, 1, 1),
        environment={"<i>engine</i>": ["<script>x</script>", {"a_b": 1.5, "c": None, "d": True, "e": []}]},
        rejected={"<reason>": 0},
        prompt_token="<s>",
    )
    page = _page(file)
    assert "default-src 'none'" in page
    tags = _Tags()
    tags.feed(page)
    assert tags.names <= {*_PAGE_TAGS, *_SVG_TAGS}
    assert not {name for name, _ in tags.attributes if name.startswith("on") or name in ("src", "style-src", "action")}
    assert all(value.startswith("#") for name, value in tags.attributes if name.endswith("href"))
    assert not set("\x00\x1b\u202e") & set(page)
    shown = _shown(page)
    assert "<script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}[U+001B][2J[U+0000][U+202E]" in shown
    assert "<script>x</script>, a b 1.5, c –, d yes, e –" in shown


_PAGE_TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "h1",
    "h2",
    "h3",
    "p",
    "dl",
    "div",
    "dt",
    "dd",
    "section",
    "figure",
    "figcaption",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "i",
    "small",
    "code",
    "span",
    "strong",
    "details",
    "summary",
}
_SVG_TAGS = {
    "svg",
    "metadata",
    "rdf:rdf",
    "cc:work",
    "dc:type",
    "dc:format",
    "cc:agent",
    "dc:creator",
    "dc:title",
    "defs",
    "g",
    "path",
    "use",
    "text",
    "rect",
    "clippath",
}


class _Tags(HTMLParser):
    """Every tag and attribute that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


def test_the_same_report_gives_the_same_bytes(make_probe: Make, tmp_path: Path) -> None:
    assert _page(make_probe(tmp_path / "a")) == _page(make_probe(tmp_path / "b"))


def test_an_estimate_that_is_refused_is_named_with_the_reason(make_probe: Make, tmp_path: Path) -> None:
    file = make_probe(tmp_path, names=("soft", "hard", "em"), refused={"corrected": "it cannot be undone here"})
    assert "Not given here: it cannot be undone here" in _shown(_page(file))


@pytest.mark.parametrize("chosen", ["soft", "hard", "corrected", "em"])
def test_any_estimate_may_be_the_chosen_one(make_probe: Make, tmp_path: Path, chosen: str) -> None:
    shown = _shown(_page(make_probe(tmp_path, chosen=chosen)))
    assert f"{chosen}, the chosen one" in shown
    assert f"Shown is the {chosen} estimate" in shown


@pytest.mark.parametrize("k", [1, 2, 23])
def test_one_look_and_any_number_of_domains_can_be_drawn(make_probe: Make, tmp_path: Path, k: int) -> None:
    names = [f"d{j} {'long ' * 12}" for j in range(k)]
    file = make_probe(tmp_path, domains=names, truth=[1.0] * k, samples=30, per_round=30)
    shown = _shown(_page(file))
    assert "1 round in numbers" in shown
    assert "Grey bands" not in shown
    assert names[-1].strip() in shown


def test_an_endpoint_has_an_address_and_no_digest(make_probe: Make, tmp_path: Path) -> None:
    model = {"name": "m", "revision": "main", "weights_sha256": None, "endpoint": "http://host:8000/v1"}
    shown = _shown(_page(make_probe(tmp_path, model=model, environment={})))
    assert "m, revision main" in shown
    assert "endpoint http://host:8000/v1" in shown
    assert "model digest" not in shown
    assert "tokens a second" not in shown


def test_a_domain_shows_all_of_one_or_two_samples_and_says_so_of_none(make_probe: Make, tmp_path: Path) -> None:
    file = make_probe(tmp_path, domains=("law", "code", "x"), truth=(1, 1e-9, 1e-9), samples=40, sharpness=90.0)
    samples = samples_to_read(tmp_path / "generations.parquet", ProbeReport.load(file))
    assert (len(samples["law"]), samples["code"], samples["x"]) == (3, [], [])
    assert "No counted sample has this as its most probable domain." in _shown(_page(file))


def test_the_samples_to_read_stand_a_tenth_a_half_and_nine_tenths_down_the_list(
    make_probe: Make, tmp_path: Path
) -> None:
    report = ProbeReport.load(make_probe(tmp_path, rejects={"too_short": 30}, texts=[f"text {i}" for i in range(120)]))
    rows = pq.read_table(tmp_path / "generations.parquet").to_pylist()
    samples = samples_to_read(tmp_path / "generations.parquet", report)
    for j, domain in enumerate(report.domains):
        mine = [
            row for row in rows if row["reject"] == "" and max(row["domain_probs"]) == row["domain_probs"][j]
        ]  # fmt: skip
        mine.sort(key=lambda row: (-row["domain_probs"][j], row["index"]))
        expected = sorted({int(place * (len(mine) - 1) + 0.5) for place in (0.1, 0.5, 0.9)})
        assert [sample.index for sample in samples[domain]] == [mine[i]["index"] for i in expected]
        for sample in samples[domain]:
            assert sample.text == f"text {sample.index}"
            assert sample.probability == rows[sample.index]["domain_probs"][j]
            assert sample.undetermined == (sample.probability < 0.45)


def test_a_long_text_is_cut_and_says_how_much_is_missing(make_probe: Make, tmp_path: Path) -> None:
    page = _page(make_probe(tmp_path, texts=["\n  \tline one\n" + "y" * 1_000_000]))
    assert '<div dir="auto">\n  \tline one\n' in page  # blanks stay
    assert f"{1_000_000 + 13 - 600:,} more characters" in page
    assert len(page) < 500_000


def test_invisible_characters_are_shown_and_scripts_keep_their_joiners() -> None:
    assert visible("a\r\n\tb\u00a0c\u3000d") == "a[U+000D]\n\tb\u00a0c\u3000d"
    assert visible("\x00\x7f\x85\u200b\u2028\ufeff\U000e0041") == "".join(
        f"[U+{code}]" for code in ("0000", "007F", "0085", "200B", "2028", "FEFF", "E0041")
    )
    joined = "👩\u200d🔬 می\u200cخواهم é"
    assert visible(joined) == joined


def test_the_answer_says_when_another_domain_may_come_first(make_probe: Make, tmp_path: Path) -> None:
    def said(**values: Any) -> str:
        report = ProbeReport.load(make_probe(tmp_path, domains=("a", "b", "c"), truth=(1, 1, 1)))
        estimate = report.estimate.model_copy(update={"shares": [0.2, 0.5, 0.3], **values})
        return answer(report.model_copy(update={"estimates": [estimate]}))

    assert said(lower=[0.1, 0.45, 0.2], upper=[0.3, 0.55, 0.4]).endswith(
        "is b: 50.0% of its documents (45.0% to 55.0%)."
    )
    assert "though c may come first: the intervals overlap" in said(lower=[0.1, 0.4, 0.2], upper=[0.3, 0.6, 0.41])
    assert "though c or a may come first" in said(lower=[0.1, 0.2, 0.2], upper=[0.3, 0.6, 0.41])


def test_the_reason_for_the_end_is_precision_or_the_budget(make_probe: Make, tmp_path: Path) -> None:
    look = Look(
        round=4, samples=400, counted=390, shares=[1.0], half_widths=[0.0098], change=0.001, stop=True
    )  # fmt: skip
    rounds = Rounds(samples_per_round=100, min_rounds=3, max_rounds=20, half_width=0.01, max_change=0.005)
    report = ProbeReport.load(make_probe(tmp_path, looks=[look], rounds=rounds, stopped_by="precision"))
    assert "after round 4 of 20" in why_stopped(report)
    assert "±0.98 points" in why_stopped(report)
    assert "more than 0.5 points" in why_stopped(report)
    report = report.model_copy(
        update={"stopped_by": "budget", "rounds": rounds.model_copy(update={"half_width": None})}
    )
    assert why_stopped(report).endswith("Sampling alone leaves ±0.98 points at most.")


def test_missing_or_foreign_generations_are_named(make_probe: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"probe\.json: no such file"):
        write_probe_page(tmp_path)
    file = make_probe(tmp_path)
    generations = tmp_path / "generations.parquet"
    make_probe(tmp_path / "other", domains=("a", "b"), truth=(1, 1), samples=7)
    for content in (b"PAR1", (tmp_path / "other" / "generations.parquet").read_bytes()):
        generations.write_bytes(content)
        with pytest.raises(IntegrityError, match=r"generations\.parquet: is not the file that .*probe\.json pins"):
            write_probe_page(file)
        ProbeReport.load(file).changed(generations_sha256=sha256_file(generations)).write(file)
        with pytest.raises(DataError, match="cannot be read as a probe's generations"):
            write_probe_page(file)
    generations.unlink()
    with pytest.raises(DataError, match="missing"):
        write_probe_page(file)
