"""Why a conversation cannot be learned, and what is counted of those that can."""

from __future__ import annotations

from versatune.schemas import template_record

NO_LOSS_TOKENS = "no_loss_tokens"
CONTROL_TOKEN_IN_TEXT = "control_token_in_text"
TEMPLATE_ERROR = "template_error"
TEMPLATE_REWRITES = "template_rewrites"

SYSTEM, PROMPT, ANSWER, BESIDE_CALL, THOUGHTS = "system", "prompts", "answers", "text_beside_calls", "thoughts"
CALL, RESULT, TOOLS = "calls", "results", "tools"
KINDS = {
    SYSTEM: "the system turn",
    PROMPT: "a user's turn",
    ANSWER: "an answer",
    BESIDE_CALL: "the text beside a tool call",
    THOUGHTS: "the thoughts before an answer or call",
    CALL: "a tool call",
    RESULT: "a tool's result",
    TOOLS: "the list of tools",
}
"""Kinds of texts of a conversation, and how messages name them."""
_ANOTHER = "take a model or a chat template (model.chat_template) that writes it"
REMEDIES = {
    SYSTEM: "set model.system to into_first_user or drop, or give another template as model.chat_template",
    THOUGHTS: "set model.thoughts to as_rendered or drop, or give another template as model.chat_template",
    TOOLS: "set model.tools to as_rendered or drop, or give another template as model.chat_template",
} | dict.fromkeys((PROMPT, ANSWER, BESIDE_CALL, CALL, RESULT), _ANOTHER)
"""What to do where a template leaves out a kind of text."""


def without(kind: str) -> str:
    """Return the reason for which a row is rejected if its template leaves out a kind of text."""
    return f"template_without_{kind}"


TOKENIZE_REASONS = {
    NO_LOSS_TOKENS: "none of the first build.max_tokens tokens belongs to an answer",
    CONTROL_TOKEN_IN_TEXT: "a text spells out a control token of the chat template, which could forge a turn",
    TEMPLATE_ERROR: "the chat template refuses the conversation",
    TEMPLATE_REWRITES: "the chat template writes the conversation in such a way that its texts cannot be told from the template's own",
    **{without(kind): f"the chat template does not write {text}" for kind, text in KINDS.items()},
}

THOUGHTS_LEFT_OUT = template_record.THOUGHTS_LEFT_OUT
PROMPT_DIFFERS = "template.prompt_differs"
NO_END_OF_TURN = "template.no_end_of_turn"
TOOLS_LEFT_OUT = "template.tools_left_out"
SYSTEM_MOVED = "template.system_moved"
SYSTEM_DROPPED = "template.system_dropped"
THOUGHTS_DROPPED = "template.thoughts_dropped"
TOOLS_DROPPED = "template.tools_dropped"
TEMPLATE_COUNTS = {
    THOUGHTS_LEFT_OUT: "thoughts that the chat template does not write are not learned",
    PROMPT_DIFFERS: "the text before an answer is not what the model is given at inference",
    NO_END_OF_TURN: "no token that ends an answer is learned",
    TOOLS_LEFT_OUT: "the list of tools is not in the text (model.tools)",
    SYSTEM_MOVED: "the system turn went into the first user's turn (model.system)",
    SYSTEM_DROPPED: "the system turn was left out (model.system)",
    THOUGHTS_DROPPED: "thoughts were left out (model.thoughts)",
    TOOLS_DROPPED: "the list of tools was left out (model.tools)",
}
"""What is counted of rows that are kept; in the books of each source."""


class CannotTokenize(Exception):  # noqa: N818  # it is a verdict on one row, not a failure
    """One row is rejected."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
