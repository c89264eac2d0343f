"""Every page and card, with every text in it written by somebody who means harm: nothing runs, nothing is fetched, nothing is hidden."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.records import TEMPLATE
from versatune.reporting import page
from versatune.reporting.probe_page import write_probe_page
from versatune.reporting.template_page import write_template_page
from versatune.schemas.dataset import BenchmarkRecord, DecontaminationRecord, InputFile, SourceBooks
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.shards import dataset_card

RUN = "document.documentElement.setAttribute('data-harmed', '1')"
HOSTILE = (
    f"</title></style></script></div><script>{RUN}</script><img src=x onerror=\"{RUN}\"><svg onload={RUN}><a href='javascript:{RUN}'>x</a>"
    f"<iframe src=https://example.org></iframe><base href=//example.org><meta http-equiv=refresh content=0;url=//example.org>"
    f"[click](javascript:{RUN}) ![i](https://example.org/x.png) <https://example.org> {{{{ 7 * 7 }}}} {{% x %}} ${{x}}$ | ` \"'\\"
    "\x1b[2J\x1b]0;title\x07\x9b31m\x00\u202e\u2066\u200b\ufeff\ud800\u2028---\n---\n# title\n"
)
LONG = "w" * 2**20
UNSEEN = set("\x00\x07\x1b\x9b\u202e\u2066\u200b\ufeff\u2028")
FORBIDDEN = {"script", "iframe", "img", "object", "embed", "form", "base", "link", "audio", "video", "input", "button"}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def check_html(text: str) -> None:
    elements = Elements()
    elements.feed(text)
    assert len(elements.found) > 10
    for tag, attributes in elements.found:
        assert tag not in FORBIDDEN, (tag, attributes)
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "action", "srcdoc")], (
            tag,
            attributes,
        )
        assert (attributes.get("href") or attributes.get("xlink:href") or "#").startswith("#"), (tag, attributes)
        assert tag != "meta" or (attributes.get("http-equiv") or "").lower() != "refresh"
    assert not UNSEEN & set(text)


def check_page(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert len(text) < 2**20  # no word of a megabyte
    check_html(text)
    if BROWSER:
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "data-harmed" not in done.stdout.partition(">")[0] + done.stdout[:500]
        check_html(done.stdout)


def hostile_dataset() -> Any:
    words = {HOSTILE: 3, LONG: 2}
    books = [
        SourceBooks(
            source=name, read=8, expanded=2, written={"law": 4}, duplicates={"law": 1}, near_duplicates={}, undetermined={"law": 1},
            rejected=words, counts={HOSTILE: 7}, cut={"law": 1},
        )
        for name in (HOSTILE, LONG)
    ]  # fmt: skip
    refused = InputFile(source=HOSTILE, uri=HOSTILE, bytes=1, sha256="", rows=0, license=HOSTILE, refused=HOSTILE)
    read = refused.model_copy(update={"refused": ""})
    benchmark = BenchmarkRecord(name=HOSTILE, items=9, too_short=0, hits=5)
    return SimpleNamespace(
        name=HOSTILE, version=HOSTILE, digest=HOSTILE, taxonomy=DEFAULT_TAXONOMY, books=books, inputs=[refused, read],
        shards=[SimpleNamespace(rows=4, licenses=[HOSTILE])], decontamination=DecontaminationRecord(digest="0", benchmarks=[benchmark]),
        classifier=SimpleNamespace(undetermined_below=0.45, sha256=HOSTILE), undetermined_shares={HOSTILE: 0.25},
        cut_rows=2, cut_tokens=1500, rows_that_lose_thoughts=3, code_version=HOSTILE, created_at=HOSTILE,
        tokenizer=SimpleNamespace(
            name=HOSTILE, max_tokens=512, template=TEMPLATE.model_copy(update={"origin": HOSTILE, "answer": TEMPLATE.answer.model_copy(update={"token": None})})
        ),
        totals=lambda split: {domain: {"rows": 1} for domain in DEFAULT_TAXONOMY.domains},
    )  # fmt: skip


def hostile_story(tmp_path: Path) -> Any:
    domains = [HOSTILE, "law"]
    entry = SimpleNamespace(rows=4, requested_weight=0.5, realised_weight=0.5)
    record = SimpleNamespace(
        step=1, checkpoint=0, loss=[1.0, 2.0], loss_se=[0.1, 0.1], loss_tokens=[5, 5], weights=[0.5, 0.5], rows=[2, 2], tokens=[9, 9],
        loss_tokens_drawn=[3, 3], passes=[1.0, 1.0], gamma=[1.0, 1.0], phi=None, warnings=[HOSTILE, LONG],
    )  # fmt: skip
    audit = SimpleNamespace(
        tensors=3, domains=[{"rows": 4}], largest_difference=0.1, tolerance=0.2, seconds=3.0, share=0.1
    )
    run = SimpleNamespace(
        created_at=HOSTILE, segments=1, steps=3, domains=domains, loss_before=[1.0, 2.0], loss_after=[0.5, 2.5], audit=audit,
        reference=SimpleNamespace(losses=[1.0, None], source=HOSTILE), model_sha256=HOSTILE, environment={HOSTILE: HOSTILE, "long": LONG},
    )  # fmt: skip
    mixture = SimpleNamespace(
        name=HOSTILE, policy=HOSTILE, mixer=SimpleNamespace(name=HOSTILE), budget=8, unit=HOSTILE, max_passes=4.0, shortfall=1,
        plan=[entry, entry], digest=HOSTILE, seed=1, domains=domains,
    )  # fmt: skip
    return page.Story(
        directory=tmp_path,
        run=run,
        mixture=mixture,
        dataset=hostile_dataset(),
        probe=None,
        checkpoints=[record, record],  # type: ignore[arg-type]
    )


def test_the_report_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page.render(hostile_story(tmp_path)), encoding="utf-8")
    check_page(file)
    assert "[U+001B][2J" in file.read_text()
    assert "more characters" in file.read_text()


def test_the_page_of_a_probe(make_probe: Callable[..., Path], tmp_path: Path) -> None:
    text = HOSTILE.replace("\ud800", "")
    file = make_probe(
        tmp_path, texts=[text, LONG], domains=(text, "law", "x" * 5000), truth=(1, 1, 1), environment={text: [text]}, rejected={text: 0},
        prompt_token=text,
    )  # fmt: skip
    check_page(write_probe_page(file))


def test_the_page_of_a_chat_template(tmp_path: Path) -> None:
    record = TEMPLATE.model_copy(
        update={"origin": HOSTILE, "answer": TEMPLATE.answer.model_copy(update={"token": None})}
    )
    kinds = [(HOSTILE, "yes", HOSTILE)]
    check_page(
        write_template_page(
            tmp_path / "t.html", record, [HOSTILE, LONG], kinds, {HOSTILE: [(HOSTILE, True), (LONG, False)]}
        )
    )


@pytest.mark.parametrize("kind", ["commonmark", "gfm-like"])
def test_the_card_of_a_dataset(kind: str) -> None:
    card = dataset_card.dataset_card(hostile_dataset())
    assert not UNSEEN & set(card)
    _, front, body = card.split("---\n", 2)
    assert front.splitlines()[0].startswith("pretty_name: ")
    rendered = MarkdownIt(kind, {"html": True, "linkify": False}).enable("table").render(body)
    elements = Elements()
    elements.feed(rendered)
    assert {tag for tag, _ in elements.found} <= {
        "h1",
        "h2",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "pre",
    }
    assert "[U+202E]" in body.replace("\\", "")
