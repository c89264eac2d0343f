"""What is checked before a dataset may exist."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from schemas.dataset import ClassifierRecord, InputFile, SourceBooks
from schemas.errors import DataError, RunError
from schemas.taxonomy import DEFAULT_TAXONOMY
from transforms.write_manifest import Outcome, VersionPlan, balance, check_books, make_manifest
from transforms.write_shards import Rejected, Written


def file(source: str, uri: str, rows: int) -> InputFile:
    return InputFile(source=source, uri=uri, bytes=1, sha256="0", rows=rows)


def books(read: int, written: int, **rejected: int) -> SourceBooks:
    duplicates = read - written - sum(rejected.values())
    reasons = {reason.replace("__", "."): rows for reason, rows in rejected.items()}
    return SourceBooks(source="s", read=read, written={"law": written}, duplicates=duplicates, rejected=reasons)


def plan(**changes: Any) -> VersionPlan:
    values: dict[str, Any] = {
        "home": "/nowhere",
        "staging": "/nowhere/.staging",
        "name": "n",
        "version": None,
        "taxonomy": DEFAULT_TAXONOMY,
        "classifier": ClassifierRecord(sha256="0", labels=[], confusion=None),
        "tokenizer": None,
        "fingerprint": {},
        "max_rejected_fraction": 0.5,
        "started": 0.0,
    }
    return VersionPlan(**{**values, **changes})


def test_books_add_up_over_files_and_buckets() -> None:
    written = [
        Written([], Counter({("a", "law"): 2}), Counter({"b": 1})),
        Written([], Counter({("a", "law"): 1}), Counter()),
    ]
    rejected = [Rejected([], Counter({("b", "read.not_json"): 2}))]
    found = balance([file("b", "y", 3), file("a", "x", 1), file("a", "z", 2)], written, rejected)
    assert [(book.source, book.read, book.written, book.duplicates, book.rejected) for book in found] == [
        ("a", 3, {"law": 3}, 0, {}),
        ("b", 3, {}, 1, {"read.not_json": 2}),
    ]


@pytest.mark.parametrize("read", [1, 3])
def test_a_row_lost_or_doubled_is_noticed_by_source(read: int) -> None:
    with pytest.raises(RunError, match=f"source 'a' do not balance: {read} rows read, 2 accounted"):
        balance([file("a", "x", read)], [Written([], Counter({("a", "law"): 2}), Counter())], [])


def test_rows_of_a_source_that_no_file_accounts_for_are_noticed() -> None:
    with pytest.raises(RunError, match="source 'ghost'"):
        balance([file("a", "x", 0)], [Written([], Counter({("ghost", "law"): 1}), Counter())], [])


def test_the_allowed_share_of_rejects_is_inclusive() -> None:
    check_books([books(10, 5, read__not_json=5)], 0.5)
    with pytest.raises(DataError, match=r"6 of 10 rows .* read\.not_json 6"):
        check_books([books(10, 4, read__not_json=6)], 0.5)


def test_rows_that_are_rendered_already_are_told_apart_from_a_useless_template() -> None:
    with pytest.raises(DataError, match=r"all 5 rows .* spell out control tokens .* plain messages"):
        check_books([books(10, 0, read__not_json=5, tokenize__control_token_in_text=5)], 1.0)


def test_a_tokenizer_that_takes_everything_is_named_before_the_share_is() -> None:
    with pytest.raises(DataError, match="chat template never yields"):
        check_books([books(10, 0, tokenize__no_loss_tokens=9, read__not_json=1)], 0.5)


def test_unreadable_files_are_all_named_and_long_lists_are_cut() -> None:
    failures = [{"uri": f"f{i}", "message": f"f{i}: damaged"} for i in range(8)]
    with pytest.raises(DataError, match=r"f0: damaged\n(.*\n)+\.\.\. and 3 more"):
        make_manifest(plan(), [], failures, [], [])


def shard(path: str) -> dict[str, Any]:
    return {
        "path": path,
        "split": "train",
        "domain": "law",
        "rows": 1,
        "tokens": 0,
        "loss_tokens": 0,
        "bytes": 1,
        "sha256": "0",
        "licenses": [],
    }


def test_the_digest_does_not_depend_on_the_order_of_arrival_or_the_machine() -> None:
    files = [file("a", "x", 1).model_dump(), file("a", "w", 1).model_dump()]
    written = [Written([shard(f"data/{i}")], Counter({("a", "law"): 1}), Counter()) for i in range(2)]
    one = make_manifest(plan(environment={"workers": 1}), files, [], written, [])
    two = make_manifest(plan(environment={"workers": 2}), files[::-1], [], written[::-1], [])
    assert one.digest == two.digest
    assert one.version == two.version
    assert one.version.endswith(one.digest[:8])


def test_an_outcome_raises_its_own_kind_of_error() -> None:
    Outcome("m.json").raise_error()
    with pytest.raises(DataError, match="why"):
        Outcome(None, error="DataError", message="why").raise_error()
