from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from versatune.schemas.errors import DataError
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from versatune.transforms.classifier.labelled_rows import read_lines_by_domain, read_rows

TWO = Taxonomy(domains=("law", "code"))


def test_only_a_line_feed_ends_a_row_and_more_keys_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    text = '{"text": "a\u2028b\\u0085", "domain": "law", "source": "s", "probs": [1, 0]}\r\n\n'
    file.write_bytes(gzip.compress(text.encode()))
    assert read_rows([file], TWO) == [{"text": "a\u2028b\u0085", "domain": "law", "source": "s"}]


def test_a_row_without_a_source_gets_its_files_name_and_an_alias_its_domain(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"text": "x", "domain": "medical"}')
    assert read_rows([file], DEFAULT_TAXONOMY) == [{"text": "x", "domain": "medicine", "source": "mine"}]


@pytest.mark.parametrize("line", ['{"text": "secret"}', "secret", '["secret"]', '"secret"'])
def test_a_row_that_is_none_is_refused_by_line_and_never_quoted(tmp_path: Path, line: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "fine", "domain": "law"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: expected an object with text and domain") as caught:
        read_rows([file], TWO)
    assert "secret" not in str(caught.value)


def test_an_unknown_domain_is_refused_by_line_with_the_nearest_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a", "domain": "law"}\n{"text": "b", "domain": "cod"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: unknown domain 'cod'; did you mean 'code'"):
        read_rows([file], TWO)


def test_a_broken_gzip_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(b"\x1f\x8b\x08broken")
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz: cannot be read"):
        read_rows([file], TWO)


def test_no_row_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="labelled rows: none in"):
        read_rows([tmp_path / "empty.jsonl"], TWO)


def test_a_file_named_after_no_domain_is_refused(tmp_path: Path) -> None:
    (tmp_path / "en-sport.txt").write_text("goal\n")
    with pytest.raises(DataError, match=r"en-sport\.txt: unknown domain 'sport'.*en-law\.txt"):
        read_lines_by_domain([tmp_path / "en-sport.txt"], TWO)
