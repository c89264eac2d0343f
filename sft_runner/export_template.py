"""The chat templates of an export: those that the rows were made with, and what they were given besides the conversation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from versatune.models.tokenizer import load_tokenizer
from versatune.schemas.chat_template import chat_templates, configured_template
from versatune.schemas.config import Config

_FILE = "chat_template.jinja"
_OF_PROCESSORS = "chat_template.json"
"""Where earlier versions of transformers kept a multimodal model's template."""
_NAMED = "additional_chat_templates"
"""A folder of templates with names, such as tool_use, beside chat_template.jinja."""


def write_templates(config: Config, base: Path, made: Path) -> None:
    """Write the templates; a template of the configuration replaces the tokenizer's, all of them if there are several."""
    assert config.model is not None  # it was trained
    variables, template = config.model.template_variables, configured_template(config)
    if variables or template is not None:
        (made / _OF_PROCESSORS).unlink(missing_ok=True)
    if variables:
        tokenizer = load_tokenizer(base, trust_remote_code=config.model.trust_remote_code)
        for name, text in chat_templates(config, tokenizer).items():
            file = made / _FILE if name == "default" else made / _NAMED / f"{name}.jinja"
            file.parent.mkdir(exist_ok=True)
            file.write_text(with_defaults(text, variables), encoding="utf-8")
    elif template is not None:
        (made / _FILE).write_text(template, encoding="utf-8")
    elif (base / _NAMED).is_dir():
        shutil.copytree(base / _NAMED, made / _NAMED)


def with_defaults(template: str, variables: dict[str, bool | int | str]) -> str:
    """Return a template that has these variables where whoever renders it gives none: inference then renders what was trained."""
    lines = [
        f"{{%- if {name} is not defined %}}{{%- set {name} = {json.dumps(value, ensure_ascii=False)} %}}{{%- endif %}}\n"
        for name, value in variables.items()
    ]
    return "".join(lines) + template
