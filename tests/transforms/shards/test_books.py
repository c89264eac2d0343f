"""The books: every row that was read is accounted for, or there is no dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from versatune.schemas.dataset import InputFile, SourceBooks
from versatune.schemas.errors import DataError, RunError
from versatune.transforms.shards.books import Results, balance, check_books, check_refused, list_inputs

MakeCorpus = Callable[..., Any]


def balanced(results: Results) -> dict[str, SourceBooks]:
    return {book.source: book for book in balance(list_inputs(results.records), results)}


@pytest.fixture
def made(corpus: MakeCorpus) -> Any:
    """Return two sources with duplicates, several examples in a row, rejects and things that were counted."""
    corpus_ = corpus()
    several = [{"number": 10 + item, "row": 2, "item": item} for item in range(3)]
    corpus_.file("a", [1, 2, *several, {"number": 1, "row": 4}], rejects=[(3, "read.not_json")], parts=2)
    corpus_.file("b", [2, 20, 21], rejects=[(3, "clean.too_long"), (4, "clean.too_long")], source="two")
    return corpus_.file("c", [30], source="two", counts={"pii.email.masked": 3, "repaired": 1, "nothing": 0})


def test_books_balance_by_source(made: Any) -> None:
    books = balanced(made.results(near=made.near({20: 1})))
    assert list(books) == ["one", "two"]
    one, two = books["one"], books["two"]
    assert (one.read, one.expanded) == (5, 2)
    assert (one.written, one.duplicates, one.near_duplicates) == ({"code": 2, "law": 3}, {"code": 1}, {})
    assert one.rejected == {"read.not_json": 1}
    assert (two.read, two.expanded) == (6, 0)
    assert (two.written, two.duplicates, two.near_duplicates) == ({"code": 1, "law": 1}, {"law": 1}, {"law": 1})
    assert two.rejected == {"clean.too_long": 2}
    assert two.counts == {"pii.email.masked": 3, "repaired": 1}


def test_the_books_count_the_undetermined_rows_that_are_written(corpus: MakeCorpus) -> None:
    rows = [{"number": number, "undetermined": number < 5} for number in (1, 2, 3, 3, 4, 6)]
    made = corpus().file("a", rows).file("b", [{"number": 8, "undetermined": True}, 3], source="two")
    books = balanced(made.results(near=made.near({4: 6})))
    assert books["one"].written == {"code": 2, "law": 2}
    assert books["one"].undetermined == {"code": 2, "law": 1}  # neither the copy of 3 nor 4, a near-duplicate
    assert books["two"].undetermined == {"law": 1}


def test_more_undetermined_rows_than_written_ones_are_a_fault(corpus: MakeCorpus) -> None:
    results = corpus().file("a", [2]).results()
    wrong = [replace(results.written[0], undetermined={"one": {"law": 2}})]
    with pytest.raises(RunError, match="source 'one': 2 examples of law are undetermined, only 1 are written"):
        balanced(replace(results, written=wrong))


def test_a_refused_file_is_in_no_books(corpus: MakeCorpus) -> None:
    made = (
        corpus().file("a", [1, 2]).file("b", [3], rejects=[(1, "read.not_json")], refused="b: damaged", counts={"x": 1})
    )
    books = balanced(made.results())
    assert (books["one"].read, books["one"].written, books["one"].rejected) == (2, {"code": 1, "law": 1}, {})
    assert books["one"].counts == {}


def test_a_source_of_refused_files_has_empty_books(corpus: MakeCorpus) -> None:
    made = corpus().file("a", [1]).file("b", [3], source="two", refused="b: damaged")
    assert balanced(made.results())["two"].read == 0


def test_a_row_that_never_came_back_from_the_reader_is_noticed_by_source(made: Any) -> None:
    results = made.results()
    for change in (1, -1):
        record = {**results.records[-1], "rows": results.records[-1]["rows"] + change}
        with pytest.raises(RunError, match=f"source 'two' do not balance: {6 + change} rows read and 0 more"):
            balanced(replace(results, records=[*results.records[:-1], record]))


def test_a_lost_group_of_rejects_is_noticed_by_source(made: Any) -> None:
    with pytest.raises(
        RunError, match="source 'one' do not balance: 5 rows read and 2 more examples in them, 6 accounted"
    ):
        balanced(replace(made.results(), rejected=[]))


def test_a_lost_or_doubled_bucket_is_noticed_by_source_and_domain(made: Any) -> None:
    results = made.results()
    with pytest.raises(RunError, match="source 'one': 3 rows were classified as code, 0 arrived"):
        balanced(replace(results, written=[]))
    with pytest.raises(RunError, match="source 'one': 3 rows were classified as code, 6 arrived"):
        balanced(replace(results, written=results.written * 2))


def test_a_row_that_changed_its_domain_on_the_way_is_noticed(made: Any) -> None:
    results = made.results()
    (bucket,) = results.written
    moved = {**bucket.written, "two": {"law": 3}}  # as many rows as before
    with pytest.raises(RunError, match="source 'two': 1 rows were classified as code, 0 arrived"):
        balanced(replace(results, written=[replace(bucket, written=moved)]))


def test_rows_of_a_source_that_no_file_accounts_for_are_noticed(made: Any) -> None:
    results = made.results()
    ghost = replace(results.written[0], written={**results.written[0].written, "ghost": {"law": 1}})
    with pytest.raises(RunError, match="source 'ghost' do not balance: 0 rows read"):
        balanced(replace(results, written=[ghost]))


# --- the files ---


def test_the_parts_of_a_file_are_one_file_whatever_their_order(corpus: MakeCorpus) -> None:
    records = corpus().file("b", range(10), parts=3).file("a", [11]).records
    records[1]["sha256"] = records[2]["sha256"] = ""  # only the first part knows it
    records[0]["bytes"] = 77
    assert list_inputs(records) == list_inputs(records[::-1])
    assert [(file.uri, file.rows, file.sha256, file.bytes) for file in list_inputs(records)] == [
        ("a", 1, "0", 9), ("b", 10, "0", 77),
    ]  # fmt: skip


def test_a_file_of_which_a_part_was_refused_has_no_rows(corpus: MakeCorpus) -> None:
    records = corpus().file("a", range(10), parts=3).records
    records[1]["refused"] = "a: damaged"
    assert [(file.rows, file.refused) for file in list_inputs(records)] == [(0, "a: damaged")]


def refusals(good: int, bad: int) -> list[InputFile]:
    facts: dict[str, Any] = {"source": "s", "bytes": 1, "sha256": "", "rows": 0, "license": "MIT"}
    return [InputFile(uri=f"f{i}", refused=f"f{i}: damaged" if i >= good else "", **facts) for i in range(good + bad)]


def test_refused_files_are_skipped_or_end_the_build_as_configured() -> None:
    check_refused(refusals(1, 3), skip=True)
    check_refused(refusals(2, 0), skip=False)
    with pytest.raises(DataError, match="f1: damaged"):
        check_refused(refusals(1, 1), skip=False)


def test_a_build_of_which_every_file_is_refused_fails() -> None:
    with pytest.raises(DataError, match=r"f0: damaged\n(.*\n)+\.\.\. and 3 more"):
        check_refused(refusals(0, 8), skip=True)


# --- what is enough for a dataset ---


def books(read: int, written: int, expanded: int = 0, **rejected: int) -> SourceBooks:
    reasons = {reason.replace("__", "."): rows for reason, rows in rejected.items()}
    duplicates = read + expanded - written - sum(reasons.values())
    return SourceBooks(
        source="s", read=read, expanded=expanded, written={"law": written}, duplicates={"law": duplicates},
        near_duplicates={}, undetermined={}, rejected=reasons, counts={},
    )  # fmt: skip


def test_the_allowed_share_of_rejects_is_inclusive() -> None:
    check_books([books(10, 5, read__not_json=5)], 0.5)
    with pytest.raises(DataError, match=r"6 of 10 rows .* read\.not_json 6"):
        check_books([books(10, 4, read__not_json=6)], 0.5)


def test_the_share_is_one_of_examples() -> None:
    check_books([books(2, 5, expanded=8, normalize__empty_answer=5)], 0.5)


def test_sources_without_a_row_are_refused() -> None:
    with pytest.raises(DataError, match="the sources hold no rows"):
        check_books([books(0, 0)], 0.5)


def test_a_dataset_of_which_no_row_is_left_is_refused() -> None:
    with pytest.raises(DataError, match=r"no row is left of 10: clean\.too_long 10"):
        check_books([books(10, 0, clean__too_long=10)], 1.0)


def test_rows_that_are_rendered_already_are_told_apart_from_a_useless_template() -> None:
    with pytest.raises(DataError, match=r"all 5 rows .* spell out control tokens .* plain messages"):
        check_books([books(10, 0, read__not_json=5, tokenize__control_token_in_text=5)], 1.0)


def test_a_tokenizer_that_takes_everything_is_named_before_the_share_is() -> None:
    with pytest.raises(DataError, match="chat template never yields"):
        check_books([books(10, 0, tokenize__no_loss_tokens=9, read__not_json=1)], 0.5)
