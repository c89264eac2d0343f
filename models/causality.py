"""Whether a model may be trained on answers: one that sees the tokens behind a position learns to copy them (RoBERTa without is_decoder, XLNet)."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

from versatune.models.loading import model_config
from versatune.schemas.config import ModelConfig
from versatune.schemas.errors import ConfigError, DataError

_TOKENS = 12
_SHARED = 8
"""Tokens with which both rows begin; behind them they differ."""
_TOLERANCE = {4: 1e-4, 2: 3e-2}
"""Largest change of a logit before the rows differ, as a share of the largest logit, by bytes of a weight: sums in another order stay below."""
_VOCABULARY = 512
_LARGEST = 400_000_000
"""Parameters of a random model that is made for the test alone; a larger one is tested once it is loaded."""


def check_causal(model: Any, name: str) -> None:
    """Refuse a model whose logits at a position depend on later tokens: two rows with one beginning and two endings.

    Args:
        model: on its device, with its weights.
        name: model.path, for the message.

    Raises:
        ConfigError: it sees later tokens.
        DataError: it cannot be run, or its logits are no numbers.
    """
    import torch

    rows = model.get_input_embeddings().weight.shape[0]
    one = torch.arange(_TOKENS).add(3).remainder(rows)
    other = one.clone()
    other[_SHARED:] = one[_SHARED:].add(rows // 2).remainder(rows)
    trained = model.training
    model.eval()
    batch = torch.stack([one, other]).to(model.device)
    mask = torch.ones_like(batch)
    mask[1, -2:] = 0  # as in training, where rows are padded
    try:
        with torch.no_grad():
            logits = model(input_ids=batch, attention_mask=mask, use_cache=False).logits.float()
    except Exception as error:  # noqa: BLE001  # whatever the model's code raises
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"model.path {name}: it cannot be run on two rows of {_TOKENS} tokens ({type(error).__name__}: {reason})"
        ) from None
    finally:
        model.train(trained)
    before = logits[:, :_SHARED]
    if not torch.isfinite(before).all():
        raise DataError(
            f"model.path {name}: its logits of two rows of {_TOKENS} tokens are not finite numbers; its weights, or their number format, are"
            " broken. Download the model again"
        )
    apart = float((before[0] - before[1]).abs().max())
    if apart > _TOLERANCE.get(model.dtype.itemsize, 1e-4) * float(before.abs().max()):
        raise ConfigError(
            f"model.path {name}: {type(model).__name__} sees the tokens that it should predict (its logits change by {apart:.3g} when later"
            " tokens do), so its loss would say nothing. Take a causal language model; an encoder such as RoBERTa needs is_decoder: true in"
            " config.json, and a model trained that way"
        )


def check_kind_causal(folder: Path, model: ModelConfig) -> None:
    """Do the same before anything is built: on a random model of the same kind with two layers, where one can be made and is small.

    Raises:
        ConfigError: models of this kind and configuration see later tokens.
    """
    config = copy.deepcopy(model_config(folder, model))
    if (small := _small(config, model)) is not None:
        with contextlib.suppress(DataError):
            check_causal(small, model.path)


def _small(config: Any, model: ModelConfig) -> Any:
    """Return a random model; None where none can be made, or it would be large."""
    import torch
    import transformers

    make: Any = transformers.AutoModelForCausalLM.from_config  # untyped
    try:
        _make_small(config.get_text_config())
        with torch.device("meta"):
            size = make(config, trust_remote_code=model.trust_remote_code).num_parameters()
        if size > _LARGEST:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return make(config, dtype=torch.float32, trust_remote_code=model.trust_remote_code)
    except Exception:  # noqa: BLE001  # what cannot be made smaller is tested when it is loaded, before its first step
        return None


def _make_small(text: Any) -> None:
    """Leave two layers and few tokens: whether later tokens are seen depends on neither."""
    text.num_hidden_layers = min(text.num_hidden_layers, 2)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]
    if (getattr(text, "pad_token_id", None) or 0) < _VOCABULARY:
        text.vocab_size = min(text.vocab_size, _VOCABULARY)
