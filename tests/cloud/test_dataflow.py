"""The job that Dataflow would get: what it holds, what it does when it is run from its staged file, and how its endings are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from tests.cloud.conftest import GcsStore
from tests.cloud.dataflow import Dataflow
from tests.cloud.test_commands import SOURCES, configuration, rows, said
from versatune import load_config, read_dataset
from versatune.pipelines.build import run
from versatune.schemas.progress import Silence

IMAGE = "example.org/versatune:1"


@pytest.fixture
def service(gcs: GcsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dataflow]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Dataflow(gcs.gcs)
    gcs.gcs.routes.append(made.route)
    for name in SOURCES:
        gcs.put(f"raw/{name}.jsonl", rows(name))
    yield made
    gcs.gcs.routes.remove(made.route)


def flags(gcs: GcsStore) -> list[str]:
    port = gcs.gcs.server.server_address[1]
    return [
        "--",
        "--runner=DataflowRunner",
        "--project=project-of-tests",
        "--region=us-central1",
        "--temp_location=gs://bucket/tmp",
        "--staging_location=gs://bucket/staging",
        f"--sdk_container_image={IMAGE}",
        "--sdk_location=container",
        f"--dataflow_endpoint=http://localhost:{port}",
    ]


@pytest.mark.slow
def test_the_staged_job_makes_the_bytes_of_a_laptop(
    service: Dataflow, gcs: GcsStore, tmp_path: Path, tiny_model: Path
) -> None:
    for name in SOURCES:
        (tmp_path / "local" / "raw").mkdir(parents=True, exist_ok=True)
        (tmp_path / "local" / "raw" / f"{name}.jsonl").write_bytes(rows(name))
    here = configuration(tmp_path / "local", "out", "raw", tiny_model)
    local = read_dataset(run(load_config(here), progress=Silence()))
    file = configuration(tmp_path / "remote", "gs://bucket/out", "gs://bucket/raw", tiny_model)
    assert f"digest {local.digest[:12]}" in said("build", file, *flags(gcs))
    for shard in local.shards:
        assert (
            gcs.get(f"out/toy/{local.version}/{shard.path}")
            == (tmp_path / "local" / "out" / "toy" / local.version / shard.path).read_bytes()
        )
    assert "verified" in said("verify", f"gs://bucket/out/toy/{local.version}", "--deep")
    assert not [key for key in gcs.keys("out/") if ".staging-" in key or ".partial" in key]
    _look_at(service, tmp_path)


def _look_at(service: Dataflow, tmp_path: Path) -> None:
    """The image on every environment, hints on no step of a build, and no path of this machine anywhere."""
    (job,) = service.jobs
    pipeline = beam_runner_api_pb2.Pipeline.FromString(service.staged)
    assert {IMAGE} == {
        pool["sdkHarnessContainerImages"][0]["containerImage"] for pool in job["environment"]["workerPools"]
    }
    assert all(IMAGE.encode() in environment.payload for environment in pipeline.components.environments.values())
    assert not any(environment.resource_hints for environment in pipeline.components.environments.values())
    sent = json.dumps(job).encode() + service.staged
    for path in (str(tmp_path), str(Path.home()), str(Path(__file__).parents[2])):
        assert path.encode() not in sent


@pytest.mark.parametrize(("ending", "named"), [("JOB_STATE_FAILED", "FAILED"), ("JOB_STATE_CANCELLED", "CANCELLED")])
def test_a_job_that_ends_otherwise_is_named(
    service: Dataflow, gcs: GcsStore, tmp_path: Path, tiny_model: Path, ending: str, named: str
) -> None:
    service.ending = ending
    file = configuration(tmp_path, "gs://bucket/out", "gs://bucket/raw", tiny_model)
    assert named in said("build", file, *flags(gcs), code=1)
    assert not [key for key in gcs.keys("out/") if key.endswith("manifest.json")]


def test_places_on_this_machine_are_refused_before_a_job_is_made(
    service: Dataflow, gcs: GcsStore, tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "raw").mkdir()
    for name in SOURCES:
        (tmp_path / "raw" / f"{name}.jsonl").write_bytes(rows(name))
    file = configuration(tmp_path, "gs://bucket/out", "raw", tiny_model)
    message = said("build", file, *flags(gcs), code=2)
    assert "works on machines that cannot read this one's files" in message and "law.jsonl" in message
    assert "output is" in said(
        "build", configuration(tmp_path, "out", "gs://bucket/raw", tiny_model), *flags(gcs), code=2
    )
    assert "model.path is" in said("probe", file, *flags(gcs), code=2)
    assert service.jobs == []
