"""A document names files below its own directory, and no link leads out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.inside import InsidePath, ReferencePath, inside
from versatune.schemas.pointer import points_to, read_pointer, write_pointer

INSIDE, REFERENCE = TypeAdapter(InsidePath), TypeAdapter(ReferencePath)


@pytest.mark.parametrize(
    "name", ["a", "data/train/law/part-00000-of-00001.parquet", "data/eu:law/x y.parquet", "données/é", "..a/b.."]
)
def test_a_name_below_is_taken_as_it_is(name: str) -> None:
    assert INSIDE.validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/../b", "a/..", "/etc/passwd", "a//b", "a/", "./a", "a\\..\\b", "C:/a", "gs://b/a", "a\0b", "a\nb"],
)  # fmt: skip
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no name of a file below"):
        INSIDE.validate_python(name)


def test_a_reference_may_go_up_and_be_a_uri_but_not_absolute() -> None:
    for path in ("../../20261130-aa", "gs://bucket/a"):
        assert REFERENCE.validate_python(path) == path
    for path in ("/etc", "~/a", "~me/a", "a\0"):
        with pytest.raises(ValidationError, match="is absolute"):
            REFERENCE.validate_python(path)


def test_links_may_lead_to_a_directory_and_about_in_it_but_not_out(tmp_path: Path) -> None:
    (tmp_path / "disk" / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text("")
    version = tmp_path / "version"
    version.symlink_to("disk")
    (tmp_path / "disk" / "b").symlink_to("a")
    (tmp_path / "disk" / "out").symlink_to("../secret")
    (tmp_path / "disk" / "up").symlink_to("..")
    (tmp_path / "disk" / "circle").symlink_to("circle")
    for name in ("a", "b", "b/new", "not there"):
        assert inside(version, name) == version / name
    for name in ("out", "up/secret", "up/version/../secret", "../secret", "circle"):
        with pytest.raises(IntegrityError, match="or a link leads there"):
            inside(version, name)


def test_a_pointer_must_fit_what_it_names(tmp_path: Path) -> None:
    pointer, document = tmp_path / "latest.json", tmp_path / "v" / "probe.json"
    write_pointer(pointer, "v/probe.json", "12" * 32)

    def found() -> Path:
        return read_pointer(pointer, what="probe report", command="versatune probe CONFIG")

    with pytest.raises(
        DataError, match=r"v/probe.json: is what .*latest.json names, and missing; run `versatune probe CONFIG`"
    ):
        found()
    document.parent.mkdir()
    document.write_text('{"digest": "34"}')
    with pytest.raises(
        IntegrityError, match=r"latest.json: names v/probe.json with digest 121212121212\.\.\., and .* has 34"
    ):
        found()
    assert points_to(pointer, document)
    document.write_text('{"digest": "' + "12" * 32 + '"}')
    assert found() == document
    for content in ('{"path": "../v/probe.json", "digest": "12"}', '{"path": "v/probe.json"}', "{"):
        pointer.write_text(content)
        with pytest.raises(DataError, match=r"latest\.json"):
            found()
        assert not points_to(pointer, document)
