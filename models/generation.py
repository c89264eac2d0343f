"""The generation settings of a base model, which its export carries on: whether they can be saved again."""

from __future__ import annotations

from pathlib import Path

from versatune.models.files import read_json
from versatune.schemas.errors import DataError

_FILE = "generation_config.json"
# Ids and bookkeeping; where the rest is off as well there is nothing to ask transformers, whose import takes seconds.
_ALWAYS_GOOD = {
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "transformers_version",
    "_from_model_config",
    "use_cache",
}


def check_generation_settings(folder: Path) -> None:
    """Refuse settings that transformers loads with a warning and will not save: the export would fail after the last step.

    Raises:
        DataError: what transformers says of them.
    """
    file = folder / _FILE
    given = read_json(file) if file.is_file() else {}
    if all(key in _ALWAYS_GOOD or value is None or value is False for key, value in given.items()):
        return
    from transformers import GenerationConfig

    try:
        GenerationConfig.from_pretrained(folder, local_files_only=True).validate(strict=True)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise DataError(
            f"model {folder}: the settings in {_FILE} cannot be saved with the trained model ({reason}). Correct that file, for"
            " example with do_sample: true beside temperature or top_p, or take those out"
        ) from None
