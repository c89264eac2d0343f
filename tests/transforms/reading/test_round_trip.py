"""A row gives the same example, letter by letter, in every container that can express it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from versatune.transforms.reading.read import read_rows
from versatune.transforms.shapes.base import RowError
from versatune.transforms.shapes.conversation import example_id, read_examples
from versatune.transforms.transport.batch import InputSplit

Rows = list[dict[str, Any]]
QUICK = settings(
    deadline=None, max_examples=8, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = st.text(st.sampled_from('abc é中\n"\\{}[],:|0'), min_size=1, max_size=12).map(lambda text: f"x{text}y")
ARGUMENTS = st.tuples(TEXT, st.integers(0, 9), st.lists(TEXT, max_size=2), st.integers(0, 3)).map(
    # the fields of a struct have one order for all rows, so every row has the first so many
    lambda drawn: dict(list(zip(("city", "days", "deep"), drawn[:3], strict=True))[: drawn[3]])
)


def turn(role: str, text: st.SearchStrategy[str] = TEXT) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"role": st.just(role), "content": text})


def several(row: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Rows]:
    return st.lists(row, min_size=2, max_size=4)


CALL = ARGUMENTS.map(
    lambda arguments: {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}],
    }
)
THOUGHTS = ["reasoning_content", "reasoning", "thinking", "thought", "thoughts"]
RESULT = TEXT.map(lambda text: {"role": "tool", "content": text, "tool_call_id": "c1"})
FLAT = {
    "thoughts beside the answer": st.fixed_dictionaries(
        {"prompt": TEXT, "reasoning_content": TEXT.map("{} x".format), "completion": TEXT}
    ),
    "question and answer": st.fixed_dictionaries({"question": TEXT, "answer": TEXT}),
    "alpaca": st.fixed_dictionaries({"instruction": TEXT, "input": TEXT, "output": TEXT}),
    "prompt and completion": st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT}),
    "preference": st.fixed_dictionaries({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}),
    "document": st.fixed_dictionaries({"text": TEXT}),
    "code task": st.fixed_dictionaries({"description": TEXT, "code": TEXT}),
    "lettered choices": st.fixed_dictionaries(
        {"question": TEXT, "A": TEXT, "B": TEXT.map("b{}".format), "answer": st.sampled_from("AB")}
    ),
}
PAIR = st.fixed_dictionaries({"question": TEXT, "answer": TEXT})
NESTED = FLAT | {
    "numbers": st.fixed_dictionaries({"question": TEXT, "answer": st.floats(allow_nan=False, allow_infinity=False)}),
    "integers": st.fixed_dictionaries({"question": TEXT, "answer": st.integers(-(2**63), 2**63 - 1)}),
    "messages": st.fixed_dictionaries({"messages": st.tuples(turn("user"), turn("assistant")).map(list)}),
    "sharegpt": st.tuples(TEXT, TEXT).map(
        lambda pair: {"conversations": [{"from": "human", "value": pair[0]}, {"from": "gpt", "value": pair[1]}]}
    ),
    "calls": st.fixed_dictionaries({"messages": st.tuples(turn("user"), CALL, RESULT, turn("assistant")).map(list)}),
    **{
        f"thoughts in {field}": st.tuples(turn("user"), turn("assistant"), TEXT).map(
            lambda drawn, field=field: {"messages": [drawn[0], drawn[1] | {field: drawn[2]}]}
        )
        for field in THOUGHTS
    },
    "thoughts of some turns": st.tuples(turn("user"), turn("assistant"), TEXT, st.sampled_from([None, "", "x"])).map(
        lambda drawn: {
            "messages": [drawn[0], drawn[1] | {"thinking": drawn[2]}, drawn[0], drawn[1] | {"thinking": drawn[3]}]
        }
    ),
    "thoughts before calls": st.tuples(turn("user"), CALL, RESULT, turn("assistant"), TEXT, st.booleans()).map(
        lambda drawn: {
            "messages": [
                drawn[0],
                drawn[1] | {"reasoning_content": drawn[4]} | ({"content": drawn[4]} if drawn[5] else {}),
                drawn[2],
                drawn[3] | {"reasoning_content": None},
            ]
        }
    ),
    "thoughts as turns": st.fixed_dictionaries(
        {"messages": st.tuples(turn("user"), turn("reasoning"), turn("assistant")).map(list)}
    ),
    "thoughts as parts": st.tuples(turn("user"), TEXT, TEXT).map(
        lambda drawn: {
            "messages": [
                drawn[0] | {"content": [{"type": "text", "text": drawn[0]["content"]}]},
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": drawn[1]}, {"type": "text", "text": drawn[2]}],
                },
            ]
        }
    ),
    "tools": st.tuples(turn("user"), CALL, st.sampled_from(["city", "days"])).map(
        lambda drawn: {
            "messages": list(drawn[:2]),
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "f",
                        "parameters": {"type": "object", "properties": {drawn[2]: {"type": "string"}}},
                    },
                }
            ],
        }
    ),
    "squad": st.tuples(TEXT, TEXT, TEXT).map(
        lambda drawn: {
            "context": drawn[0],
            "question": drawn[1],
            "answers": {"text": [drawn[2]], "answer_start": [0]},
        }
    ),
    "squad article": st.tuples(TEXT, TEXT, TEXT).map(
        lambda drawn: {
            "title": "t",
            "paragraphs": [{"context": drawn[0], "qas": [{"question": drawn[1], "answers": [{"text": drawn[2]}]}]}],
        }
    ),
    "chat": st.fixed_dictionaries({"chat": st.tuples(turn("user"), turn("assistant")).map(list)}),
    "conversation tree": st.tuples(TEXT, TEXT).map(
        lambda said: {
            "role": "prompter",
            "text": said[0],
            "replies": [{"role": "assistant", "text": said[1], "rank": 0, "replies": []}],
        }
    ),
    "history": st.fixed_dictionaries(
        {"prompt": TEXT, "response": TEXT, "history": st.lists(st.tuples(TEXT, TEXT).map(list), max_size=2)}
    ),
    "question series": st.fixed_dictionaries(
        {
            "story": TEXT,
            "questions": st.tuples(TEXT, TEXT).map(list),
            "answers": st.tuples(TEXT, TEXT).map(list),
        }
    ),
    "seed task": st.fixed_dictionaries(
        {
            "instruction": TEXT,
            "instances": st.lists(st.fixed_dictionaries({"input": TEXT, "output": TEXT}), min_size=1, max_size=2),
        }
    ),
    "table questions": st.fixed_dictionaries(
        {
            "table": st.lists(st.tuples(TEXT, TEXT).map(list), min_size=1, max_size=2),
            "questions": st.lists(PAIR, min_size=1, max_size=2),
        }
    ),
    "choices": st.fixed_dictionaries(
        {"question": TEXT, "choices": st.lists(TEXT, min_size=2, max_size=3, unique=True), "answer": st.just(1)}
    ),
}


def lines(rows: Rows) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def comma_separated(rows: Rows) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def in_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def in_stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def in_zip(rows: Rows) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("rows.jsonl", lines(rows))
    return sink.getvalue()


def of_datasets(rows: Rows) -> pa.Table:
    """Return the table that the library keeps, with its own type for JSON whose keys vary."""
    import datasets

    with patch(
        "datasets.arrow_dataset.generate_fingerprint", return_value="0"
    ):  # which pickles all of the test session
        return datasets.Dataset.from_list(rows, on_mixed_types="use_json").data.table.combine_chunks()


def json_typed(rows: Rows) -> pa.Table:
    """Return a table whose nested columns are all of the type for JSON, as the library has them at its freest."""
    columns = {}
    for name in rows[0]:
        cells = [row[name] for row in rows]
        nested = isinstance(cells[0], dict | list)
        columns[name] = pa.array([json.dumps(cell) for cell in cells], pa.json_()) if nested else pa.array(cells)
    return pa.table(columns)


CONTAINERS: dict[str, Callable[[Rows], bytes]] = {
    "array.json": lambda rows: json.dumps(rows).encode(),
    "rows.zip": in_zip,
    "arrow.parquet": lambda rows: in_parquet(pa.Table.from_pylist(rows)),
    "stream.arrow": lambda rows: in_stream(pa.Table.from_pylist(rows)),
    "typed.parquet": lambda rows: in_parquet(json_typed(rows)),
    "datasets.parquet": lambda rows: in_parquet(of_datasets(rows)),
    "datasets.arrow": lambda rows: in_stream(of_datasets(rows)),
}


def outcomes(folder: Path, name: str, data: bytes) -> list[Any]:
    """Return the ids of every row's examples, or why it has none."""
    (folder / name).write_bytes(data)
    member = "rows.jsonl" if name.endswith(".zip") else None
    split = InputSplit(source="s", uri=name, location=str(folder / name), bytes=len(data), member=member)
    found: list[Any] = []
    reading = read_rows(split)
    while True:
        try:
            batch = next(reading)
        except StopIteration as end:
            record = end.value
            break
        for payload in batch.payloads:
            assert isinstance(payload, bytes)
            try:
                found.append([(example_id(example), example) for example in read_examples(payload)])
            except RowError as error:
                found.append(error.reason)
    assert record.refused == ""
    return found


@pytest.mark.parametrize("shape", NESTED)
@QUICK
@given(data=st.data())
def test_every_container_gives_the_same_examples(tmp_path: Path, shape: str, data: st.DataObject) -> None:
    rows = data.draw(several(NESTED[shape]))
    expected = outcomes(tmp_path, "rows.jsonl", lines(rows))
    assert any(not isinstance(outcome, str) for outcome in expected)
    containers = CONTAINERS | ({"rows.csv": comma_separated} if shape in FLAT else {})
    for name, write in containers.items():
        try:
            written = write(rows)
        except pa.ArrowNotImplementedError:  # Parquet has no struct without fields
            continue
        assert outcomes(tmp_path, name, written) == expected, name
