"""A chat template at work: Jinja in a sandbox, as transformers renders it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import jinja2

from versatune.transforms.chat import time_limit
from versatune.transforms.chat.number_marks import NumberMarks
from versatune.transforms.chat.verdict import TEMPLATE_ERROR, CannotTokenize

# Templates that print today's date get the day that their own authors fall back to, so a row does not depend on when it is built.
_DATE = datetime(2024, 7, 26, tzinfo=UTC)
_DETAIL_CHARS = 160
_SHOWN_ROLES = 6

ChatMessage = dict[str, Any]
"""A message as ``apply_chat_template`` takes it."""
Tools = list[dict[str, Any]]


class EndlessTemplate(Exception):  # noqa: N818  # of one row a verdict, of the trial an error of the template
    """A template does not come to an end."""


class Template:
    """One template with the variables that it is given.

    Args:
        source: Jinja.
        variables: what templates may name: ``bos_token``, ``eos_token``, and what the configuration gives.
    """

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        from transformers.utils.chat_template_utils import render_jinja_template  # without torch: a light import

        self.source = source
        self._variables = variables
        self._render: Any = render_jinja_template  # sandboxed

    def render(self, messages: list[ChatMessage], tools: Tools | None = None, *, prompt: bool = False) -> str:
        """Return the text of a conversation; with ``prompt``, up to where the assistant begins to speak.

        Raises:
            CannotTokenize: the template refuses it, or fails; with the template's own words.
            EndlessTemplate: it takes longer than any conversation needs.
        """
        numbers = NumberMarks()
        try:
            with time_limit.time_limit():
                rendered = self._render(
                    conversations=[[numbers.put_into(turn) if "tool_calls" in turn else turn for turn in messages]],
                    tools=numbers.put_into(tools),
                    chat_template=self.source,
                    add_generation_prompt=prompt,
                    **{"strftime_now": _DATE.strftime, **self._variables},
                )
        except time_limit.TookTooLong:
            raise EndlessTemplate(
                f"the chat template has not come to an end after {time_limit.LIMIT_S:g} s (roles: {named_roles(turn['role'] for turn in messages)})"
            ) from None
        except Exception as error:  # noqa: BLE001  # a template is a program: whatever it raises, it says of this conversation
            raise CannotTokenize(
                TEMPLATE_ERROR, f"{said(error)} (roles: {named_roles(turn['role'] for turn in messages)})"
            ) from None
        return numbers.undone(str(rendered[0][0]))


def said(error: Exception) -> str:
    """Return what a template says or does when it fails; never a text of the conversation, which a ValueError may quote."""
    words = " ".join(str(error).split())[:_DETAIL_CHARS]
    if isinstance(error, jinja2.TemplateError):
        return f"the chat template says: {words}"
    return f"the chat template fails with {type(error).__name__}{f': {words}' if isinstance(error, TypeError) else ''}"


def named_roles(roles: Iterable[str]) -> str:
    """Name the first speakers of a conversation, for messages."""
    names = list(islice(roles, _SHOWN_ROLES + 1))
    return ", ".join(names[:_SHOWN_ROLES]) + (", ..." if len(names) > _SHOWN_ROLES else "")
