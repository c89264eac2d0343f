"""A chat template, tried without a build: a model's own, or one in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from versatune.models.source import tokenizer_folder
from versatune.schemas.chat_template import SHIPPED, shipped_template
from versatune.schemas.config import BuildConfig, Config, ModelConfig
from versatune.schemas.errors import DataError
from versatune.schemas.template_record import TemplateRecord
from versatune.transforms.chat.conversations import ChatPlan
from versatune.transforms.chat.report import make_chat, template_record
from versatune.transforms.chat.shipped import TEMPLATES
from versatune.transforms.chat.trial import Outcome
from versatune.transforms.chat.usual_tokens import BOS, EOS, usual_tokens
from versatune.transforms.reading.tokenization import plan_tokenization
from versatune.transforms.reading.tokenize import Tokenizer


class TemplateTrial(NamedTuple):
    """What was found."""

    record: TemplateRecord
    outcomes: list[Outcome]
    guessed: list[str] | None
    """Control tokens that were taken from the template's text; None where a tokenizer says which they are."""
    proposed: list[str]
    """Templates that come with versatune, fit the tokenizer and write more."""


def try_template(which: str, model: str | None = None) -> TemplateTrial:
    """Try a template on every kind of conversation.

    Args:
        which: a model's folder or hub id, for its own template; or a Jinja file, or the name of a template that comes with versatune.
        model: whose tokens such a file is tried with.

    Raises:
        ConfigError: it is no Jinja, or does not come to an end.
        DataError: there is no such file or model.
    """
    is_template = Path(which).is_file() or which.startswith(SHIPPED)
    if is_template and model is None:
        return _by_itself(which)
    if not is_template and model is not None:
        raise DataError(f"--template {which}: there is no such file; with --model {model}, expected a Jinja file")
    owner = str(model if is_template else which)
    file = which if which.startswith(SHIPPED) else str(Path(which).absolute())
    chosen = ModelConfig(path=str(tokenizer_folder(owner).absolute()), chat_template=file if is_template else None)
    # No rows: one token is a limit that goes with every model.
    plan = plan_tokenization(Config(name="inspect", model=chosen, build=BuildConfig(max_tokens=1)))
    if not is_template:  # the folder of a hub id has a digest for a name
        plan = replace(plan, origin=f"of model {owner}")
    tokenizer = Tokenizer(plan)
    return TemplateTrial(tokenizer.record().template, tokenizer.chat.tried(), None, tokenizer.proposed())


def _by_itself(which: str) -> TemplateTrial:
    """Try a template without a tokenizer."""
    source = _read(which)
    shipped = TEMPLATES.get(which)
    tokens = list(shipped.tokens) if shipped else usual_tokens(source)
    plan = ChatPlan(
        templates={"default": source},
        special_tokens={"bos_token": BOS, "eos_token": EOS},
        origin=which if shipped else Path(which).name,
    )
    chat = make_chat(plan, special=tokens, added=tokens)
    tried = chat.tried()
    return TemplateTrial(template_record(chat, plan, tried, None), tried, None if shipped else tokens, [])


def _read(which: str) -> str:
    if which.startswith(SHIPPED):
        return shipped_template(which)
    try:
        return Path(which).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{which}: cannot be read ({error}); expected a Jinja file") from None
