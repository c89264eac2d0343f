"""Clients of object stores, made once: Beam makes one for every call, which costs more than the call (0.14 s of processor time on S3)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

_S3 = "apache_beam.io.aws.clients.s3.boto3_client"
_GCS = "apache_beam.io.gcp.gcsio"
_CONNECTIONS = 32


def reuse_clients() -> None:
    """Let Beam's file systems share their clients within a process; those whose packages are not installed are left alone."""
    if FileSystems._pipeline_options is None:  # noqa: SLF001  # S3's asks for some, whatever is in them
        FileSystems.set_options(PipelineOptions([]))
    s3, gcs = sys.modules.get(_S3), sys.modules.get(_GCS)
    if s3 is not None and getattr(s3, "boto3", None) is not None and not isinstance(s3.boto3, _OneSession):
        s3.boto3 = _OneSession(s3.boto3)  # type: ignore[attr-defined]  # Beam's client looks it up there
    if gcs is not None and not isinstance(gcs.create_storage_client, _OneClientEach):
        gcs.create_storage_client = _OneClientEach(gcs.create_storage_client)  # type: ignore[attr-defined]  # as above


class _OneSession:
    """Stands for the module boto3 in Beam's client: sessions are one, and so are clients with the same settings, which threads may share."""

    def __init__(self, boto3: Any) -> None:
        self._boto3, self._lock, self._made = boto3, threading.Lock(), dict[Any, Any]()
        self.session = self

    def Session(self) -> _OneSession:  # noqa: N802  # boto3's name
        """Return this."""
        return self

    def client(self, **settings: Any) -> Any:
        """Return the client of these settings."""
        key = tuple(sorted((name, str(value)) for name, value in settings.items()))
        with self._lock:
            if key not in self._made:
                from botocore.config import Config

                pool = Config(max_pool_connections=_CONNECTIONS)
                self._made[key] = self._boto3.session.Session().client(**settings, config=pool)
            return self._made[key]


class _OneClientEach(threading.local):
    """Makes a client of Google Cloud Storage for each thread and project; its connections are not for several threads."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make, self._made = make, dict[Any, Any]()

    def __call__(self, pipeline_options: Any, use_credentials: bool = True) -> Any:
        from apache_beam.options.pipeline_options import GoogleCloudOptions

        view = pipeline_options.view_as(GoogleCloudOptions)
        key = (view.project, view.job_name, str(view.gcs_custom_audit_entries), view.no_auth, use_credentials)
        if key not in self._made:
            self._made[key] = self._make(pipeline_options, use_credentials)
        return self._made[key]
