"""Whether generation with the exported model ends at the token that ends an answer or a call in the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from versatune.sft_runner.evaluate import HeldOut

_PROMPT_TOKENS = 16
_MORE = 3


class _Always(LogitsProcessor):
    """Lets the model write one token, again and again."""

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -float("inf"))
        forced[:, self.token] = 0.0
        return forced


def stop_problem(model: Any, few: Sequence[HeldOut], text: str, token: int) -> tuple[str, str]:
    """Let the model write the token and see whether it goes on; settings are those of the exported folder.

    Returns:
        How it was seen: ``generated``, or why from the settings alone; and what is wrong, empty when it stops.
    """
    settings = getattr(model, "generation_config", None)
    ending = getattr(settings, "eos_token_id", None)
    listed = token in ending if isinstance(ending, list | tuple) else token == ending
    wrong = (
        f"generation goes on after {text} (token {token}), which ends what the rows teach; eos_token_id of the exported generation_config is"
        f" {ending}"
    )
    prompt = _prompt(few, model.device, token)
    try:
        with torch.no_grad():
            written = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=_MORE,
                num_beams=1,
                do_sample=False,
                logits_processor=LogitsProcessorList([_Always(token)]),
            )
    except Exception as error:  # noqa: BLE001  # whatever a class does that cannot generate: no fault of the export
        how = f"settings alone: generate() does not work ({type(error).__name__})"
        return how, "" if listed else wrong
    return "generated", "" if written.shape[1] == prompt.shape[1] + 1 else wrong


def _prompt(few: Sequence[HeldOut], device: torch.device, token: int) -> torch.Tensor:
    """The beginning of a held-out row; without any, the token itself. Returns (1, T)."""
    for slice_ in few:
        if len(slice_.chosen):
            ids = slice_.rows[int(slice_.chosen[0])].input_ids[:_PROMPT_TOKENS]
            return torch.tensor([ids.tolist()], device=device)
    return torch.tensor([[token]], device=device)
