"""Whether a model's tokenizer, weights and limits go together: compared before any work, from headers and JSON alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from versatune.models.files import context_length, read_json, tensors_of, text_sections
from versatune.schemas.errors import DataError

# The names that transformers gives the table of input embeddings; the last two parts of a tensor's name.
_EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
)
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def check_model_fit(folder: str | Path, *, max_tokens: int, tokenizer_json: str | None = None) -> None:
    """Refuse a model that texts of this length and this tokenizer would break in the middle of the work.

    Args:
        folder: the model. What its files do not say is not compared.
        max_tokens: tokens of the longest row.
        tokenizer_json: the serialised tokenizer; the folder's tokenizer.json when absent.

    Raises:
        DataError: naming everything that does not fit.
    """
    path = Path(folder)
    found = [_context_misfit(path, max_tokens), _pad_misfit(path), _token_misfit(path, tokenizer_json)]
    if misfits := [text for text in found if text]:
        raise DataError("\n".join(f"model {path}: {text}" for text in misfits))


def embedding_rows(folder: Path) -> int | None:
    """Return for how many token ids the model has an embedding: by the headers of its weights, else by its configuration."""
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in tensors_of(file).items():
            if ".".join(name.split(".")[-2:]) in _EMBEDDINGS:
                return int(tensor["shape"][0])
    return next((size for size in _values(folder, "vocab_size") if size > 0), None)


def _values(folder: Path, key: str) -> list[int]:
    """Return the whole numbers that the model's configurations give a key."""
    sections = text_sections(folder) if (folder / "config.json").is_file() else []
    if (file := folder / "generation_config.json").is_file():
        sections.append(read_json(file))
    return [value for section in sections if isinstance(value := section.get(key), int)]


def _context_misfit(folder: Path, max_tokens: int) -> str | None:
    context = context_length(folder) if (folder / "config.json").is_file() else None
    if context is None or max_tokens <= context:
        return None
    return (
        f"it has a context of {context:,} tokens, and rows may have {max_tokens:,} (build.max_tokens); set build.max_tokens to"
        f" {context} or less, then build"
    )


def _pad_misfit(folder: Path) -> str | None:
    rows = embedding_rows(folder)
    outside = [pad for pad in _values(folder, "pad_token_id") if pad < 0 or (rows is not None and pad >= rows)]
    if not outside:
        return None
    known = "" if rows is None else f" from 0 to {rows - 1}"
    return (
        f"pad_token_id is {outside[0]}, which is no row of its embedding; expected an id{known}, or null. Correct it in config.json and"
        " generation_config.json (the id of the end-of-sequence token will do: padding is masked)"
    )


def _token_misfit(folder: Path, tokenizer_json: str | None) -> str | None:
    """Compare the tokens that texts can become with the rows that there are for them."""
    file = folder / "tokenizer.json"
    rows = embedding_rows(folder)
    if rows is None or (tokenizer_json is None and not file.is_file()):
        return None
    outside = _tokens_beyond(orjson.loads(tokenizer_json) if tokenizer_json else read_json(file), folder, rows)
    if not outside:
        return None
    return (
        f"its tokenizer has tokens without a row in the embedding of {rows:,} rows: {', '.join(outside[:3])}"
        f"{f' and {len(outside) - 3:,} more' if len(outside) > 3 else ''}. Take the tokenizer that belongs to the weights, or enlarge them"
        " (transformers: resize_token_embeddings) and save both"
    )


def _tokens_beyond(tokenizer: dict[str, Any], folder: Path, rows: int) -> list[str]:
    """Name the tokens with an id of ``rows`` or more that a text can become.

    A special token that neither the template nor the tokenizer's own settings name stands in no text: published models have such spare ones.
    """
    settings, template = _settings(folder)
    named = {_text(settings.get(name)) for name in _NAMED}
    added = tokenizer.get("added_tokens") or []
    beyond = [
        token
        for token in added
        if token["id"] >= rows
        and (not token.get("special") or token["content"] in named or token["content"] in template)
    ]
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or {}
    spare = {token["content"] for token in added}
    if isinstance(vocabulary, list):  # unigram: [text, score] in the order of the ids
        plain = [(entry[0], number) for number, entry in enumerate(vocabulary[rows:], rows)]
    else:
        plain = [(text, number) for text, number in vocabulary.items() if number >= rows]
    found = {token["content"]: token["id"] for token in beyond} | {t: n for t, n in plain if t not in spare}
    return [f"'{text}' ({number})" for text, number in sorted(found.items(), key=lambda item: item[1])]


def _settings(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the tokenizer's settings, and the text of its templates."""
    file = folder / "tokenizer_config.json"
    settings = read_json(file) if file.is_file() else {}
    own = folder / "chat_template.jinja"
    texts = [str(settings.get("chat_template") or ""), own.read_text(errors="replace") if own.is_file() else ""]
    return settings, "\n".join(texts)


def _text(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token
