"""What a Python program may rely on: each of these names is ``versatune.<name>``. Everything else may move without notice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from versatune.checks.report import CheckReport, Problem
from versatune.pipelines.quiet import quiet
from versatune.schemas.config import Config, load_config
from versatune.schemas.dataset import DatasetManifest, Split
from versatune.schemas.errors import ConfigError, DataError, IntegrityError, RunError, UsageError, VersatuneError
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.pointer import read_pointer
from versatune.schemas.probe import ProbeReport
from versatune.schemas.progress import Progress, Silence
from versatune.schemas.remote import mirror_of
from versatune.schemas.run import RunRecord
from versatune.schemas.version import VERSION

if TYPE_CHECKING:
    import pyarrow as pa

__version__ = VERSION
Where = str | os.PathLike[str]
__all__ = [
    "CheckReport",
    "Config",
    "ConfigError",
    "DataError",
    "DatasetManifest",
    "IntegrityError",
    "MixtureManifest",
    "ProbeReport",
    "Problem",
    "Progress",
    "RunError",
    "RunRecord",
    "UsageError",
    "VersatuneError",
    "__version__",
    "build",
    "check",
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

    Outside the main thread of the program it is one process, whatever ``build.workers`` says.

    Args:
        config: what to build, and from what.
        beam_args: flags for Apache Beam, such as ``--runner=DataflowRunner``.
        progress: hears how far the work is, now and then from another thread; None for silence.

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

    It becomes the newest mixture, unless ``mix`` or ``seed`` was changed by ``overrides`` of :func:`load_config`.

    Returns:
        The mixture's mixture.json; :func:`read_mixture` reads it.
    """
    return _run("mix", config, (), progress)


def train(config: Config, *, mixture: Where | None = None, progress: Progress | None = None) -> Path:
    """Fine-tune from a mixture. Training that was killed goes on from its last checkpoint; errors as of :func:`build`.

    Args:
        config: how to train, and what.
        mixture: what :func:`mix` returned, or the first digits of a mixture's digest; None for the newest one, or, where ``mix`` or
            ``seed`` was changed by ``overrides``, the one that :func:`mix` made of that configuration.
        progress: as of :func:`build`.

    Returns:
        The run's run.json; :func:`read_run` reads it.
    """
    return _run("train", config, (), progress, None if mixture is None else os.fspath(mixture))


def check(config: Config, *, stages: Sequence[str] | None = None, beam_args: Sequence[str] = ()) -> CheckReport:
    """Look for everything that a stage would refuse, before any works. Nothing is written, and no weights are loaded.

    Args:
        config: what would be run.
        stages: those to check for: build, probe, mix, train; None for those that `versatune run` would not skip.
        beam_args: as of :func:`build`.

    Returns:
        Problems, each refused or a warning, and facts about what is fine; ``raise_refused()`` raises what would be refused.

    Raises:
        UsageError: there is no such stage.
    """
    with _stages() as module:
        report: CheckReport = module.check(_job(module, config, beam_args, None), stages)
    return report


def read_dataset(where: Where) -> DatasetManifest:
    """Read a dataset version's manifest.

    Args:
        where: the manifest.json or its directory; a configuration's file, or OUTPUT/NAME, for the newest version.

    Raises:
        DataError: there is none, it cannot be read, or it is of another format.
        IntegrityError: it was changed after it was written. This holds for each of the readers.
    """
    from versatune.versions.listing import find_version

    with _readable(where):
        return DatasetManifest.load(find_version(mirror_of(os.fspath(where))))


def read_probe(where: Where) -> ProbeReport:
    """Read a probe's report: its probe.json or its directory; a configuration's file, or OUTPUT/NAME/probe, for the newest one."""
    return ProbeReport.load(_document(where, "probe", "probe.json", "probe report", ProbeReport.MADE_BY))


def read_mixture(where: Where) -> MixtureManifest:
    """Read a mixture's manifest: its mixture.json or its directory; a configuration's file, or OUTPUT/NAME/mixture, for the newest one."""
    return MixtureManifest.load(_document(where, "mixture", "mixture.json", "mixture", MixtureManifest.MADE_BY))


def read_run(where: Where) -> RunRecord:
    """Read a finished run's record: its run.json or its directory; a configuration's file, or OUTPUT/NAME/runs, for the newest one."""
    return RunRecord.load(_document(where, "runs", "run.json", "finished run", RunRecord.MADE_BY))


def iter_batches(
    where: Where,
    *,
    split: Split = "train",
    domain: str | None = None,
    columns: Sequence[str] | None = None,
    batch_rows: int = 8192,
) -> Iterator[pa.RecordBatch]:
    """Iterate over a version's examples, in the order of its manifest; memory holds one batch and what Parquet needs around it.

    Args:
        where: as of :func:`read_dataset`.
        split: ``train`` or ``validation``: held-out rows never come with the others.
        domain: this domain's examples alone; None for all of them.
        columns: names of columns; None for all (docs/data-contract.md says what they hold).
        batch_rows: most rows in a batch.

    Raises:
        UsageError: there is no such version, domain or column; another split; batches without rows.
        IntegrityError: a shard is missing, or not as large as the manifest says. ``versatune verify`` compares every byte.
    """
    from versatune.versions import examples

    with _readable(where):
        return examples.iter_batches(
            mirror_of(os.fspath(where)), split=split, domain=domain, columns=columns, batch_rows=batch_rows
        )


def _run(
    stage: str, config: Config, beam_args: Sequence[str], progress: Progress | None, mixture: str | None = None
) -> Path:
    with _stages() as stages:
        return Path(stages.run_one(_job(stages, config, beam_args, progress, mixture), stage))


def _job(
    stages: Any, config: Config, beam_args: Sequence[str], progress: Progress | None, mixture: str | None = None
) -> Any:
    if not isinstance(config, Config):
        raise UsageError(f"config is {config!r}; expected what versatune.load_config(FILE) returns")
    flags = (beam_args,) if isinstance(beam_args, str) else tuple(beam_args)
    return stages.Job(config=config, beam_args=flags, progress=progress or Silence(), mixture=mixture)


@contextmanager
def _stages() -> Iterator[Any]:
    """Give the stages, by name, so that a type checker of your program need not look at Beam and torch."""
    with quiet():  # also while Beam is imported
        yield import_module("versatune.stages")


def _document(where: Where, folder: str, name: str, what: str, command: str) -> Path:
    """Find a document: a file as it is, in a directory by its name, the newest one of a folder or a configuration by its pointer."""
    path = mirror_of(os.fspath(where))
    if path.suffix in (".yaml", ".yml"):
        path = mirror_of(load_config(path).home) / folder
    from versatune.versions.places import at_hand

    with _readable(where):
        at_hand(path.parent if path.suffix == ".json" else path, "*.json", "*/*.json")
        if path.is_file():
            return path
        inside = path / name
        return inside if inside.is_file() else read_pointer(path / "latest.json", what=what, command=command)


@contextmanager
def _readable(where: Where) -> Iterator[None]:
    """Say in our words that a file or folder cannot be looked at."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or where}: cannot be read ({error.strerror})") from None
