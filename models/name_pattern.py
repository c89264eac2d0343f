"""A pattern over names of modules, tried where it can be stopped: peft will run it once more, where it cannot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from versatune.schemas.errors import ConfigError

_SECONDS = 20.0
_TRIED = "import json, re, sys; pattern, names = json.load(sys.stdin); print(json.dumps([bool(re.fullmatch(pattern, n)) for n in names]))"


def fitting(pattern: str, names: Sequence[str], key: str) -> list[str]:
    """Return the names that a pattern fits as a whole.

    Args:
        pattern: in the syntax of Python's ``re``.
        names: of modules.
        key: of the configuration, for the message.

    Raises:
        ConfigError: it is no pattern, or takes for ever.
    """
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"{key}: {pattern!r} is no regular expression ({error}); write one, or a list of names"
        ) from None
    command = [sys.executable, "-I", "-S", "-c", _TRIED]
    try:
        done = subprocess.run(
            command,
            input=json.dumps([pattern, list(names)]),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{key}: {pattern!r} was not done with {len(names):,} names of modules after {_SECONDS:g} s. It can be tried in very many ways:"
            " write no repetition inside a repetition, such as (a+)+, or a list of names"
        ) from None
    return [name for name, fits in zip(names, json.loads(done.stdout), strict=True) if fits]
