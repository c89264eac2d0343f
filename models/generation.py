"""The generation settings of a base model, which its export carries on: whether they can be saved again, and mended where they have one meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from versatune.models.files import read_json
from versatune.schemas.errors import DataError

GENERATION = "generation_config.json"
# Ids and bookkeeping; where the rest is off as well there is nothing to ask transformers, whose import takes seconds.
_ALWAYS_GOOD = {
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "transformers_version",
    "_from_model_config",
    "use_cache",
}
_OF_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff")


def check_generation_settings(folder: Path) -> str:
    """Refuse settings that transformers loads with a warning and will not save: the export would fail after the last step.

    Returns:
        What will be mended in the export; empty where nothing has to be.

    Raises:
        DataError: what transformers says of them.
    """
    file = folder / GENERATION
    given = read_json(file) if file.is_file() else {}
    if all(key in _ALWAYS_GOOD or value is None or value is False for key, value in given.items()):
        return ""
    settings, notice = mended(given)
    if not (reason := _refusal(settings)):
        return f"model {folder}: {notice}" if notice else ""
    raise DataError(
        f"model {folder}: the settings in {GENERATION} cannot be saved with the trained model ({reason}). Correct that file, or take those"
        " settings out"
    )


def mended(settings: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return settings that can be saved, where what is wrong has one meaning, and what was changed.

    Whoever gives a temperature and does not say whether to sample wants to sample; servers such as vLLM take it so.
    """
    sampling = [name for name in _OF_SAMPLING if settings.get(name) is not None]
    if not sampling or settings.get("do_sample") or not _refusal(settings) or _refusal(settings | {"do_sample": True}):
        return settings, ""
    return settings | {"do_sample": True}, (
        f"{GENERATION} gives {', '.join(sampling)} without do_sample: true, which transformers will not save; the export says do_sample: true"
    )


def _refusal(settings: dict[str, Any]) -> str:
    """Return why transformers would not save the settings; empty where it would."""
    from transformers import GenerationConfig

    try:
        GenerationConfig.from_dict(settings).validate(strict=True)
    except (ValueError, TypeError) as error:
        return " ".join(str(error).split())[:400]
    return ""
