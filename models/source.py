"""Where the base model's files are: a local folder, or one downloaded from the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from versatune.schemas.config import Config
from versatune.schemas.errors import ConfigError, DataError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Never a pickle: what is not downloaded cannot be loaded by mistake.
_SMALL_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.spm", "*.codes"]
WANTED_FILES = ["*.safetensors", *_SMALL_FILES]


def model_folder(config: Config, *, needed_for: str, fetch: Callable[[str], Path] | None = None) -> Path:
    """Return the local folder of the configured model; a hub id is downloaded once, into the hub's own cache.

    Args:
        config: its ``model.path`` is a folder relative to the configuration, a hub id such as org/name, or an address such as gs://bucket/model.
        needed_for: named in the error when no model is configured, such as "probing".
        fetch: gives the local folder of an address; without it an address is refused.

    Raises:
        ConfigError: no model is configured.
        DataError: there is no such folder, or the hub or the object store has no such model or cannot be reached.
    """
    if config.model is None:
        raise ConfigError(f"{needed_for} needs a base model; add 'model: {{path: FOLDER}}' to the configuration")
    if "://" in config.model.path and fetch is not None:
        return fetch(config.model.path)
    return _found(config.model.path, Path(config.resolve(config.model.path)), config.model.revision, WANTED_FILES)


def tokenizer_folder(path: str) -> Path:
    """Return the local folder of a model's tokenizer: of a model on the hub all files but its weights are downloaded.

    Raises:
        DataError: there is no such folder, or the hub has no such model or cannot be reached.
    """
    return _found(path, Path(path).expanduser(), None, _SMALL_FILES)


def _found(path: str, folder: Path, revision: str | None, wanted: list[str]) -> Path:
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(path):
        raise DataError(f"model.path {path}: there is no folder {folder}; expected one, or a hub id (org/name)")
    return _download(path, revision, folder, wanted)


def _download(hub_id: str, revision: str | None, folder: Path, wanted: list[str]) -> Path:
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the message below says it once
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"model.path {hub_id}: there is no folder {folder}, and the hub does not give that model ({reason}); check the"
            " name, or copy the model into a folder"
        ) from None
