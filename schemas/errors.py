"""The exception tree.

    VersatuneError            exit code 1   anything versatune says to its user; never a stack trace
    |-- RunError              exit code 1   the work itself failed (a worker died, the books do not balance)
    |-- IntegrityError        exit code 1   a file is not what its manifest says it is
    `-- UsageError            exit code 2   what the user gave cannot be used
        |-- CheckError        exit code 2   several of these, found before anything was done
        |-- ConfigError       exit code 2   a configuration key or value
        `-- DataError         exit code 2   an input file, a row, a model folder, a manifest of another version
            |-- LicenseError  exit code 2   data that the licence policy forbids
            `-- ChangedError  exit code 2   an input file that changed while it was read

A message names the thing, its value, what was expected and what to do. It never quotes a row's text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class VersatuneError(Exception):
    """Base of every error that is meant for the user's eyes."""

    exit_code = 1


class RunError(VersatuneError):
    """The work itself failed."""


class IntegrityError(VersatuneError):
    """A file is not what its manifest says it is."""


class UsageError(VersatuneError):
    """What the user gave cannot be used."""

    exit_code = 2


class CheckError(UsageError):
    """What stages would refuse, found before the first one worked."""

    def __init__(self, message: str, problems: Sequence[Any]) -> None:
        super().__init__(message)
        self.problems = problems
        """Each a :class:`versatune.checks.report.Problem`; warnings are among them."""


class ConfigError(UsageError):
    """A configuration key or value cannot be used."""


class DataError(UsageError):
    """An input file, a row, a model folder or a manifest cannot be used."""


class LicenseError(DataError):
    """The data hold a licence that the policy forbids."""


class ChangedError(DataError):
    """An input file changed while it was read."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names come nearest: ``; did you mean 'x'?`` or ``; known: 'a', 'b'``."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return "; known: " + ", ".join(f"'{n}'" for n in names)
