"""A model folder's tokenizer, loaded as anybody would load it: the one place that asks transformers for one.

What another way of loading gives differs for some folders: the class of the model's own type wins over a generic one in tokenizer_config.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from versatune.schemas.errors import ConfigError, DataError


def load_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Return a folder's tokenizer, as transformers has it.

    Raises:
        ConfigError: transformers is not installed.
        DataError: it cannot be loaded.
    """
    try:
        from transformers import AutoTokenizer  # seconds, which --help need not pay
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a model's tokenizer needs the package {error.name}: pip install 'versatune[train]', or set build.tokenize to false"
        ) from None
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:  # noqa: BLE001  # whatever transformers, its plug-ins or the tokenizer's own code raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"model {folder}: no tokenizer can be loaded ({type(error).__name__}: {reason}); expected tokenizer.json and tokenizer_config.json."
            " Copy them there (save_pretrained), or, for a build without tokens, set build.tokenize to false"
        ) from None
