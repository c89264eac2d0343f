"""What is checked: a configuration, the stages still to do, and what each check would otherwise look up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from versatune.checks.estimate import domain_rows
from versatune.models.files import check_model_folder
from versatune.models.source import model_folder
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import VersatuneError
from versatune.schemas.probe import ProbeReport
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, shared_classifier
from versatune.transforms.reading.read import plan_inputs
from versatune.transforms.reading.tokenization import Tokenization, plan_tokenization
from versatune.transforms.transport.batch import InputSplit
from versatune.transforms.transport.model_fetch import fetch_model

T = TypeVar("T")


class Attempt(Generic[T]):
    """A value, or why there is none: several checks ask for it, and one of them tells."""

    def __init__(self, make: Callable[[], T]) -> None:
        self.value: T | None = None
        self._error: VersatuneError | OSError | None = None
        try:
            self.value = make()
        except (VersatuneError, OSError) as error:
            self._error = error

    def get(self) -> T:
        """Return the value, or raise what stood in its way."""
        if self._error is not None:
            raise self._error
        return self.value  # type: ignore[return-value]  # without an error it was made


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One configuration on this machine."""

    config: Config
    stages: frozenset[str]
    """Those still to do."""
    local: bool = True
    """Whether build and probe work here, and not on machines that Beam brings."""
    dataset: DatasetManifest | None = None
    """The version that mix will take, if it is made already."""
    probe: ProbeReport | None = None
    """The report that mix will take, if it is made already."""
    left_out: list[str] = field(default_factory=list)
    """What is said of the splits that sources leave out, once the raw files are listed."""

    @property
    def tokenizes(self) -> bool:
        """Whether the build will tokenize."""
        return "build" in self.stages and self.config.build.tokenize and self.config.model is not None

    @property
    def own_engine(self) -> bool:
        """Whether the probe starts an engine of its own."""
        return "probe" in self.stages and self.config.probe.endpoint is None

    @cached_property
    def splits(self) -> Attempt[list[InputSplit]]:
        """The raw files."""
        return Attempt(lambda: plan_inputs(self.config, self.left_out.append))

    @cached_property
    def classifier(self) -> Attempt[DomainClassifier]:
        """What labels text."""
        config = self.config
        return Attempt(lambda: shared_classifier(config.classifier_path, config.taxonomy, config.classifier.sha256))

    @cached_property
    def estimate(self) -> dict[str, float]:
        """About how many rows each domain will have; empty where that cannot be estimated."""
        splits, classifier = self.splits.value, self.classifier.value
        return {} if splits is None or classifier is None else domain_rows(self.config, splits, classifier)

    @cached_property
    def folder(self) -> Attempt[Path]:
        """The model's folder."""
        wanted = "training" if "train" in self.stages else "a probe"
        return Attempt(lambda: model_folder(self.config, needed_for=wanted, fetch=fetch_model))

    @cached_property
    def weights(self) -> Attempt[Path]:
        """The same folder, if it also holds a whole model."""
        return Attempt(lambda: _whole(self.folder.get()))

    @cached_property
    def tokenization(self) -> Attempt[Tokenization]:
        """The model's tokenizer and template."""
        return Attempt(lambda: plan_tokenization(self.config))


def _whole(folder: Path) -> Path:
    check_model_folder(folder)
    return folder
