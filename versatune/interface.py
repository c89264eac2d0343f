"""What a Python program may rely on: each of these names is ``versatune.<name>``. Everything else may move without notice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from versatune.schemas.config import Config, load_config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import ConfigError, DataError, IntegrityError, RunError, UsageError, VersatuneError
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.pointer import read_pointer
from versatune.schemas.probe import ProbeReport
from versatune.schemas.progress import Progress, Silence
from versatune.schemas.run import RunRecord
from versatune.schemas.version import VERSION

if TYPE_CHECKING:
    import pyarrow as pa

__version__ = VERSION
__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "DatasetManifest",
    "IntegrityError",
    "MixtureManifest",
    "ProbeReport",
    "Progress",
    "RunError",
    "RunRecord",
    "UsageError",
    "VersatuneError",
    "__version__",
    "build",
    "iter_batches",
    "load_config",
    "mix",
    "probe",
    "read_dataset",
    "read_mixture",
    "read_probe",
    "read_run",
    "train",
]


def build(config: Config, *, beam_args: Sequence[str] = (), progress: Progress | None = None) -> Path:
    """Build a dataset version from raw files. A build that was killed goes on where it was.

    Args:
        config: what to build, and from what.
        beam_args: flags for Apache Beam, such as ``--runner=DataflowRunner``.
        progress: hears how far the work is; None for silence.

    Returns:
        The version's manifest.json; :func:`read_dataset` reads it.

    Raises:
        UsageError: a value or an input that cannot be used.
        RunError: the work itself failed.
    """
    return _run("build", config, beam_args, progress)


def probe(config: Config, *, beam_args: Sequence[str] = (), progress: Progress | None = None) -> Path:
    """Sample the configuration's base model and estimate what it writes about; arguments and errors as of :func:`build`.

    Returns:
        The probe's probe.json; :func:`read_probe` reads it.
    """
    return _run("probe", config, beam_args, progress)


def mix(config: Config, *, progress: Progress | None = None) -> Path:
    """Compose a mixture from the newest dataset version and, where the policy needs it, the newest probe; errors as of :func:`build`.

    Returns:
        The mixture's mixture.json; :func:`read_mixture` reads it.
    """
    return _run("mix", config, (), progress)


def train(config: Config, *, progress: Progress | None = None) -> Path:
    """Fine-tune from the newest mixture. Training that was killed goes on from its last checkpoint; errors as of :func:`build`.

    Returns:
        The run's run.json; :func:`read_run` reads it.
    """
    return _run("train", config, (), progress)


def read_dataset(where: str | Path) -> DatasetManifest:
    """Read a dataset version's manifest.

    Args:
        where: the manifest.json or its directory; a dataset's directory or a configuration, for the newest version.

    Raises:
        DataError: there is none, or it is of another format.
        IntegrityError: it was changed after it was written. This holds for each of the readers.
    """
    from versatune.versions.listing import find_version

    return DatasetManifest.load(find_version(Path(where)))


def read_probe(where: str | Path) -> ProbeReport:
    """Read a probe's report: its probe.json or its directory; or OUTPUT/NAME/probe, for the newest one."""
    return ProbeReport.load(_document(where, "probe.json", "probe report", "versatune probe CONFIG"))


def read_mixture(where: str | Path) -> MixtureManifest:
    """Read a mixture's manifest: its mixture.json or its directory; or OUTPUT/NAME/mixture, for the newest one."""
    return MixtureManifest.load(_document(where, "mixture.json", "mixture", "versatune mix CONFIG"))


def read_run(where: str | Path) -> RunRecord:
    """Read a finished run's record: its run.json or its directory; or OUTPUT/NAME/runs, for the newest one."""
    return RunRecord.load(_document(where, "run.json", "finished run", "versatune train CONFIG"))


def iter_batches(
    where: str | Path,
    *,
    split: Literal["train", "validation"] = "train",
    domain: str | None = None,
    columns: Sequence[str] | None = None,
    batch_rows: int = 8192,
) -> Iterator[pa.RecordBatch]:
    """Iterate over a version's examples as Arrow batches; see :func:`versatune.versions.examples.iter_batches`."""
    from versatune.versions import examples

    return examples.iter_batches(where, split=split, domain=domain, columns=columns, batch_rows=batch_rows)


def _run(stage: str, config: Config, beam_args: Sequence[str], progress: Progress | None) -> Path:
    stages = import_module(
        "versatune.stages"
    )  # by name, so that a type checker of your program need not look at Beam and torch
    job = stages.Job(config=config, beam_args=tuple(beam_args), progress=progress or Silence())
    return Path(stages.run_one(job, stage))


def _document(where: str | Path, name: str, what: str, command: str) -> Path:
    path = Path(where)
    if path.is_dir():
        inside = path / name
        return inside if inside.is_file() else read_pointer(path / "latest.json", what=what, command=command)
    return path
