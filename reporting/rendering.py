"""Templates become pages: nothing fetched, no script, every text escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Return a template of this package filled in; a value it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("versatune.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
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
