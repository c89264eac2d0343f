"""The chat templates that rows are made with: the configuration's file, one that comes with versatune, or the tokenizer's own.

The build, the checks and the trainer all ask here, so that an exported model goes with the template it was trained under.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from versatune.schemas.config import Config
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.files import sha256_bytes

SHIPPED = "versatune/"
"""Begins the names of the templates that come with versatune; a file in a folder of that name is written ./versatune/..."""
TOOL_USE = "tool_use"
"""The name of a tokenizer's second template, for conversations with tools."""
_FOLDER = Path(__file__).with_name("chat_templates")


def shipped_names() -> list[str]:
    """Return the names of the templates that come with versatune."""
    return sorted(SHIPPED + file.stem for file in _FOLDER.glob("*.jinja"))


def shipped_template(name: str) -> str:
    """Return the text of a template that comes with versatune.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in shipped_names():
        raise ConfigError(
            f"model.chat_template is {name}, and versatune brings no such template; expected one of {', '.join(shipped_names())}, or a"
            " Jinja file"
        )
    return (_FOLDER / f"{name.removeprefix(SHIPPED)}.jinja").read_text(encoding="utf-8")


def template_file(config: Config) -> Path | None:
    """Return the file that the configuration names as chat template; None where it names one that comes with versatune, or none."""
    name = config.model.chat_template if config.model else None
    return None if name is None or name.startswith(SHIPPED) else Path(config.resolve(name))


def configured_template(config: Config) -> str | None:
    """Return the text of the template that the configuration puts in place of the tokenizer's own.

    Raises:
        ConfigError: its file cannot be read, or versatune brings none of that name.
    """
    if config.model is None or config.model.chat_template is None:
        return None
    file = template_file(config)
    if file is None:
        return shipped_template(config.model.chat_template)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.chat_template: {file} cannot be read ({error}); expected a Jinja file") from None


def chat_templates(config: Config, tokenizer: Any) -> dict[str, str]:
    """Return the templates by name: ``default``, and maybe ``tool_use``.

    Args:
        config: has a model.
        tokenizer: the model's, as transformers has it.

    Raises:
        ConfigError: the configured template cannot be had.
        DataError: none is configured, and the tokenizer has none.
    """
    if (configured := configured_template(config)) is not None:
        return {"default": configured}
    own = tokenizer.chat_template
    if isinstance(own, dict) and own:
        return {
            "default": str(own.get("default") or next(iter(own.values()))),
            **{name: text for name, text in own.items() if name == TOOL_USE},
        }
    if isinstance(own, str):
        return {"default": own}
    assert config.model is not None  # who asks has loaded its tokenizer
    raise DataError(
        f"model {config.model.path}: its tokenizer has no chat template; give one as model.chat_template (a Jinja file, or the name of one"
        f" that comes with versatune: {', '.join(shipped_names())}), or set build.tokenize to false"
    )


def templates_sha256(templates: dict[str, str]) -> str:
    """Return the digest of templates by which a dataset knows those that its rows were made with."""
    return sha256_bytes("\0".join(templates.values()).encode())
