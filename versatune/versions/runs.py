"""Runs: where they are, by directory, file or id."""

from __future__ import annotations

from pathlib import Path

from versatune.schemas.errors import DataError, nearest
from versatune.schemas.export_plan import NAME as PLAN
from versatune.versions.listing import dataset_directory
from versatune.versions.places import at_hand


def find_run(where: Path, of: Path | None = None) -> Path:
    """Return the directory of a run, finished or not.

    Args:
        where: its directory or its run.json; or, with ``of``, its id or the first digits of it.
        of: a configuration, or OUTPUT/NAME.

    Raises:
        DataError: there is no such run, or several.
    """
    if of is not None:
        return _named(str(where), dataset_directory(of) / "runs")
    directory = where.parent if where.suffix == ".json" else where
    at_hand(directory, "**")
    if (directory / PLAN).is_file():
        return directory
    raise DataError(
        f"{where}: no run; expected the directory of one (OUTPUT/NAME/runs/ID) or its run.json, or an id with `--of CONFIG`. A run"
        f" that has no {PLAN} was started by an earlier versatune: `versatune train CONFIG` goes on with it, and exports it"
    )


def _named(name: str, runs: Path) -> Path:
    known = sorted(file.parent.name for file in runs.glob(f"*/{PLAN}"))
    fitting = [run for run in known if name and run.startswith(name)]
    if len(fitting) == 1:
        return runs / fitting[0]
    if fitting:
        raise DataError(f"{runs}: the ids of {', '.join(fitting)} begin with '{name}'; give more digits")
    raise DataError(f"{runs}: has no run '{name}'{nearest(name, known) if known else '; there is none here yet'}")
