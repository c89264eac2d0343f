"""Tokenizers made from a template and a few added tokens, and what they learn of a row, in a form that can be read."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from tests.transforms.chat.families import Family
from versatune.schemas.config import load_config
from versatune.transforms.chat.verdict import CannotTokenize
from versatune.transforms.reading.tokenization import plan_tokenization
from versatune.transforms.reading.tokenize import Tokenizer

Turns = Sequence[tuple[str, str]]


def make_tokenizer(
    folder: Path,
    template: str | Mapping[str, str],
    *,
    tokens: str = "",
    plain: str = "",
    eos: str = "",
    bos: str | None = None,
    prepends_bos: bool = False,
    merges: Sequence[tuple[str, str]] = (),
    model: Mapping[str, Any] | None = None,
) -> Tokenizer:
    """Return the tokenizer of a model folder that is written here, below ``folder``.

    Args:
        folder: an existing one.
        template: the chat template, or several by name.
        tokens: special added tokens, separated by blanks; those of ``eos`` and ``bos`` are added to them.
        plain: added tokens that are not special.
        eos: the tokens that end generation, separated by blanks; the first is the tokenizer's eos_token.
        bos: the tokenizer's bos_token.
        prepends_bos: whether the tokenizer itself puts it before a text.
        merges: pairs of texts that are one token together; each other byte is a token of its own.
        model: keys of the configuration's ``model``, beside its path.
    """
    home = folder / uuid.uuid4().hex
    home.mkdir()
    ends = eos.split()
    special = dict.fromkeys([*tokens.split(), *ends, *([bos] if bos else [])])
    backend = _backend(list(special), plain.split(), merges)
    if bos and prepends_bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    backend.save(str(home / "tokenizer.json"))
    named = {"bos_token": bos, "eos_token": ends[0] if ends else None}
    files = {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": template
            if isinstance(template, str)
            else [{"name": name, "template": text} for name, text in template.items()],
            **{name: token for name, token in named.items() if token},
        },
        "config.json": {
            "model_type": "llama",
            "vocab_size": backend.get_vocab_size(),
            "max_position_embeddings": 8192,
        },
        "generation_config.json": {"eos_token_id": [backend.token_to_id(end) for end in ends]} if ends else {},
    }
    for name, content in files.items():
        (home / name).write_text(json.dumps(content))
    config = {"name": "t", "sources": [], "model": {"path": str(home), **(model or {})}, "build": {"max_tokens": 8192}}
    (home / "c.json").write_text(json.dumps(config))
    return Tokenizer(plan_tokenization(load_config(home / "c.json")))


def make_family(folder: Path, family: Family) -> Tokenizer:
    """Return the tokenizer of a family's template."""
    templates = {"default": family.template()}
    if family.tool_use:
        templates["tool_use"] = family.tool_template()
    return make_tokenizer(
        folder,
        templates if family.tool_use else family.template(),
        tokens=" ".join(family.tokens),
        plain=" ".join(family.plain_tokens),
        eos=" ".join(family.eos),
        bos=family.bos,
        prepends_bos=family.prepends_bos,
    )


def _backend(special: Sequence[str], plain: Sequence[str], merges: Sequence[tuple[str, str]]) -> Backend:
    """Return a tokenizer of bytes, with a few pairs that are merged and with added tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pairs = [(_bytes(level, first), _bytes(level, second)) for first, second in merges]
    vocabulary = [*alphabet, *dict.fromkeys(first + second for first, second in pairs)]
    backend = Backend(models.BPE({token: at for at, token in enumerate(vocabulary)}, pairs))
    backend.pre_tokenizer = level
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain if token not in special])
    return backend


def _bytes(level: pre_tokenizers.ByteLevel, text: str) -> str:
    """Return a text as the tokenizer's alphabet writes its bytes."""
    return "".join(piece for piece, _ in level.pre_tokenize_str(text))


def encoded(tokenizer: Tokenizer, turns: Turns, tools: str | None = None, unlearned: Sequence[int] = ()) -> Any:
    """Return what becomes of one row: its tokens, or the reason for which it has none."""
    (result,) = tokenizer.encode([list(turns)], [tools], [unlearned])
    return result


def runs(tokenizer: Tokenizer, turns: Turns, tools: str | None = None, unlearned: Sequence[int] = ()) -> list[Any]:
    """Return (text, whether it is learned) of each run of tokens.

    Raises:
        AssertionError: the row is rejected; with its reason and detail.
    """
    row = encoded(tokenizer, turns, tools, unlearned)
    assert not isinstance(row, CannotTokenize), f"{row.reason}: {row.detail}"
    edges = [0, *(np.flatnonzero(np.diff(row.mask.astype(int))) + 1).tolist(), len(row.ids)]
    return [
        (tokenizer._backend.decode(row.ids[start:end].tolist(), skip_special_tokens=False), bool(row.mask[start]))
        for start, end in pairwise(edges)
    ]


def learned(tokenizer: Tokenizer, turns: Turns, tools: str | None = None, unlearned: Sequence[int] = ()) -> list[str]:
    """Return the texts that are learned, one for each run of learned tokens."""
    return [text for text, is_learned in runs(tokenizer, turns, tools, unlearned) if is_learned]


def shown(tokenizer: Tokenizer, turns: Turns, tools: str | None = None, unlearned: Sequence[int] = ()) -> str:
    """Return the text that is trained on, with ⟦ and ⟧ around what is learned of it."""
    return "".join(f"⟦{text}⟧" if is_learned else text for text, is_learned in runs(tokenizer, turns, tools, unlearned))


def refused(tokenizer: Tokenizer, turns: Turns, tools: str | None = None) -> tuple[str, str]:
    """Return the reason and the detail with which a row is rejected.

    Raises:
        AssertionError: it is not; with the text that is trained on.
    """
    row = encoded(tokenizer, turns, tools)
    assert isinstance(row, CannotTokenize), shown(tokenizer, turns, tools)
    return row.reason, row.detail
