"""A run is found by its directory, its record, or its id."""

from __future__ import annotations

from pathlib import Path

import pytest

from versatune.schemas.errors import DataError
from versatune.schemas.export_plan import NAME
from versatune.versions.runs import find_run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("aa11", "aa22", "bb33"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / NAME).write_text("{}")
    return tmp_path


def test_a_run_is_found_by_directory_record_and_id(home: Path) -> None:
    run = home / "runs" / "bb33"
    (run / "run.json").write_text("{}")
    assert find_run(run) == find_run(run / "run.json") == find_run(Path("bb"), home) == run


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("aa", "the ids of aa11, aa22 begin with 'aa'; give more digits"),
        ("bb34", "has no run 'bb34'; did you mean 'bb33'"),
    ],
)
def test_an_id_that_names_no_run_or_several_is_refused(home: Path, name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        find_run(Path(name), home)


def test_what_is_no_run_is_refused_with_the_ways_to_name_one(home: Path) -> None:
    with pytest.raises(DataError, match=r"no run; expected the directory of one .* or an id with `--of CONFIG`"):
        find_run(Path("bb33"))
