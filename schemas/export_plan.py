"""What a run directory says of its run, so that it can be exported, or audited, without the configuration it was started with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from versatune.schemas.config import Config, ModelConfig, TrainConfig
from versatune.schemas.document import Document
from versatune.schemas.errors import DataError
from versatune.schemas.inside import ReferencePath, inside
from versatune.schemas.taxonomy import Taxonomy
from versatune.schemas.validation import validate

NAME = "export.json"


class ExportPlan(Document):
    """Written before the first step."""

    KIND: ClassVar[str] = "versatune/export-plan"
    MADE_BY: ClassVar[str] = "versatune train CONFIG"

    name: str
    seed: int
    taxonomy: Taxonomy
    # As they were given: a later versatune, whose sections have more keys, must be able to read them.
    model: dict[str, Any] = Field(description="the model section")
    train: dict[str, Any] = Field(description="the train section")
    directory: ReferencePath = Field(description="of the configuration, where its paths start; relative to the run's")
    mixture_path: ReferencePath = Field(description="relative to the run's directory")

    @classmethod
    def of(cls, config: Config, mixture_path: Path, run: Path) -> Self:
        """Make the plan of a run in the directory ``run``."""
        assert config.model is not None  # nothing is trained without one
        return cls.create(
            name=config.name,
            seed=config.seed,
            taxonomy=config.taxonomy,
            model=config.model.model_dump(mode="json"),
            train=config.train.model_dump(mode="json"),
            directory=os.path.relpath(config.directory.resolve(), run.resolve()),
            mixture_path=os.path.relpath(mixture_path.resolve(), run.resolve()),
        )

    def config(self, run: Path) -> Config:
        """Return the configuration as far as the plan has it."""
        config = Config(
            name=self.name,
            seed=self.seed,
            taxonomy=self.taxonomy,
            model=validate(ModelConfig, self.model, f"{run / NAME}: model"),
            train=validate(TrainConfig, self.train, f"{run / NAME}: train"),
            output=str(run),
        )
        return config.placed(run / self.directory)


def load_plan(run: Path) -> ExportPlan:
    """Read the plan of a run.

    Raises:
        DataError: there is none: no run was started here, or by a versatune that wrote none.
    """
    if not (run / NAME).is_file():
        raise DataError(
            f"{run}: has no {NAME}; expected the directory of a run (OUTPUT/NAME/runs/ID) that this versatune started. `versatune train"
            " CONFIG` goes on with a run of an earlier one, and exports it"
        )
    return ExportPlan.load(inside(run, NAME))
