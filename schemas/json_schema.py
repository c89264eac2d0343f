"""JSON Schema files for editors and other languages: ``python -m versatune.schemas.json_schema`` writes them anew."""

from __future__ import annotations

from pathlib import Path

import orjson
from pydantic import BaseModel

from versatune.schemas.classifier import ClassifierTraining
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.files import write_atomic
from versatune.schemas.labels import LabelReport
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.probe import ProbeReport
from versatune.schemas.run import RunRecord

FOLDER = Path(__file__).parent / "json"
MODELS: dict[str, type[BaseModel]] = {
    "config": Config,
    "classifier-training": ClassifierTraining,
    "dataset-manifest": DatasetManifest,
    "probe-report": ProbeReport,
    "label-report": LabelReport,
    "mixture-manifest": MixtureManifest,
    "run-record": RunRecord,
}


def files() -> dict[str, bytes]:
    """Return the content of every schema file by file name."""
    return {
        f"{name}.schema.json": orjson.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()},
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )
        for name, model in MODELS.items()
    }


if __name__ == "__main__":
    for file_name, content in files().items():
        write_atomic(FOLDER / file_name, content)
