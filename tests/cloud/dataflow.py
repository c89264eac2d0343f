"""Dataflow's REST interface, as far as Beam uses it: a job is run from its staged file, in fresh interpreters, and ends as the test says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cloud.gcs import Gcs

ROOT = Path(__file__).parents[2]
_JOBS = re.compile(r"/v1b3/projects/[^/]+/locations/[^/]+/jobs(?:/(?P<id>[^/?]+))?(?P<rest>/\w+)?(?:\?|$)")


@dataclass
class Dataflow:
    """The service. Its route belongs to the stand-in of Cloud Storage, from which it reads what was staged."""

    gcs: Gcs
    ending: str = "JOB_STATE_DONE"
    """How a job ends that is not run at all, if it is another one than this."""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """As they were sent."""
    _work: subprocess.Popen[str] | None = None

    def route(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Answer a request."""
        found = _JOBS.match(path)
        if found is None:
            return None
        if method == "POST" and found["id"] is None:
            self.jobs.append(json.loads(body))
            if self.ending == "JOB_STATE_DONE":
                self._work = self._start()
            return self._job("JOB_STATE_RUNNING")
        if found["rest"]:
            return {}
        return self._job(self._state())

    @property
    def staged(self) -> bytes:
        """The pipeline of the newest job."""
        (key,) = [key for key in self.gcs.keys("bucket", "staging/") if key.endswith("/pipeline.pb")]
        return self.gcs.objects["bucket", key].data

    def _start(self) -> subprocess.Popen[str]:
        """Run the staged file as a worker's image would: the installed package, an empty PYTHONPATH, another working directory."""
        folder = Path(tempfile.mkdtemp())
        (folder / "pipeline.pb").write_bytes(self.staged)
        # A test run with -I has the wheel of this checkout installed, as an image has; another one has its sources alone.
        paths = "" if sys.flags.isolated else str(ROOT)
        return subprocess.Popen(
            [sys.executable, Path(__file__).with_name("staged.py"), folder / "pipeline.pb"],
            env=os.environ | {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1", "XDG_CACHE_HOME": str(folder)},
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _state(self) -> str:
        if self._work is None:
            return self.ending
        if (code := self._work.poll()) is None:
            return "JOB_STATE_RUNNING"
        return "JOB_STATE_FAILED" if code else "JOB_STATE_DONE"

    def _job(self, state: str) -> dict[str, Any]:
        return {"id": "2026-12-01_1", "name": "job", "currentState": state, "projectId": "p", "location": "us-central1"}
