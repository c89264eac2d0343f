"""Model folders for templates: a tokenizer of bytes whose added tokens are those that the template's family really has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple


class Family(NamedTuple):
    """What a family's real tokenizer and generation configuration say."""

    eos: tuple[str, ...]
    """The tokens that end generation, the tokenizer's own first."""
    bos: str | None = None
    adds_bos: bool = False
    """Whether the tokenizer itself begins every text with ``bos``."""
    more: tuple[str, ...] = ()
    """Added tokens that the pattern below does not find in the template."""
    ends: tuple[str, ...] = ()
    """Further tokens that end an act in the middle of a conversation, though not generation."""


CHATML = Family(("<|im_end|>", "<|endoftext|>"))
GEMMA = Family(("<eos>", "<end_of_turn>"), bos="<bos>", adds_bos=True)
GEMMA4 = Family(("<eos>", "<turn|>", "<|tool_response>"), bos="<bos>", adds_bos=True)
LLAMA3 = Family(("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"), bos="<|begin_of_text|>", adds_bos=True)
PHI = Family(("<|endoftext|>", "<|assistant|>", "<|end|>"), bos="<s>")
FAMILIES: dict[str, Family] = {  # by the longest beginning of a template's name
    "cohere": Family(("<|END_OF_TURN_TOKEN|>",), bos="<BOS_TOKEN>", adds_bos=True),
    "deepseek": Family(("<｜end▁of▁sentence｜>",), bos="<｜begin▁of▁sentence｜>", adds_bos=True),
    "diffusion_gemma": GEMMA4,
    "gemma": GEMMA,
    "gemma4": GEMMA4,
    "glm4": Family(("<|endoftext|>", "<|user|>", "<|observation|>"), more=("[gMASK]", "/nothink")),
    "gptoss": Family(
        ("<|return|>", "<|endoftext|>", "<|call|>"), bos="<|startoftext|>", more=("<|constrain|>",), ends=("<|end|>",)
    ),
    "idefics3": Family(("<|end_of_text|>", "<end_of_utterance>"), bos="<|begin_of_text|>", adds_bos=True),
    "lfm2": Family(("<|im_end|>",), bos="<|startoftext|>", adds_bos=True),
    "llama3": LLAMA3,
    "llava_next": Family(("</s>",), bos="<s>", adds_bos=True),
    "muse_glimmer": Family(("<|eot|>",), bos="<|begin_of_text|>"),
    "nemotron": Family(("<|im_end|>", "</s>"), bos="<s>"),
    "phi3": PHI,
    "qwen": CHATML,
    "smolvlm": Family(("<end_of_utterance>",), bos="<|im_start|>"),
}
# Text in angle brackets that is an added token somewhere; <tools>, <function=...> and the like are plain text everywhere.
_WRITTEN = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^<>｜]{1,40}｜>|<\|[a-z_\"]{1,20}>|<[a-z_]{1,20}\|>|<(?:start|end)_of_\w+>|<image>|<sop>"
    r"|</?(?:think|tool_call|tool_response|arg_key|arg_value)>"
)
_PLAIN = re.compile(r"</?(?:think|tool_\w+|arg_\w+)>|/nothink|<｜(?!begin▁of|end▁of)[^<>]*｜>")
"""Added tokens that are not special in the models that have them."""
_COMMENTS = re.compile(r"\{#.*?#\}", re.DOTALL)
_ALONE = ("<|final|>",)  # said in a message of gpt-oss's template, no token


def family(name: str, template: str) -> Family:
    """Return the family of a template; one that is not listed ends as its template does."""
    known = [start for start in FAMILIES if name.startswith(start)]
    if known:
        return FAMILIES[max(known, key=len)]
    endings = [token for token in written_tokens(template) if re.search(r"end|eot|eos|return", token)]
    return Family((*endings, "<eos>"), bos="<bos>")


def written_tokens(template: str) -> list[str]:
    """Return the tokens that a template spells out, in order of first use."""
    found = dict.fromkeys(_WRITTEN.findall(_COMMENTS.sub("", template)))
    return [token for token in found if token not in _ALONE]


def make_model(folder: Path, name: str, template: str, chosen: Family | None = None) -> Family:
    """Write a model folder without weights: tokenizer, template, configurations."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    own = chosen or family(name, template)
    tokens = dict.fromkeys([*([own.bos] if own.bos else []), *own.eos, *own.ends, *own.more, *written_tokens(template)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(token, special=not _PLAIN.fullmatch(token), normalized=False) for token in tokens])
    ids = {token: backend.token_to_id(token) for token in tokens}
    if own.bos and own.adds_bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{own.bos} $A", pair=f"{own.bos} $A {own.bos} $B", special_tokens=[(own.bos, ids[own.bos])]
        )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    named = special_names(own)
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **named})
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    limits = {"vocab_size": backend.get_vocab_size(), "max_position_embeddings": 2**20}
    _write(folder / "config.json", {"model_type": "llama", "eos_token_id": ids[own.eos[0]], **limits})
    _write(folder / "generation_config.json", {"eos_token_id": [ids[token] for token in own.eos]})
    return own


def special_names(own: Family) -> dict[str, str]:
    """Return the tokens that templates may name."""
    return {"eos_token": own.eos[0], **({"bos_token": own.bos} if own.bos else {})}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
