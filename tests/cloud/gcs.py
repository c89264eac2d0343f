"""Google Cloud Storage, as far as Beam uses it: objects in memory behind its JSON API, on loopback, with every request logged."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

_OBJECT = re.compile(r"/(?:download/|upload/)?storage/v1/b/(?P<bucket>[^/]+)(?:/o(?:/(?P<key>[^/]+))?)?")
_REWRITE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
_PAGE = 1000


@dataclass
class Stored:
    """One object."""

    data: bytes
    generation: int
    updated: float


@dataclass
class Request:
    """What was asked of the store."""

    method: str
    path: str
    query: dict[str, str]
    authorized: bool

    @property
    def key(self) -> str:
        """The object's key, or an empty text."""
        found = _OBJECT.match(self.path)
        return unquote(found["key"] or "") if found else ""


Fault = Callable[[Request], int | None]
"""Says of a request with which status it fails; None where it does not, 0 where the connection is dropped."""


@dataclass
class Gcs:
    """The store: a server in a thread, what it holds, what it was asked."""

    objects: dict[tuple[str, str], Stored] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    routes: list[Callable[[str, str, bytes], dict[str, Any] | None]] = field(default_factory=list)
    """Other services at the same address, such as tokens and Dataflow: method, path and body to an answer, None for what is not theirs."""
    uploads: dict[str, tuple[str, str, bytearray]] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)

    def start(self) -> str:
        """Serve; return the address."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://localhost:{self.server.server_address[1]}"

    def stop(self) -> None:
        """End."""
        self.server.shutdown()
        self.server.server_close()

    def put(self, bucket: str, key: str, data: bytes) -> Stored:
        """Store an object; it takes the place of an earlier one."""
        with self.lock:
            before = self.objects.get((bucket, key))
            stored = Stored(data, (before.generation if before else time.time_ns() // 1000) + 1, time.time())
            self.objects[bucket, key] = stored
            return stored

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys of a bucket in order."""
        with self.lock:
            return sorted(key for b, key in self.objects if b == bucket and key.startswith(prefix))

    def resource(self, bucket: str, key: str) -> dict[str, Any] | None:
        """Return what the API says of an object."""
        with self.lock:
            stored = self.objects.get((bucket, key))
        if stored is None:
            return None
        moment = datetime.fromtimestamp(stored.updated, UTC).isoformat().replace("+00:00", "Z")
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{key}/{stored.generation}",
            "name": key,
            "bucket": bucket,
            "size": str(len(stored.data)),
            "generation": str(stored.generation),
            "metageneration": "1",
            "etag": str(stored.generation),
            "updated": moment,
            "timeCreated": moment,
            "contentType": "application/octet-stream",
            "crc32c": base64.b64encode(google_crc32c.value(stored.data).to_bytes(4, "big")).decode(),
            "md5Hash": base64.b64encode(hashlib.md5(stored.data).digest()).decode(),  # the API's checksum
        }


