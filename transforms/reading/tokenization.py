"""A model's tokenizer and chat templates, as a build takes them along."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from versatune.models.files import read_json
from versatune.models.fit import check_model_fit
from versatune.models.source import model_folder
from versatune.models.tokenizer import load_tokenizer
from versatune.schemas.chat_template import SHIPPED, chat_templates, templates_sha256
from versatune.schemas.config import Config, ModelConfig
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.files import sha256_bytes
from versatune.transforms.chat.conversations import ChatPlan
from versatune.transforms.chat.shipped import TEMPLATES
from versatune.transforms.transport.model_fetch import fetch_model
from versatune.transforms.transport.storage import read_bytes, replace_bytes


@dataclass(frozen=True, kw_only=True)
class Tokenization(ChatPlan):
    """A tokenizer, its templates and a limit, as plain data: workers need neither the model folder nor its library's model code."""

    name: str
    tokenizer_json: str
    """The serialised form of the package ``tokenizers``."""
    prepended: int | None
    """Id of the begin-of-sequence token if the tokenizer itself puts one first; documents get it, chats as their template has it."""
    max_tokens: int

    @property
    def sha256(self) -> str:
        """Digest of the tokenizer."""
        return sha256_bytes(self.tokenizer_json.encode())

    @property
    def chat_template_sha256(self) -> str:
        """Digest of the templates."""
        return templates_sha256(self.templates)

    def save(self, path: str) -> None:
        """Write it for the workers."""
        replace_bytes(path, orjson.dumps(asdict(self)))

    @classmethod
    def load(cls, path: str) -> Tokenization:
        """Read what :meth:`save` wrote."""
        fields = orjson.loads(read_bytes(path))
        return cls(**fields | {"eos": tuple(fields["eos"])})


def plan_tokenization(config: Config) -> Tokenization:
    """Load the base model's tokenizer and chat template.

    Raises:
        ConfigError: no model is configured, its template is missing, or one of versatune's does not fit its tokenizer.
        DataError: the model has no tokenizer, only a slow one, or no chat template; or tokens, weights and build.max_tokens do not fit together.
    """
    folder = model_folder(config, needed_for="build.tokenize", fetch=fetch_model)
    model = config.model
    assert model is not None  # model_folder() refuses such a configuration
    tokenizer = load_tokenizer(folder, trust_remote_code=model.trust_remote_code)
    if not tokenizer.is_fast:
        raise DataError(
            f"model {model.path}: its tokenizer is not a fast one, which character offsets need; add a tokenizer.json"
        )
    templates = chat_templates(config, tokenizer)
    backend = tokenizer.backend_tokenizer
    _check_fits(model.chat_template, backend)
    backend.no_truncation()
    backend.no_padding()
    first = backend.encode("a").ids[0]
    tokenizer_json = backend.to_str()
    check_model_fit(folder, max_tokens=config.build.max_tokens, tokenizer_json=tokenizer_json)
    return Tokenization(
        name=Path(model.path).name,
        tokenizer_json=tokenizer_json,
        templates=templates,
        special_tokens={
            name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)
        },
        prepended=first if first == tokenizer.bos_token_id else None,
        max_tokens=config.build.max_tokens,
        eos=_eos(folder, tokenizer),
        variables=model.template_variables,
        origin=_origin(model),
        system=model.system,
        thoughts=model.thoughts,
        tools=model.tools,
    )


def _check_fits(name: str | None, backend: Any) -> None:
    """Refuse a template that comes with versatune where the tokenizer lacks its tokens."""
    template = TEMPLATES.get(name or "")
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    if template and (lacking := template.lacking(added)):
        raise ConfigError(
            f"model.chat_template is {name}, and the model's tokenizer has no {' '.join(lacking)} among its added tokens; give a template"
            " whose tokens it has, or take another model"
        )


def _origin(model: ModelConfig) -> str:
    """Name the templates without the place of their file, which is no part of what they are."""
    own = model.chat_template
    if own is None:
        return f"of model {Path(model.path).name}"
    return own if own.startswith(SHIPPED) else Path(own).name


def _eos(folder: Path, tokenizer: Any) -> tuple[str, ...]:
    """Return the texts of the tokens that end generation."""
    ids: list[Any] = [tokenizer.eos_token_id]
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            found = read_json(folder / name).get("eos_token_id")
            ids += found if isinstance(found, list) else [found]
    known = dict.fromkeys(token for token in ids if isinstance(token, int))
    texts = [tokenizer.backend_tokenizer.id_to_token(token) for token in known]
    return tuple(text for text in texts if text)
