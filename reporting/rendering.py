"""Templates become pages: nothing fetched, no script, every text escaped, and nothing in it unseen."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from versatune.schemas.visible import visible

_MOST_CHARACTERS = 20_000


def render(template: str, **values: Any) -> str:
    """Return a template of this package filled in; a value it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("versatune.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thousands": lambda n: f"{n:,}",
        "share": lambda x: f"{x:.1%}",
        "points": lambda x: f"{100 * x:.2g}",
        "loss": lambda x: "–" if x is None else f"{x:.4f}",
        "spaced": lambda name: name.replace("_", " "),
    }
    return environment.get_template(template).render(**values)


def _shown(value: Any) -> Any:
    """Return what a page shows of a value: a text without control characters or changes of direction, and not a megabyte of it."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    left = len(value) - _MOST_CHARACTERS
    return visible(value[:_MOST_CHARACTERS]) + (f" … {left:,} more characters" if left > 0 else "")
