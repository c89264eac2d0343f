"""What tests of several transforms share."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from versatune.schemas.arrow import NORMALIZED, REJECT, TOKEN_FIELDS, classified_fields
from versatune.schemas.dataset import EXPANDED
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.shards.books import Results
from versatune.transforms.shards.pieces import fragment_pieces
from versatune.transforms.shards.plan_shards import plan_shards
from versatune.transforms.shards.shard_plan import ShardPlan
from versatune.transforms.shards.write_shards import NO_NEAR_DUPLICATES, NearDuplicates, ShardWriter, write_rejects
from versatune.transforms.transport.batch import Batch, InputSplit
from versatune.transforms.transport.exchange import Fragment, buckets, write_fragment
from versatune.transforms.transport.ids import id_halves

DOMAINS = DEFAULT_TAXONOMY.domains


@pytest.fixture
def rows() -> Callable[..., pa.RecordBatch]:
    """Return a function that makes normalised rows of conversations; the n-th one has the id n in hex."""
    return make_rows


def make_rows(*conversations: list[tuple[str, str]], **changes: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [
            {
                "id": f"{i:032x}",
                "messages": [{"role": role, "content": content} for role, content in turns],
                "unlearned": [],
                "tags": [],
                "num_chars": 1,
                "row": i,
                "item": 0,
                **changes,
            }
            for i, turns in enumerate(conversations)
        ],
        schema=NORMALIZED,
    )


class Corpus:
    """Files whose batches are as the last step leaves them, and what the steps after it make of them."""

    def __init__(self, home: Path, *, parts: int = 4, batch_rows: int = 50, tokenized: bool = True) -> None:
        self.home = home
        self.fragments: list[Fragment] = []
        self.records: list[dict[str, Any]] = []
        self._parts, self._batch_rows = parts, batch_rows
        self._schema = pa.schema([*NORMALIZED, *classified_fields(len(DOMAINS)), *(TOKEN_FIELDS if tokenized else [])])

    @staticmethod
    def identity(number: int) -> str:
        """Return the id of an example."""
        return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()

    @staticmethod
    def near(dropped: dict[int, int]) -> NearDuplicates:
        """Return near-duplicates: which number goes for which other one."""
        pairs = sorted((Corpus.identity(gone), Corpus.identity(kept)) for gone, kept in dropped.items())
        halves = id_halves(pa.array([gone for gone, _ in pairs], pa.string()))
        return NearDuplicates(halves, pa.array([kept for _, kept in pairs], pa.string()), str(sorted(dropped.items())))

    def file(
        self,
        uri: str,
        examples: Iterable[int | dict[str, Any]] = (),
        rejects: Iterable[tuple[int, str]] = (),
        *,
        source: str = "one",
        license: str = "MIT",  # noqa: A002  # as the record calls it
        parts: int = 1,
        refused: str = "",
        counts: dict[str, int] | None = None,
    ) -> Corpus:
        """Add a file: its examples (a number, or a dictionary with one) in order, and (row, 'stage.reason') of its rejects."""
        found = [self._example(at, entry) for at, entry in enumerate(examples)]
        refusals = [self._reject(row, reason) for row, reason in rejects]
        read = 1 + max((entry["row"] for entry in [*found, *refusals]), default=-1)
        bounds = [read * part // parts for part in range(parts + 1)]
        for part in range(parts):
            split = InputSplit(
                source=source, uri=uri, location=f"/{uri}", bytes=9, license=license, part=part, parts=parts
            )
            start, end = bounds[part], bounds[part + 1]
            firsts = range(start, end, self._batch_rows)
            for number, first in enumerate(firsts):
                last = min(first + self._batch_rows, end)
                good, bad = (
                    [{**e, "row": e["row"] - start} for e in entries if first <= e["row"] < last]
                    for entries in (found, refusals)
                )
                tally = Counter(counts or {}) if (part, number) == (0, 0) else Counter[str]()
                if len(good) + len(bad) != last - first:
                    tally[EXPANDED] = len(good) + len(bad) - (last - first)
                batch = Batch(
                    f"{split.key}-{number:06d}",
                    split,
                    pa.RecordBatch.from_pylist(good, schema=self._schema),
                    pa.RecordBatch.from_pylist(bad, schema=REJECT),
                    tally,
                )
                self.fragments.append(write_fragment(batch, f"{self.home}/fragments", self._parts))
            record = {"source": source, "uri": uri, "key": split.key, "part": part, "license": license}
            amounts = {"bytes": 9, "sha256": "0", "rows": end - start, "batches": len(firsts), "refused": refused}
            self.records.append({**record, **amounts})
        return self

    def plan(self, shard_bytes: int = 10**9, settings: str = "") -> ShardPlan:
        """Return the plan of all files."""
        return plan_shards(self.fragments, self.records, f"{self.home}/fragments", shard_bytes, settings)

    def writer(self, validation_fraction: float = 0.2) -> ShardWriter:
        """Return what writes the shards, to ``<home>/out``."""
        return ShardWriter(staging=str(self.home), domains=DOMAINS, validation_fraction=validation_fraction)

    def results(self, near: NearDuplicates = NO_NEAR_DUPLICATES, shard_bytes: int = 10**9) -> Results:
        """Write everything that a build writes before the manifest."""
        plan = self.plan(shard_bytes)
        return Results(
            records=self.records,
            plan=plan,
            written=[
                self.writer().write(bucket, plan, near, fragment_pieces(bucket, plan))
                for bucket in buckets(plan.buckets)
            ],
            rejected=[write_rejects(number, plan, f"{self.home}/out") for number in range(len(plan.reject_groups))],
        )

    def _example(self, at: int, entry: int | dict[str, Any]) -> dict[str, Any]:
        given = {"number": entry} if isinstance(entry, int) else dict(entry)
        number = given.pop("number")
        return {
            "id": self.identity(number),
            "messages": [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": "a"}],
            "tools": None,
            "rejected": None,
            "unlearned": [],
            "tags": [],
            "num_chars": 3,
            "row": at,
            "item": 0,
            "domain": ("law", "code")[number % 2],
            "domain_probs": [0.5, 0.5, 0, 0, 0, 0],
            "undetermined": False,
            "input_ids": [number % 7, 1, 2],
            "loss_mask": [False, True, True],
            "num_tokens": 3,
            "num_loss_tokens": 2,
            "num_cut_tokens": 0,
            **given,
        }

    def _reject(self, row: int, reason: str) -> dict[str, Any]:
        stage, _, name = reason.partition(".")
        return {"row": row, "item": 0, "stage": stage, "reason": name, "detail": "", "payload": str(row).encode()}


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Corpus]:
    """Return a function that makes an empty corpus; ``home`` is a folder of its own below the test's."""

    def make(home: str = "staging", **settings: Any) -> Corpus:
        return Corpus(tmp_path / home, **settings)

    return make


