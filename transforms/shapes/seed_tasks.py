"""Seed tasks: ``{"instruction", "instances": [{"input", "output"}]}``, one example for each instance.

Super-NaturalInstructions calls the instruction ``Definition``, and lists it.
"""

from __future__ import annotations

from collections.abc import Container

from versatune.transforms.shapes import alpaca
from versatune.transforms.shapes.asked import asking_fields
from versatune.transforms.shapes.base import Example, Row, RowError, type_name
from versatune.transforms.shapes.context import context_text

NAME = "seed_tasks"


def matches(names: Container[str]) -> bool:
    """Say whether there are an instruction and instances of it."""
    return "instances" in names and ("instruction" in names or "definition" in names)


def to_examples(row: Row) -> list[Example | RowError]:
    """Return the instruction with each instance's input and output."""
    instances = row["instances"]
    field = "instruction" if "instruction" in row else "definition"
    instruction = context_text(row[field], field)
    if not isinstance(instances, list):
        raise RowError("wrong_type", f"field 'instances' holds {type_name(instances)}; expected a list of objects")
    if not instances:
        raise RowError("missing_answer", "field 'instances' is an empty list; expected inputs and outputs")
    beside = {name: row[name] for name in asking_fields(row)}
    found: list[Example | RowError] = []
    for number, instance in enumerate(instances):
        try:
            if not isinstance(instance, dict):
                raise RowError("wrong_type", f"instances.{number} is {type_name(instance)}; expected an object")
            if not alpaca.matches({**instance, "instruction": None}):
                raise RowError("missing_answer", f"instances.{number} has no field of an answer's usual name")
            found += alpaca.to_examples({**beside, **instance, "instruction": instruction})
        except RowError as error:
            found.append(error)
    return found
