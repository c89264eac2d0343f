"""Dataset versions made without a pipeline, row by row, so that a test knows what must be found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.records import TEMPLATE
from versatune.schemas.arrow import REJECT, example_schema
from versatune.schemas.dataset import (
    BenchmarkRecord,
    ClassifierRecord,
    DecontaminationRecord,
    RepairRecord,
    TokenizerRecord,
)
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.overlap.near_duplicates import Clusters
from versatune.transforms.shapes.base import Example
from versatune.transforms.shapes.conversation import example_id
from versatune.transforms.shards.books import Results
from versatune.transforms.shards.pieces import fragment_pieces
from versatune.transforms.shards.plan_shards import plan_shards
from versatune.transforms.shards.write_manifest import VersionPlan, make_manifest, publish
from versatune.transforms.shards.write_shards import NearDuplicates, ShardWriter, write_rejects
from versatune.transforms.transport.batch import Batch, InputSplit
from versatune.transforms.transport.exchange import buckets, write_fragment


class Row(NamedTuple):
    """One example of a made version."""

    text: str
    source: str = "one"
    uri: str = "raw/one.jsonl"
    row: int = 0
    item: int = 0
    domain: str = "law"
    tags: tuple[str, ...] = ()
    tokens: int = 3
    sure: bool = True

    @property
    def example(self) -> Example:
        return Example([("user", f"Read out: {self.text}"), ("assistant", self.text)])

    @property
    def id(self) -> str:
        return example_id(self.example)


class Reject(NamedTuple):
    """One rejected row of a made version."""

    reason: str
    source: str = "one"
    uri: str = "raw/one.jsonl"
    row: int = 0
    item: int = 0
    stage: str = "normalize"
    payload: bytes = b'{"prompt": "Hm?"}'


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a version is made from."""

    rows: Sequence[Row]
    rejects: Sequence[Reject] = ()
    near: dict[str, str] | None = None
    """Dropped id to kept id; None where near-duplicates are not looked for."""
    licenses: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """Uri of source "one" to the reason."""
    shard_bytes: int = 2**20
    tokenized: bool = False
    fraction: float = 0.2
    config: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    benchmarks: dict[str, int] | None = None
    version: str | None = None
    parent: str | None = None
    repairs: RepairRecord | None = None


def make(home: Path, recipe: Recipe) -> Path:
    """Write a version into the dataset's directory ``home`` and return its directory."""
    staging = str(home / ".staging")
    files = sorted({(x.source, x.uri) for x in (*recipe.rows, *recipe.rejects)})
    splits = {
        file: InputSplit(
            source=file[0], uri=file[1], location=file[1], bytes=9, license=recipe.licenses.get(file[0], "MIT")
        )
        for file in files
    }
    fragments, records = [], []
    for at, (file, split) in enumerate(splits.items()):
        rows = [row for row in recipe.rows if (row.source, row.uri) == file]
        rejects = [row for row in recipe.rejects if (row.source, row.uri) == file]
        places = {row.row for row in (*rows, *rejects)}
        counts = Counter({"expanded": len(rows) + len(rejects) - len(places)}) + Counter(
            recipe.counts if at == 0 else {}
        )
        batch = Batch(f"{split.key}-000000", split, _examples(rows, recipe), _rejects(rejects), counts)
        fragments.append(write_fragment(batch, f"{staging}/fragments", 16))
        assert places == set(range(len(places))), f"rows of {file} have gaps"
        records.append(_record(split, len(places), ""))
    for uri, why in recipe.refused.items():
        split = InputSplit(source="one", uri=uri, location=uri, bytes=9, license="MIT")
        records.append(_record(split, 0, why))
    plan = plan_shards(fragments, records, f"{staging}/fragments", recipe.shard_bytes, "")
    near, clusters = _near(recipe.near, staging)
    writer = ShardWriter(staging=staging, domains=DEFAULT_TAXONOMY.domains, validation_fraction=recipe.fraction)
    results = Results(
        records=records,
        plan=plan,
        written=[writer.write(bucket, plan, near, fragment_pieces(bucket, plan)) for bucket in buckets(plan.buckets)],
        rejected=[write_rejects(number, plan, f"{staging}/out") for number in range(len(plan.reject_groups))],
        clusters=clusters,
    )
    version = VersionPlan(
        home=str(home),
        staging=f"{staging}/out",
        name="made",
        version=recipe.version,
        taxonomy=DEFAULT_TAXONOMY,
        classifier=ClassifierRecord(
            sha256="0" * 64, labels=[], undetermined_below=0.4, confusion=None, precision_determined=0.9, unseen_ece=0.1
        ),
        tokenizer=TokenizerRecord(
            name="tok", sha256="0" * 64, chat_template_sha256="0" * 64, max_tokens=9, template=TEMPLATE
        )
        if recipe.tokenized
        else None,
        fingerprint={"build": {"validation_fraction": recipe.fraction, **recipe.config}},
        max_rejected_fraction=1.0,
        decontamination=DecontaminationRecord(
            digest="0" * 64,
            benchmarks=[BenchmarkRecord(name=n, items=i, too_short=0, hits=0) for n, i in recipe.benchmarks.items()],
        )
        if recipe.benchmarks is not None
        else None,
        parent=recipe.parent,
        repairs=recipe.repairs,
        started=0.0,
    )
    outcome = publish(version, make_manifest(version, results))
    return Path(str(outcome.manifest)).parent


