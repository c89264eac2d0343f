"""The published JSON Schema files are the models."""

import re
from pathlib import Path

import jsonschema
import orjson
import pytest
import yaml

from versatune.schemas.config_page import page
from versatune.schemas.json_schema import FOLDER, files

ROOT = Path(__file__).parents[2]


def test_the_committed_files_are_what_the_models_say() -> None:
    assert {file.name: file.read_bytes() for file in FOLDER.iterdir()} == files()


def test_the_quickstart_is_valid_and_a_typo_is_not() -> None:
    schema = orjson.loads((FOLDER / "config.schema.json").read_bytes())
    config = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text())
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError, match="biuld"):
        jsonschema.validate({**config, "biuld": {}}, schema)


@pytest.mark.parametrize("file", ["classifier/bundled.yaml", "examples/classifier/topics.yaml"])
def test_a_classifier_s_training_file_is_valid_and_a_typo_is_not(file: str) -> None:
    schema = orjson.loads((FOLDER / "classifier-training.schema.json").read_bytes())
    config = yaml.safe_load((ROOT / file).read_text())
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError, match="balanc"):
        jsonschema.validate({**config, "train": [{**config["train"][0], "balanc": 0}]}, schema)


def test_the_configuration_page_is_what_the_models_say() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == page() + "\n"


def test_every_row_of_its_tables_has_three_cells() -> None:
    rows = [line for line in page().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
