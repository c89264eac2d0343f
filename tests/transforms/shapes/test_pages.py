"""The pages about shapes say exactly what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import NORMALIZE_REASONS, Example, RowError
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.shapes.registry import SHAPES

PAGES = Path(__file__).parents[3] / "docs" / "shapes"
BLOCK = re.compile(r"^```(json|text|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def rendered(payload: bytes, fields: FieldMap | None = None) -> str:
    """Return what becomes of a row as the pages show it."""
    faults: list[tuple[int, RowError]] = []
    try:
        examples = read_examples(payload, fields, faults)
    except RowError as error:
        return f"refused    {error.reason}"
    shown = ["\n".join(_lines(example)) for example in examples]
    for item, error in faults:
        shown.insert(item, f"refused    {error.reason}")
    return "\n---\n".join(shown)


def _lines(example: Example) -> list[str]:
    parts = [*example.messages, ("tools", example.tools), ("rejected", example.rejected)]
    return [f"{name:10} {content}".replace("\n", "\\n") for name, content in parts if content is not None]


def pages() -> list[Path]:
    """Return every page."""
    return sorted(PAGES.glob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_page_shows_what_the_code_gives(page: Path) -> None:
    blocks = BLOCK.findall(page.read_text())
    for number, (kind, body) in enumerate(blocks):
        if kind != "json":
            continue
        after, shown = blocks[number + 1]
        assert after == "text"
        assert rendered(body.encode()) == shown.rstrip("\n")
        if number + 2 < len(blocks) and blocks[number + 2][0] == "yaml":
            fields = FieldMap(**yaml.safe_load(blocks[number + 2][1])["fields"])
            assert rendered(body.encode(), fields) == shown.rstrip("\n")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_page_names_only_reasons_that_exist(page: Path) -> None:
    for reason, meaning in re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", page.read_text(), re.MULTILINE):
        assert NORMALIZE_REASONS.get(reason, meaning) == meaning


def test_every_shape_has_a_page_that_the_index_lists() -> None:
    names = {shape.NAME.replace("_", "-") for shape in SHAPES} - {"unanswered"} | {"qa-pairs"}
    assert {page.stem for page in pages()} == names | {"index", "field-map"}
    listed = set(re.findall(r"\(([a-z-]+)\.md\)", (PAGES / "index.md").read_text()))
    assert listed == names | {"field-map"}
    for name in names:
        assert "```json" in (PAGES / f"{name}.md").read_text(), name
