from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from versatune.schemas.classifier import ClassifierTraining, RowGroup
from versatune.schemas.errors import DataError
from versatune.transforms.classifier.labelled_rows import LabelledRow
from versatune.transforms.classifier.leave_out import covers, grouped, sources_to_leave_out
from versatune.transforms.classifier.training_lines import Pool, training_lines


def pool(name: str, rows: dict[tuple[str, str], int], **group: Any) -> Pool:
    """Make a group of rows: {(domain, source): how many}."""
    made = [
        LabelledRow(text=f"{source} text{'x' * i}", domain=domain, source=source)
        for (domain, source), count in rows.items()
        for i in range(count)
    ]
    return Pool(group=RowGroup(name=name, files=["x"], **group), rows=made)


def lines(pools: list[Pool], without: tuple[str, ...] = (), count: int = 60) -> list[str]:
    config = ClassifierTraining.model_validate(
        {
            "taxonomy": {"domains": ["law", "code"]},
            "train": [{"name": "x", "files": ["x"]}],
            "rows_per_domain": count,
        }
    )
    return training_lines(pools, config, without)


def by_source(made: list[str], domain: str) -> Counter[str]:
    return Counter(line.split()[1] for line in made if line.startswith(f"__label__{domain} "))


def test_every_domain_has_as_many_lines_whatever_it_had() -> None:
    made = lines([pool("p", {("law", "a"): 3, ("code", "b"): 500})])
    assert by_source(made, "law").total() == by_source(made, "code").total() == 60


def test_groups_share_a_domain_as_configured_and_one_alone_has_it_all() -> None:
    one = pool("one", {("law", "a"): 10, ("code", "b"): 10}, share=1)
    three = pool("three", {("law", "c"): 10}, share=3)
    made = lines([one, three])
    assert by_source(made, "law") == {"a": 15, "c": 45}
    assert by_source(made, "code") == {"b": 60}


@pytest.mark.parametrize(("power", "expected"), [(0.0, 30), (0.5, 40), (1.0, 48)])
def test_sources_share_by_a_power_of_their_size(power: float, expected: int) -> None:
    made = lines([pool("p", {("law", "big"): 40, ("law", "small"): 10, ("code", "b"): 1}, balance=power)])
    assert by_source(made, "law")["big"] == expected


def test_leaving_out_a_source_changes_no_line_of_another_group() -> None:
    pools = [pool("p", {("law", "a"): 9, ("law", "b"): 9, ("code", "c"): 9}), pool("q", {("law", "d"): 99})]
    whole, part = lines(pools), lines(pools, ("a",))
    assert "a" not in by_source(part, "law")
    assert sorted(line for line in whole if " d " in line) == sorted(line for line in part if " d " in line)


def test_a_word_cannot_pose_as_a_label() -> None:
    trap = Pool(
        group=RowGroup(name="p", files=["x"]),
        rows=[
            LabelledRow(text="__label__code stolen", domain="law", source="a"),
            LabelledRow(text="x", domain="code", source="b"),
        ],
    )
    assert all(line.count("__label__") == 1 for line in lines([trap]))


def test_a_domain_without_rows_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="domain 'code' has no training row"):
        lines([pool("p", {("law", "a"): 3})])


def test_a_source_that_alone_knows_a_domain_is_not_left_out() -> None:
    pools = [pool("p", {("law", "a"): 3, ("law", "b"): 3, ("code", "c"): 3})]
    assert list(sources_to_leave_out(pools, [])) == ["a", "b"]
    assert list(sources_to_leave_out(pools, ["b"])) == []


def test_folds_hold_one_source_of_each_domain_and_leave_every_domain_rows() -> None:
    pools = [pool("p", {("law", "a"): 3, ("law", "b"): 3, ("code", "c"): 3, ("code", "d"): 3})]
    sources = sources_to_leave_out(pools, [])
    folds = grouped(sources, lambda together: covers(pools, [], together))
    assert folds == [["a", "c"], ["b", "d"]]