class EndpointServer:
    """A server on this machine: what it answers is up to the test, and it remembers what it was asked."""

    path = "/v1/chat/completions"

    def __init__(self) -> None:
        # Given (number of the request, its body): status, JSON value or text, and headers, of which a Content-Length may lie.
        self.reply: Callable[[int, dict[str, Any]], tuple[Any, ...]] = lambda number, body: (404, {})
        self.looks: dict[str, tuple[int, Any]] = {}
        """What GET requests are answered, by path."""
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.delay = 0.0
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.start(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self, port: int | None = None) -> None:
        """Listen, where it did before it was stopped."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                outer._connections.add(self.connection)

            def do_GET(self) -> None:
                self._send(*outer.looks.get(self.path, (404, {})))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.bodies.append(body)
                    outer.keys.append(self.headers.get("Authorization"))
                    number = len(outer.bodies)
                time.sleep(outer.delay)
                self._send(*(outer.reply(number, body) if self.path == outer.path else (404, {})))

            def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
                data = (value if isinstance(value, str) else json.dumps(value)).encode()
                given = {"Content-Type": "application/json", "Content-Length": str(len(data)), "retry-after-ms": "5"}
                given |= headers or {}
                self.close_connection = int(given["Content-Length"]) > len(data)
                with contextlib.suppress(OSError):  # the other side may have given up
                    self.send_response(status)
                    for name, text in given.items():
                        self.send_header(name, text)
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port if port is None else port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """End as if killed: nobody listens any more, and open connections break."""
        self._server.shutdown()
        self._server.socket.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()


@pytest.fixture
def endpoint_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EndpointServer]:
    """Return a server that speaks HTTP; the environment holds no key."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = EndpointServer()
    yield server
    server.stop()
