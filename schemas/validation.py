"""One clear message out of a pydantic error: the key, its value, what was expected, the nearest known key."""

from __future__ import annotations

import datetime as dt
import types
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from versatune.schemas.errors import ConfigError, DataError, nearest

_SHOWN_VALUE_CHARS = 60

M = TypeVar("M", bound=BaseModel)


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Turn a pydantic error into one line per problem, each naming ``where`` and the dotted key."""
    return "\n".join(f"{where}: {_explain_one(problem, model)}" for problem in error.errors(include_url=False))


def validate(model: type[M], value: object, where: str, error: type[ConfigError | DataError] = DataError) -> M:
    """Validate plain data as ``model``; raise ``error`` with :func:`explain`'s message."""
    try:
        return model.model_validate(value)
    except ValidationError as problem:
        raise error(explain(problem, model, where)) from None


def _explain_one(problem: Any, model: type[BaseModel]) -> str:
    loc = problem["loc"]
    key = ".".join(str(part) for part in loc) or "(the whole)"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        return f"unknown key '{key}'{nearest(str(loc[-1]), known) if known else ''}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}"
    given = problem["input"]
    if problem["type"] == "string_type" and isinstance(given, int | float | dt.date):
        return f"{key} is {given}, a {type(given).__name__} without quotes; expected text, so put it in quotes"
    shown = repr(given)
    if len(shown) > _SHOWN_VALUE_CHARS:
        shown = shown[:_SHOWN_VALUE_CHARS] + "..."
    return f"{key} is {shown}; {message[:1].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Return the field names of the nested model that a pydantic location points into."""
    current: Any = model
    for part in loc:
        candidates = [m for m in _models_in(current) if isinstance(part, str) and part in m.model_fields]
        current = candidates[0].model_fields[part].annotation if candidates else _item_type(current)
    models = _models_in(current)
    return list(models[0].model_fields) if models else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for arg in get_args(annotation) for m in _models_in(arg)]
    return []


def _item_type(annotation: Any) -> Any:
    """Return the element type of a list, tuple or dict annotation (through ``| None``)."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next((_item_type(arg) for arg in get_args(annotation) if get_args(arg)), None)
    args = [arg for arg in get_args(annotation) if arg is not Ellipsis]
    return args[-1] if args else None
