"""Counts the files that a process opens below a build's staging directory; loaded by every Python process that has this folder in PYTHONPATH.

A line is appended to the file that COUNT_OPENS names for each open: by whom it is, the kind of file. Workers end without a farewell, so nothing
is kept in memory.
"""

import os
import sys

_COUNTED = os.environ.get("COUNT_OPENS")
_STAGING = ".staging-"

if _COUNTED:
    _OUT = os.open(_COUNTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def _note(path: object, writes: bool) -> None:
        name = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        if isinstance(name, str) and _STAGING in name:
            *folders, file = name.partition(_STAGING)[2].split("/")[1:] or [""]
            if "." in file:  # no directory
                folder = folders[0].partition("-")[0] if folders else "plan"
                os.write(_OUT, f"{folder} {'written' if writes else 'read'}\n".encode())

    def _hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            _note(path, bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)) or "w" in str(mode or ""))

    sys.addaudithook(_hook)

    import pyarrow as pa

    _map = pa.memory_map

    def _counted_map(path: str, mode: str = "r") -> object:
        _note(path, writes=False)
        return _map(path, mode)

    pa.memory_map = _counted_map
