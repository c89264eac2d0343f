"""The chat templates that come with versatune: for which tokenizers they are, what they change, and where they would help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from versatune.schemas.chat_template import SHIPPED as PREFIX
from versatune.schemas.chat_template import shipped_template
from versatune.schemas.template_record import THOUGHTS_LEFT_OUT
from versatune.transforms.chat.trial import CONVERSATIONS, Outcome
from versatune.transforms.chat.verdict import NO_END_OF_TURN, PROMPT_DIFFERS, TOOLS_LEFT_OUT

_AMISS = frozenset({NO_END_OF_TURN, PROMPT_DIFFERS, THOUGHTS_LEFT_OUT, TOOLS_LEFT_OUT})


@dataclass(frozen=True)
class Shipped:
    """One of them."""

    name: str
    """As ``model.chat_template`` names it."""
    tokens: tuple[str, ...]
    """Its tokens that make turns: a tokenizer that lacks one would spell it out in pieces, and any text could forge it."""
    changes: str
    """Against the templates that models of the family come with."""
    leaves_out: frozenset[str] = frozenset()
    """Kinds of conversations (of the trial) of which it does not write all."""

    @property
    def text(self) -> str:
        """Jinja."""
        return shipped_template(self.name)

    def lacking(self, added: Iterable[str]) -> list[str]:
        """Return those of its tokens that are no added tokens of a tokenizer: it fits if there are none."""
        known = set(added)
        return [token for token in self.tokens if token not in known]


def _shipped(family: str, tokens: str, changes: str, leaves_out: str = "") -> Shipped:
    kinds = frozenset(kind for kind in CONVERSATIONS if leaves_out and kind.startswith(leaves_out))
    return Shipped(PREFIX + family, tuple(tokens.split()), changes, kinds)


TEMPLATES = {
    template.name: template
    for template in (
        _shipped(
            "chatml",
            "<|im_start|> <|im_end|>",
            "ends every turn, makes up no system turn, writes tools, calls, results and the thoughts of every turn",
        ),
        _shipped(
            "deepseek-r1",
            "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜>",
            "keeps thoughts in every turn and does not open them in the prompt; lists tools, writes parallel calls and text beside them",
        ),
        _shipped(
            "gemma",
            "<bos> <start_of_turn> <end_of_turn>",
            "puts the system text and the tools into the first user's turn, writes calls, results and the thoughts of every turn",
        ),
        _shipped(
            "gpt-oss",
            "<|start|> <|channel|> <|message|> <|constrain|> <|end|> <|call|> <|return|>",
            "writes parallel calls, text beside calls and the thoughts of every turn; <|return|> ends every answer",
        ),
        _shipped(
            "llama-3",
            "<|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>",
            "writes tools, parallel calls, text beside them and the thoughts of every turn; makes up no system turn and no date",
        ),
        _shipped(
            "mistral",
            "<s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS]",
            "puts the system text into the first user's turn and the tools before it, where they stay; writes text beside calls; no thoughts",
            leaves_out="thoughts",
        ),
        _shipped(
            "qwen3",
            "<|im_start|> <|im_end|> <think> </think> <tool_call> </tool_call> <tool_response> </tool_response>",
            "keeps thoughts in every turn, and writes no empty ones where there are none (or, with enable_thinking: false, in every turn)",
        ),
    )
}
"""By name."""


def proposals(added: Iterable[str], outcomes: Iterable[Outcome]) -> list[Shipped]:
    """Return the templates which fit a tokenizer and write kinds of conversations that the model's own does not, or not as they are.

    Of those that fit, the ones in the manner of the model's own come alone, and none whose tokens are some of another's.

    Args:
        added: texts of the tokenizer's added tokens.
        outcomes: of the trial of the model's own template; empty where it has none.
    """
    known, tried = set(added), list(outcomes)
    fitting = [template for template in TEMPLATES.values() if not template.lacking(known)]
    written = "".join(outcome.text for outcome in tried)
    alike = [template for template in fitting if any(token in written for token in _turns(template))] or fitting
    wanting = {outcome.kind for outcome in tried if outcome.scored is None or outcome.scored.counts & _AMISS}
    helpful = [template for template in alike if not tried or wanting - template.leaves_out]
    return [one for one in helpful if not any(set(one.tokens) < set(other.tokens) for other in helpful)]


def _turns(template: Shipped) -> list[str]:
    """Return the tokens that tell a family's manner: not those which begin or end any sequence."""
    return [token for token in template.tokens if token not in ("<s>", "</s>", "<bos>", "<|begin_of_text|>")]
