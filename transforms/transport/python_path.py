"""Where a process that we start finds modules: where this one does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Where versatune/ lies. Not resolved: in a checkout this room is behind a link.
_OURS = str(Path(__file__).absolute().parents[3])


def first_lines() -> str:
    """Return how a program for ``python -c`` begins, so that it finds what this process finds.

    Without them Python looks into the working directory first: a file random.py there would be imported in place of the real one.
    Relative places come last, for the same reason: a notebook adds the working directory when it has loaded the standard library. What is
    no text is left out, as Python does when it looks for modules.
    """
    places = [str(place) for place in sys.path if isinstance(place, str)]
    fixed = [place for place in places if os.path.isabs(place)]
    relative = [os.path.abspath(place) for place in places if not os.path.isabs(place)]
    return f"import sys\nsys.path[:] = {list(dict.fromkeys([*fixed, *relative, _OURS]))!r}\n"