def _handler(store: Gcs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self._chunked()
            for route in store.routes:
                if (answer := route(self.command, self.path, body)) is not None:
                    self._answer(answer.pop("status", 200), answer)
                    return
            request = Request(self.command, url.path, query, "Authorization" in self.headers)
            with store.lock:
                store.requests.append(request)
                wrong = next((status for fault in store.faults if (status := fault(request)) is not None), None)
            if wrong == 0:
                self.close_connection = True
                self.connection.close()
            elif wrong is not None:
                self._answer(wrong, {"error": {"code": wrong, "message": "as the test wants it"}})
            elif url.path == "/batch/storage/v1":
                self._batch(body)
            else:
                self._one(request, body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815  # the names of http.server

        def _chunked(self) -> bytes:
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _one(self, request: Request, body: bytes) -> None:
            status, answer, headers = respond(store, request, body, dict(self.headers))
            self._answer(status, answer, headers)

        def _batch(self, body: bytes) -> None:
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
            assert boundary is not None
            answers = []
            for part in body.split(f"--{boundary[1]}".encode())[1:-1]:
                head, _, _ = (
                    part.strip().partition(b"\r\n\r\n") if b"\r\n\r\n" in part else part.strip().partition(b"\n\n")
                )
                inner = part[part.index(head) + len(head) :].lstrip()
                method, target, _ = inner.split(b"\n", 1)[0].decode().split(" ", 2)
                url = urlsplit(target)
                asked = Request(method, url.path, {}, authorized=True)
                with store.lock:
                    store.requests.append(asked)
                status, answer, _ = respond(store, asked, b"", {})
                content = json.dumps(answer) if isinstance(answer, dict) else ""
                number = re.search(rb"Content-ID: *<([^>]+)>", head, re.IGNORECASE)
                answers.append(
                    f"Content-Type: application/http\r\nContent-ID: <response-{number[1].decode() if number else ''}>\r\n\r\n"
                    f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n{content}\r\n"
                )
            text = "".join(f"--answers\r\n{answer}" for answer in answers) + "--answers--\r\n"
            self._answer(200, text.encode(), {"Content-Type": "multipart/mixed; boundary=answers"})

        def _answer(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode() if answer is not None else b""
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


_MISSING = (404, {"error": {"code": 404, "message": "Not Found"}}, {})


def respond(store: Gcs, request: Request, body: bytes, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
    """Return status, answer and headers of one call of the JSON API."""
    if moved := _REWRITE.fullmatch(request.path):
        return _rewrite(store, *(unquote(part) for part in moved.groups()))
    found = _OBJECT.fullmatch(request.path)
    if found is None:
        return _MISSING
    bucket, key = found["bucket"], unquote(found["key"] or "")
    if request.path.startswith("/upload/"):
        return _upload(store, request, bucket, body, headers)
    if request.path.endswith("/o"):
        return _list(store, bucket, request.query)
    if not key:
        return 200, {"kind": "storage#bucket", "name": bucket, "id": bucket, "projectNumber": "1"}, {}
    resource = store.resource(bucket, key)
    if resource is None:
        return _MISSING
    if request.method == "DELETE":
        with store.lock:
            store.objects.pop((bucket, key), None)
        return 204, None, {}
    if request.query.get("alt") == "media":
        return _download(store.objects[bucket, key].data, resource, headers)
    return 200, resource, {}


def _list(store: Gcs, bucket: str, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
    keys = [key for key in store.keys(bucket, query.get("prefix", "")) if key > query.get("pageToken", "")]
    items = [resource for key in keys[:_PAGE] if (resource := store.resource(bucket, key))]
    more = {"nextPageToken": keys[_PAGE - 1]} if len(keys) > _PAGE else {}
    return 200, {"kind": "storage#objects", "items": items, **more}, {}


def _download(data: bytes, resource: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
    about = {"Content-Type": "application/octet-stream", "X-Goog-Generation": resource["generation"]}
    about["X-Goog-Hash"] = f"crc32c={resource['crc32c']},md5={resource['md5Hash']}"
    wanted = re.match(r"bytes=(\d+)-(\d*)", headers.get("Range") or headers.get("range") or "")
    if wanted is None:
        return 200, data, about
    first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
    if first >= len(data):
        return 416, b"", {"Content-Range": f"bytes */{len(data)}"}
    return 206, data[first : last + 1], about | {"Content-Range": f"bytes {first}-{last}/{len(data)}"}


def _upload(
    store: Gcs, request: Request, bucket: str, body: bytes, headers: dict[str, str]
) -> tuple[int, Any, dict[str, str]]:
    kind = request.query.get("uploadType")
    if kind == "resumable" and request.method == "POST":
        name = request.query.get("name") or json.loads(body)["name"]
        number = str(len(store.uploads))
        store.uploads[number] = (bucket, name, bytearray())
        host = headers.get("Host")
        return (
            200,
            {},
            {"Location": f"http://{host}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"},
        )
    if kind == "resumable":
        bucket, name, sent = store.uploads[request.query["upload_id"]]
        sent.extend(body)
        span = headers.get("content-range") or headers.get("Content-Range") or ""
        if span.endswith("/*"):
            return 308, None, {"Range": f"bytes=0-{len(sent) - 1}"} if sent else {}
        return 200, store.put(bucket, name, bytes(sent)) and store.resource(bucket, name), {}
    if kind == "multipart":
        boundary = re.search(r"boundary=\"?([^\";]+)", headers.get("content-type") or headers.get("Content-Type") or "")
        assert boundary is not None
        _, about, content, _ = body.split(f"--{boundary[1]}".encode())
        name = json.loads(about.partition(b"\r\n\r\n")[2])["name"]
        data = content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
    else:
        name, data = request.query["name"], body
    store.put(bucket, name, data)
    return 200, store.resource(bucket, name), {}


def _rewrite(store: Gcs, bucket: str, key: str, to_bucket: str, to_key: str) -> tuple[int, Any, dict[str, str]]:
    with store.lock:
        stored = store.objects.get((bucket, key))
    if stored is None:
        return _MISSING
    store.put(to_bucket, to_key, stored.data)
    size, resource = str(len(stored.data)), store.resource(to_bucket, to_key)
    return 200, {"done": True, "totalBytesRewritten": size, "objectSize": size, "resource": resource}, {}
