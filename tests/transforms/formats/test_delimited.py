"""CSV and its kin: delimiters, headers, quotes that are not what they should be."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from versatune.transforms.formats import delimited
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.transport.batch import ReadOptions, RowFault


def rows(data: bytes, named: str = ",", max_row_bytes: int = 1 << 20, block: int = 7, **options: Any) -> list[Any]:
    blocks = iter([data[at : at + block] for at in range(0, len(data), block)])
    found = delimited.rows(blocks, max_row_bytes, delimiter=named, options=ReadOptions(**options))
    return [row if isinstance(row, RowFault) else orjson.loads(row) for row in found]


def test_a_row_with_other_cells_than_the_header_is_a_fault_that_holds_them() -> None:
    found = rows(b"a,b\n1,2\n3\n4,5,6\n7,8,,\n\n  \n")
    assert found[0] == {"a": "1", "b": "2"}
    assert [fault.reason for fault in found[1:3]] == ["wrong_cell_count"] * 2
    assert orjson.loads(found[2].head) == {"__cells__": ["4", "5", "6"], "__header__": ["a", "b"]}
    assert found[1].detail == "the row has 1 cells; the file has 2 columns"
    assert found[3:] == [{"a": "7", "b": "8"}]


def test_blanks_before_quotes_are_none_of_the_cell_where_the_file_has_them() -> None:
    found = rows(b'question, answer\n"Who?", "Me, you"\n"What?", "That"\n')
    assert found == [{"question": "Who?", "answer": "Me, you"}, {"question": "What?", "answer": "That"}]
    found = rows(b'question,answer\nWho?,    return x\nWhat?, "That" is it\nWhy?,So\nIf?,So\n')
    assert [row["answer"] for row in found] == ["    return x", ' "That" is it', "So", "So"]


@pytest.mark.parametrize("mark", [";", ",", "\t"])
def test_a_first_line_that_states_the_delimiter_is_no_row(mark: str) -> None:
    table = f"question{mark}answer\nWho?{mark}Me\nWhat?{mark}That\n".encode()
    assert rows(f"sep={mark}\r\n".encode() + table) == rows(table)
    assert rows(f"sep={mark}\r\n".encode() + table, header=False)[0] == {"column_0": "question", "column_1": "answer"}


def test_titles_above_a_table_are_faults_and_the_header_below_them_is_one() -> None:
    found = rows(b"Export of May\n\nquestion;answer\nWho?;Me\nWhat?;That\n", named=",")
    assert (found[0].reason, found[1:]) == ("wrong_cell_count", rows(b"question;answer\nWho?;Me\nWhat?;That\n"))


@pytest.mark.parametrize("data", [b"question,answer\nWho?,\\N\n", b'question,answer\n"Who?","\\N"\n'])
def test_a_cell_that_stands_for_null_is_empty(data: bytes) -> None:
    assert rows(data) == [{"question": "Who?", "answer": ""}]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"What is a loan?,Money that is lent.", b"What is rent?,Money for a flat."),
        (b"1,yes", b"2,no"),
        (b"positive,great film", b"positive,good film"),
        (b"a long text " + b"x" * 80 + b",b", b"c,d"),
        (b"a,,c", b"d,e,f"),
    ],
)
def test_a_first_row_that_looks_like_data_is_data(first: bytes, second: bytes) -> None:
    found = rows(first + b"\n" + second + b"\n")
    assert len(found) == 2
    assert list(found[0]) == [f"column_{n}" for n in range(first.count(b",") + 1)]


@pytest.mark.parametrize(
    "header", [b"question,answer", b"Frage,Antwort", b",Question,A", b"id,2", b"0,1,2", b"text", b"a,b,,"]
)
def test_a_first_row_of_names_is_a_header(header: bytes) -> None:
    (row,) = rows(header + b"\n" + b",".join([b"x"] * (len(header.rstrip(b",").split(b",")))) + b"\n")
    names = header.decode().rstrip(",").split(",")
    assert list(row) == [name or "column_0" for name in names]


def test_a_name_that_comes_again_is_numbered() -> None:
    assert rows(b"a,b,a,a_2,a\n1,2,3,4,5\n") == [{"a": "1", "b": "2", "a_2": "3", "a_2_2": "4", "a_3": "5"}]


def test_columns_of_one_name_are_told() -> None:
    notes: list[str] = []
    [*delimited.rows(iter([b"a,b,a\n1,2,3\n"]), 1 << 20, delimiter=",", note=notes.append)]
    assert notes == ["it has several columns called 'a'; column 3 is read as 'a_2'"]


def test_the_delimiter_is_the_one_that_fits() -> None:
    assert rows(b"question;answer\nWhy, oh why?;So, well\n") == [{"question": "Why, oh why?", "answer": "So, well"}]
    assert rows(b"question,answer\nx;y,z;1\n") == [{"question": "x;y", "answer": "z;1"}]
    assert rows(b"text\none, two\nthree, four, five\n", ",")[0].reason == "wrong_cell_count"
    assert rows(b"a\tb\n1\t2\n") == [{"a": "1", "b": "2"}]


def test_a_mark_that_the_header_lacks_is_punctuation() -> None:
    data = b"Frage;Antwort;Art\n" + b"Wie geht das, wenn es schon klingelt?;Erst ab, dann an.;Technik\n" * 12
    assert [*rows(data)[0]] == ["Frage", "Antwort", "Art"]
    assert rows(data)[11]["Antwort"] == "Erst ab, dann an."


@pytest.mark.parametrize("stray", [b'2,"open\n', b'2,"open" or not\n', b'"2,open\n'])
def test_a_stray_quote_costs_its_own_line_and_no_other(stray: bytes) -> None:
    good = b"".join(b"%d,text\n" % n for n in range(3, 100))
    found = rows(b"id,text\n1,text\n" + stray + good + b'100,"a ""quoted""\ncell"\n')
    whole = [row for row in found if isinstance(row, dict)]
    assert [row["id"] for row in whole if row["id"] != "2"] == [str(n) for n in [1, *range(3, 101)]]
    assert whole[-1]["text"] == 'a "quoted"\ncell'
    assert len(found) == 100


def test_two_stray_quotes_do_not_swallow_what_lies_between() -> None:
    found = rows(b'id,text\n1,"open\n2,b\n3,c\n4,"open\n5,e\n', quoting="double")
    assert [row["id"] if isinstance(row, dict) else row.head for row in found] == [
        b'1,"open',
        "2",
        "3",
        b'4,"open',
        "5",
    ]


def test_stray_quotes_everywhere_take_linear_time() -> None:
    found = rows(b"id,text\n" + (b'1,"open\n' + b"2,x\n" * 9) * 20_000, block=1 << 16, quoting="double")
    assert len(found) == 200_000
    assert sum(isinstance(row, RowFault) for row in found) == 20_000


def test_a_quote_that_is_never_closed_costs_its_own_line_and_memory_stays_bounded() -> None:
    found = rows(b'id,text\n1,"' + b"2,line\n" * 5000, max_row_bytes=1000, quoting="double")
    assert [row.reason for row in found if isinstance(row, RowFault)] == ["bad_quotes"]
    assert len(found) == 5000


def test_quotes_that_break_rows_without_end_refuse_the_file() -> None:
    with pytest.raises(FormatError, match="again and again"):
        rows(b"id,text\n" + b'x","\n' * 20_000, max_row_bytes=10_000, quoting="double", block=1 << 16)


def test_a_long_line_is_a_fault_and_the_others_are_rows() -> None:
    found = rows(b"id,text\n1,a\n2," + b"x" * 5000 + b"\n3,c\n", max_row_bytes=1000)
    assert [row["id"] if isinstance(row, dict) else row.reason for row in found] == ["1", "too_large", "3"]


def test_carriage_returns_alone_end_lines_where_nothing_else_does() -> None:
    assert rows(b"a,b\r1,2\r3,4\r") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
