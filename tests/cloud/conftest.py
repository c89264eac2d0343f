"""Object stores on loopback, one of each kind a test process; Beam reaches them through its own file systems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from apache_beam.io.gcp import gcsio

from tests.cloud.credentials import service_account, token
from tests.cloud.gcs import Gcs
from versatune.transforms.transport.clients import _OneClientEach

BUCKET = "bucket"


class Store(Protocol):
    """What tests do with a store behind the back of the code under test."""

    def put(self, key: str, data: bytes) -> None: ...
    def get(self, key: str) -> bytes: ...
    def keys(self, prefix: str = "") -> list[str]: ...
    def address(self, key: str) -> str: ...
    def clear(self) -> None: ...


@dataclass
class GcsStore:
    """Our own few lines."""

    gcs: Gcs

    def put(self, key: str, data: bytes) -> None:
        self.gcs.put(BUCKET, key, data)

    def get(self, key: str) -> bytes:
        return self.gcs.objects[BUCKET, key].data

    def keys(self, prefix: str = "") -> list[str]:
        return self.gcs.keys(BUCKET, prefix)

    def address(self, key: str) -> str:
        return f"gs://{BUCKET}/{key}"

    def clear(self) -> None:
        self.gcs.objects.clear()
        self.gcs.requests.clear()
        self.gcs.faults.clear()


@dataclass
class S3Store:
    """moto's server."""

    client: Any

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return data

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

    def address(self, key: str) -> str:
        return f"s3://{BUCKET}/{key}"

    def clear(self) -> None:
        for key in self.keys():
            self.client.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture(scope="session")
def environment() -> Iterator[pytest.MonkeyPatch]:
    """The variables by which the clouds' own libraries find a stand-in."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="session")
def gcs_server(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    gcs = Gcs(routes=[token])
    address = gcs.start()
    account = service_account(tmp_path_factory.mktemp("account") / "account.json", address)
    environment.setenv("STORAGE_EMULATOR_HOST", address)
    environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    environment.setenv("GOOGLE_CLOUD_PROJECT", "project-of-tests")
    made: Any = gcsio.create_storage_client  # another test of this process may have made clients of the real store
    environment.setattr(gcsio, "create_storage_client", _OneClientEach(made._make))
    yield gcs
    gcs.stop()


@pytest.fixture(scope="session")
def s3_client(environment: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    environment.setenv("AWS_ACCESS_KEY_ID", "of")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


@pytest.fixture
def gcs(gcs_server: Gcs) -> GcsStore:
    store = GcsStore(gcs_server)
    store.clear()
    return store


@pytest.fixture(params=["gs", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty bucket of each kind, and a machine that has never seen it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made: Store = (
        GcsStore(request.getfixturevalue("gcs_server"))
        if request.param == "gs"
        else S3Store(request.getfixturevalue("s3_client"))
    )
    made.clear()
    return made
