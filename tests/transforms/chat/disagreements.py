"""Where our masks and TRL's marks differ, and why.

A template that is not in the list is learned exactly as it is marked. In every case below but one the marks hold what the model never generates: text that the
generation prompt already holds, or what stands behind the token that ends generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Difference(NamedTuple):
    """A run of characters that one side alone learns."""

    by: str
    """``ours`` or ``trl``."""
    text: str


class Listed(NamedTuple):
    """A difference, its reason, and where it occurs: in all kinds of conversations that are kept if nothing is said."""

    by: str
    text: str
    reason: str
    only: Sequence[str] = ()
    but: Sequence[str] = ()

    def kinds(self, compared: Sequence[str]) -> list[str]:
        """Return the kinds of conversations in which the difference has to occur."""
        assert set(self.but) <= set(compared)
        return list(self.only) or [kind for kind in compared if kind not in self.but]


PROMPT = "the generation prompt holds it, so the model never writes it"
BEHIND = "it stands behind the token that ends generation, so the model never writes it"
ENDS = "generation ends with this token (generation_config of Gemma 4): the model has to learn it, or it makes up the result"

_THOUGHTS = (
    "thoughts",
    "thoughts in the last turn",
    "thoughts in all turns",
    "inline thoughts",
    "inline thoughts in all turns",
)
_CALLS = (
    *(
        "call, result, answer",
        "call as last act",
        "two rounds",
        "calls in two turns",
        "parallel calls",
        "text beside a call",
    ),
    *("thoughts beside a call", "empty arguments", "odd arguments"),
)


def _answered(*but: str) -> list[str]:
    return [kind for kind in _CALLS if kind not in ("call as last act", *but)]


_SEVERAL = (
    *(
        "several turns",
        "several with system",
        "thoughts in the last turn",
        "thoughts in all turns",
        "inline thoughts in all turns",
    ),
    *("markdown, code and JSON", "short answers"),
)
_ALL_THINK = tuple(kind for kind in _THOUGHTS if kind != "thoughts in the last turn")

_NEWLINE = Listed("trl", "\n", BEHIND)
_OPENED = Listed("trl", "<think>\n", PROMPT)
_NEMOTRON = [
    _NEWLINE,
    Listed("trl", "<think>", PROMPT, but=("thoughts", "inline thoughts", "thoughts beside a call")),
    Listed("trl", "<think>\n", PROMPT, only=(*_THOUGHTS, "thoughts beside a call")),
]
_PHI = [Listed("trl", "\n<|endoftext|>", BEHIND), Listed("trl", "\n", BEHIND, only=_SEVERAL)]

DISAGREEMENTS: dict[str, list[Listed]] = {
    "deepseek_r1_distill_training": [
        Listed("trl", "<｜Assistant｜>", PROMPT, but=_ALL_THINK),
        Listed("trl", "<｜Assistant｜><think>\n", PROMPT, only=_THOUGHTS),
        Listed("trl", "<｜tool▁outputs▁end｜>", PROMPT, only=_answered("text beside a call", "thoughts beside a call")),
    ],
    "deepseekv3_training": [
        Listed("trl", "<｜Assistant｜>", PROMPT),
        Listed("trl", "<｜tool▁outputs▁end｜>", PROMPT, only=_answered()),
    ],
    "diffusion_gemma_training": [
        Listed("trl", "\n", BEHIND, but=("call as last act",)),
        Listed("ours", "<|tool_response>", ENDS, only=_CALLS),
    ],
    "gemma3_training": [_NEWLINE],
    "gemma_training": [_NEWLINE],
    "gptoss_training": [Listed("trl", "<|start|>assistant", PROMPT)],
    "idefics3_training": [_NEWLINE],
    "lfm2_2_5": [_NEWLINE],
    "lfm2_2_5_v2": [_NEWLINE],
    "lfm2_2_5_vl": [_NEWLINE],
    "lfm2_training": [_NEWLINE],
    "lfm2_v2_training": [_NEWLINE],
    "muse_glimmer_training": [Listed("trl", "<|start|>assistant", PROMPT)],
    "nemotron_3_5_lightning_training": _NEMOTRON,
    "nemotron_3_nano_training": _NEMOTRON,
    "nemotron_3_super_training": _NEMOTRON,
    "nemotron_3_ultra_training": _NEMOTRON,
    "phi3_5_training": _PHI,
    "phi3_training": _PHI,
    "qwen2_5_training": [_NEWLINE],
    "qwen2_5_vl_training": [_NEWLINE],
    "qwen3_5_nothink_training": [
        _NEWLINE,
        Listed("trl", "<think>\n\n</think>\n\n", PROMPT, but=(*_ALL_THINK, "thoughts beside a call")),
        Listed("trl", "<think>\n", PROMPT, only=(*_THOUGHTS, "thoughts beside a call")),
    ],
    "qwen3_5_think_training": [_OPENED, _NEWLINE],
    "qwen3_6_training": [_OPENED, _NEWLINE],
    "qwen3_8_training": [_OPENED, _NEWLINE],
    "qwen3_instruct_2507_training": [_NEWLINE],
    "qwen3_training": [_NEWLINE],
    "qwen3_vl_training": [_NEWLINE],
    "smolvlm_training": [_NEWLINE],
}
