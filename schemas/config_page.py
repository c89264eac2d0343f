"""docs/configuration.md, written from the models: ``python -m versatune.schemas.config_page > docs/configuration.md``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from versatune.schemas.classifier import ClassifierTraining
from versatune.schemas.config import Config

_HEAD = """# Configuration

One YAML file drives every stage. Relative paths start at that file. A key that is not listed here is refused, with the
nearest one that is. `--set build.workers=2` changes a value for one call. Editors can check a file against
`schemas/json/config.schema.json`. This page is written from the models by `python -m versatune.schemas.config_page`.
`versatune classifier train` has [a file of its own](#versatune-classifier-train).
"""
_TRAINING = """## `versatune classifier train`

This file is apart from the one above: it makes a classifier, which the other names as `classifier.path`. When to use what:
[classifier.md](classifier.md); a small example: [examples/classifier/topics.yaml](../examples/classifier/topics.yaml). Editors can check
it against `schemas/json/classifier-training.schema.json`.
"""


def page() -> str:
    """Return the page as Markdown: one table per section, nested sections after their parent; classifier training at the end."""
    return "\n".join([_HEAD, *_section("", Config), _TRAINING, *_section("", ClassifierTraining, "###")])


def _section(path: str, model: type[BaseModel], heading: str = "##") -> Iterator[str]:
    title = f"`{path}`" if path else "Top level"
    text = " ".join((model.__doc__ or "").split())
    yield f"{heading} {title}\n\n{text}\n\n| key | default | meaning |\n| --- | --- | --- |"
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        nested = next(iter(_models(field.annotation)), None)
        key = f"{path}.{name}".lstrip(".")
        if nested:
            inner.append((key, nested))
        choices = _choices(field.annotation)
        meaning = " ".join((field.description or "").split()).replace("|", r"\|")  # a bare one ends the table's cell
        yield f"| `{name}` | {_default(field, nested)} | {meaning}{f' One of {choices}.' if choices else ''} |"
    yield ""
    for key, nested in inner:
        yield from _section(key, nested, heading)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _choices(annotation: Any) -> str:
    options = [option for option in get_args(annotation) if isinstance(option, str)]
    return ", ".join(f"`{option}`" for option in options)


def _default(field: Any, nested: type[BaseModel] | None) -> str:
    if field.is_required():
        return "required"
    if nested is not None and field.default is not None:
        return "see below"
    default = field.default if field.default is not PydanticUndefined else field.default_factory()
    return "none" if default is None else f"`{list(default) if isinstance(default, tuple) else default}`"


if __name__ == "__main__":
    print(page())
