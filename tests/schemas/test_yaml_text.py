"""YAML that was written to do harm, or by mistake, is one message and no more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from versatune.schemas.config import load_config
from versatune.schemas.errors import ConfigError
from versatune.schemas.yaml_text import parse_yaml
from versatune.transforms.formats.sidecar import license_of

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
HOSTILE = {
    "a billion laughs": (LAUGHS, "aliases that stand for more than 1,000,000 values, line"),
    "an alias in itself": ("a: &a [*a]", "an alias that stands for what it is part of, line 1, column 8"),
    "a map in itself": ("a: &a {b: *a}", "an alias that stands for what it is part of"),
    "flow without end": ("a: " + "[" * 10_000, "more than 100 levels"),
    "maps without end": ("a: " + "{a: " * 10_000, "more than 100 levels"),
    "blocks without end": ("\n".join(" " * at + "a:" for at in range(1_000)), "more than 100 levels"),
    "items without end": ("- " * 10_000, "more than 100 levels"),
    "a key twice": ("name: a\nsources: []\nname: b", r"found the key 'name' a second time, line 3, column 1"),
    "an inner key twice": ("build: {workers: 1, workers: 2}", "found the key 'workers' a second time"),
    "the 99th month": ("name: 2024-99-99", "put it in quotes"),
    "a number of many digits": ("name: " + "9" * 5000, "put it in quotes"),
    "a tag that does not fit": ("name: !!int ''", "put it in quotes"),
    "a tag that runs code": ("name: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "two documents": ("name: a\n---\nname: b", "found another document"),
    "a control character": ("name: \x07", "special characters are not allowed"),
    "a merge of a scalar": ("<<: 1", "expected a mapping"),
    "a list as a key": ("{[a]: b}", "unhashable key"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_it_is_one_error_in_a_moment(what: str, tmp_path: Path) -> None:
    text, said = HOSTILE[what]
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    start = time.process_time()
    with pytest.raises(ConfigError, match=said) as error:
        load_config(tmp_path / "my.yaml")
    assert time.process_time() - start < 5
    assert str(error.value).startswith(f"{tmp_path / 'my.yaml'}: not YAML (")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("what", HOSTILE)
def test_so_it_is_in_an_override(what: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("name: a")
    with pytest.raises(ConfigError, match="not YAML") as error:
        load_config(tmp_path / "my.yaml", [f"mix={HOSTILE[what][0]}"])
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("what", [what for what in HOSTILE if what != "two documents"])
def test_in_a_card_beside_the_data_it_says_nothing_of_a_licence(what: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\nlicense: mit\n{HOSTILE[what][0]}\n---\n", encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("{}")
    assert license_of(str(tmp_path / "rows.jsonl"), str(tmp_path)) == "unknown"


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("wb") as stream:
        stream.truncate(2**36)
    with pytest.raises(ConfigError, match="has more than 8,388,608 bytes; expected a configuration"):
        load_config(file)


def test_aliases_and_merges_are_still_of_use() -> None:
    said: Any = parse_yaml(
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\nd: &e [1]\nf: {<<: [*a, {z: 1}]}", "here"
    )
    assert said["b"] == {"x": 1, "y": 3}
    assert said["c"] == [{"x": 1, "y": 2}] * 2
    assert said["f"] == {"x": 1, "y": 2, "z": 1}
    assert parse_yaml("", "here") is None
