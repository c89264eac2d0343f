"""Variables of a template that was never filled in (``I am {{name}}``)."""

from __future__ import annotations

import re
from collections import Counter

from versatune.transforms.cleaning.texts import answers
from versatune.transforms.shapes.base import Example, RowError

# A name in double braces, in prose. Beside a brace, bracket, quote, operator, backslash or letter it is code or LaTeX;
# a dotted name ({{ user.name }}) is an expression of a page template.
_VARIABLE = re.compile(
    r"(?<![A-Za-z0-9_\\$%}\"'`({\[=<>])"
    r"\{\{ ?(?:[A-Za-z][A-Za-z0-9_ -]{0,39}|#[a-z]+:[^{}\n]{1,100})\}\}"
    r"(?![A-Za-z0-9_}\"`){\]=<;(\[^])"
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_SIGNS_OF_A_PAGE = ("</", "{%", "{{#", "{{/", "\\begin{")


def drop_placeholders(example: Example, _counts: Counter[str]) -> Example:
    """Reject an example with an unfilled variable in an answer or document, unless its prompt speaks of such variables.

    Raises:
        RowError: it has one.
    """
    if any("{{" in content for role, content in example.messages if role == "user"):
        return example
    candidates = [*answers(example), *([example.rejected] if example.rejected else [])]
    if any(has_placeholder(text) for text in candidates):
        raise RowError("placeholder", "a variable in double braces was never filled in")
    return example


def has_placeholder(text: str) -> bool:
    """Say whether a text, apart from the code in it, has a name in double braces."""
    if "{{" not in text:
        return False
    prose = _CODE.sub(" ", text)
    return not any(sign in prose for sign in _SIGNS_OF_A_PAGE if sign != "{{#") and _VARIABLE.search(prose) is not None
