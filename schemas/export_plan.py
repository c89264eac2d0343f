"""What a run directory says of its run, so that it can be exported, or audited, without the configuration it was started with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from versatune.schemas.chat_template import template_file
from versatune.schemas.config import Config, ModelConfig, TrainConfig
from versatune.schemas.document import Document
from versatune.schemas.errors import DataError
from versatune.schemas.taxonomy import Taxonomy
from versatune.schemas.validation import validate

NAME = "export.json"


class ExportPlan(Document):
    """Written before the first step; local paths are relative to the run's directory."""

    KIND: ClassVar[str] = "versatune/export-plan"
    MADE_BY: ClassVar[str] = "versatune train CONFIG"

    name: str
    seed: int
    taxonomy: Taxonomy
    # As they were given: a later versatune, whose sections have more keys, must be able to read them.
    model: dict[str, Any] = Field(description="the model section")
    train: dict[str, Any] = Field(description="the train section")
    mixture_path: str

    @classmethod
    def of(cls, config: Config, mixture_path: Path, run: Path) -> Self:
        """Make the plan of a run in the directory ``run``."""
        assert config.model is not None  # nothing is trained without one
        return cls.create(
            name=config.name,
            seed=config.seed,
            taxonomy=config.taxonomy,
            model=_placed(config, config.model, run).model_dump(mode="json"),
            train=config.train.model_dump(mode="json"),
            mixture_path=os.path.relpath(mixture_path, run),
        )

    def config(self, run: Path) -> Config:
        """Return the configuration as far as the plan has it; its paths are relative to the run's directory."""
        config = Config(
            name=self.name,
            seed=self.seed,
            taxonomy=self.taxonomy,
            model=validate(ModelConfig, self.model, f"{run / NAME}: model"),
            train=validate(TrainConfig, self.train, f"{run / NAME}: train"),
            output=str(run),
        )
        return config.placed(run)


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
    return ExportPlan.load(run / NAME)


def _placed(config: Config, model: ModelConfig, run: Path) -> ModelConfig:
    """Return the model section with its local paths relative to the run; hub ids, addresses and names stay as they are."""
    changed = {}
    if "://" not in model.path and Path(folder := config.resolve(model.path)).is_dir():
        changed["path"] = os.path.relpath(folder, run)
    if (file := template_file(config)) is not None:
        changed["chat_template"] = "./" + os.path.relpath(file, run)
    return model.model_copy(update=changed)
