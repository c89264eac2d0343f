"""Numbers through a chat template, with the digits that were written.

Templates print numbers as Python and its JSON do, which would round some. Each such number goes in as another one, of digits that no
conversation has, so that a template still treats it as a number; in the rendered text it is put back.
"""

from __future__ import annotations

import re
from typing import Any

from versatune.transforms.shapes.exact_json import Number, kinds

_PRINTED_WHOLE = re.compile(r"-?[1-9][0-9]{0,999}")  # Python refuses to print integers of more than 4,300 digits


class NumberMarks:
    """The numbers of one rendering that floats do not hold, and what stands for each."""

    def __init__(self) -> None:
        self._written: dict[str, str] = {}

    def put_into(self, value: Any) -> Any:
        """Return a JSON value with a mark for each such number; itself where it holds none."""
        return self._marked(value) if Number in kinds(value) else value

    def undone(self, rendered: str) -> str:
        """Return a rendered text with the numbers as they were written."""
        for mark, text in self._written.items():
            rendered = rendered.replace(mark, text)
        return rendered

    def _marked(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._marked(item) for item in value]
        if isinstance(value, dict):
            return {key: self._marked(item) for key, item in value.items()}
        return self._mark(value.text) if isinstance(value, Number) else value

    def _mark(self, text: str) -> int | float:
        if _PRINTED_WHOLE.fullmatch(text):
            return int(text)
        mark = float(f"7.18281{len(self._written):06d}51e+271")
        self._written[repr(mark)] = text
        return mark
