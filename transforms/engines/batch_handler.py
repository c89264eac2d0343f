"""Whole batches through a model: what RunInference needs to know about an engine or a judge."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from apache_beam.ml.inference.base import ModelHandler

In = TypeVar("In")
Out = TypeVar("Out")
Model = TypeVar("Model")

_models: dict[str, Any] = {}
_lock = threading.Lock()


class BatchHandler(ModelHandler[In, Out, Model]):
    """Runs a function of (batch, model) on each element. An element is a whole batch: a model is only fast when it gets many at once."""

    def __init__(self, start: Callable[[], Model], work: Callable[[In, Model], Out], name: str) -> None:
        """Plan it.

        Args:
            start: starts the model on a worker.
            work: what is done with a batch.
            name: of the model; all handlers of a process with the same name share one.
        """
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._start, self._work, self._name = start, work, name

    def load_model(self) -> Model:
        """Return the process's model, started by the first who asks."""
        with _lock:
            if self._name not in _models:
                _models[self._name] = self._start()
            model: Model = _models[self._name]
            return model

    def run_inference(
        self, batch: Sequence[In], model: Model, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Out]:
        """Do the work of each element."""
        return (self._work(one, model) for one in batch)


@contextmanager
def model_name(what: str) -> Iterator[str]:
    """Give a name that nobody else has; at the end let go of this process's model of that name."""
    name = f"{what}-{uuid.uuid4().hex}"
    try:
        yield name
    finally:
        with _lock:
            _models.pop(name, None)