def _record(split: InputSplit, rows: int, refused: str) -> dict[str, Any]:
    return {
        "key": split.key, "source": split.source, "uri": split.uri, "part": 0, "rows": rows, "batches": 1, "bytes": 9,
        "sha256": "1" * 64, "license": split.license, "refused": refused,
    }  # fmt: skip


def _examples(rows: Sequence[Row], recipe: Recipe) -> pa.RecordBatch:
    schema = example_schema(len(DEFAULT_TAXONOMY), tokenized=recipe.tokenized)
    fields = [field for field in schema if field.name not in ("source", "license")]
    fields += [pa.field("row", pa.int64(), nullable=False), pa.field("item", pa.int32(), nullable=False)]
    values = [_values(row) for row in rows]
    arrays = [pa.array([value[field.name] for value in values], field.type) for field in fields]
    batch = pa.record_batch(arrays, schema=pa.schema(fields))
    # The columns stand in the order that normalising, classifying and tokenizing give them.
    order = [name for name in schema.names if name not in ("source", "license")]
    order[order.index("num_chars") + 1 : order.index("num_chars") + 1] = ["row", "item"]
    return batch.select(order)


def _values(row: Row) -> dict[str, Any]:
    messages = row.example.messages
    k = len(DEFAULT_TAXONOMY)
    probs = [float(name == row.domain) if row.sure else 1 / k for name in DEFAULT_TAXONOMY.domains]
    return {
        "id": row.id,
        "messages": [{"role": role, "content": content} for role, content in messages],
        "unlearned": [], "tools": None, "rejected": None, "tags": list(row.tags),
        "num_chars": sum(len(content) for _, content in messages),
        "row": row.row, "item": row.item, "domain": row.domain, "domain_probs": probs,
        "undetermined": not row.sure,
        "input_ids": list(range(row.tokens)), "loss_mask": [at > 0 for at in range(row.tokens)],
        "num_tokens": row.tokens, "num_loss_tokens": row.tokens - 1, "num_cut_tokens": 0,
    }  # fmt: skip


def _rejects(rejects: Sequence[Reject]) -> pa.RecordBatch:
    values = [
        {"row": r.row, "item": r.item, "stage": r.stage, "reason": r.reason, "detail": "is wrong", "payload": r.payload}
        for r in rejects
    ]
    return pa.RecordBatch.from_pylist(values, schema=REJECT)


def _near(pairs: dict[str, str] | None, staging: str) -> tuple[NearDuplicates, Clusters | None]:
    dropped = sorted(pairs or {})
    halves = np.array([[int(name[:16], 16), int(name[16:], 16)] for name in dropped], np.uint64).reshape(-1, 2)
    near = NearDuplicates(halves, pa.array([(pairs or {})[name] for name in dropped], pa.string()), "")
    if pairs is None:
        return near, None
    file = Path(staging) / "out" / "near_duplicates.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = sorted((kept, name) for name, kept in pairs.items())
    table = {
        "kept": [k for k, _ in rows],
        "id": [n for _, n in rows],
        "similarity": pa.array([0.9] * len(rows), pa.float32()),
    }
    pq.write_table(pa.table(table), file)
    data = file.read_bytes()
    return near, Clusters(str(file), len(rows), len(data), sha256(data).hexdigest(), len(set(pairs.values())))


MakeVersion = Callable[..., Path]


@pytest.fixture
def make_version(tmp_path: Path) -> MakeVersion:
    """Return a function that writes a version below ``tmp_path/made``; keyword arguments are those of :class:`Recipe`."""
    return lambda **recipe: make(tmp_path / "made", Recipe(**recipe))


class Story(NamedTuple):
    """A version with one of everything."""

    directory: Path
    rows: dict[str, Row]


@pytest.fixture
def story(make_version: MakeVersion) -> Story:
    """A version of three sources with duplicates, near-duplicates, a row of several examples, rejects and a refused file."""
    rows = {
        "plain": Row("The court agrees.", row=0, tags=("pii.email",), sure=False),
        "copied": Row("A fever passes.", row=1, domain="medicine"),
        "copy": Row("A fever passes.", source="two", uri="raw/two.csv", row=0, domain="medicine"),
        "item0": Row("First of a table.", source="two", uri="raw/two.csv", row=1, item=0, domain="finance"),
        "item1": Row("Second of a table.", source="two", uri="raw/two.csv", row=1, item=1, domain="finance"),
    }
    alike = sorted(
        [Row("Bonds fell at once.", row=2, domain="finance"), Row("Bonds fell at once!", row=3, domain="finance")],
        key=lambda row: row.id,
    )
    rows |= {"kept": alike[0], "near": alike[1]}
    rows["near_copy"] = alike[1]._replace(source="zoo", uri="zoo.zip!/a:b.json", row=0)
    directory = make_version(
        rows=list(rows.values()),
        rejects=[
            Reject("empty_answer", row=4, payload=b'{"prompt": "Hm?", "completion": ""}'),
            Reject("not_json", row=5, stage="read", payload=b'{"prompt": \xff'),
            Reject("bad_pair", source="two", uri="raw/two.csv", row=1, item=2),
        ],
        near={alike[1].id: alike[0].id},
        refused={"raw/broken.parquet": "raw/broken.parquet: damaged; give another"},
        licenses={"two": "CC0-1.0"},
        tokenized=True,
        shard_bytes=200,
        counts={"pii.email": 2, "decontaminate.arc": 1},
        benchmarks={"arc": 10},
    )
    return Story(directory, rows)


@pytest.fixture
def row() -> type[Row]:
    """The class of a made row."""
    return Row


@pytest.fixture
def reject() -> type[Reject]:
    """The class of a made reject."""
    return Reject
