"""A request to a completions endpoint that brought no text: what it is counted as, and when it is sent again."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from typing import Any

from versatune.transforms.engines.endpoint import quoted

REFUSED = "request_refused"
TOO_MANY_REQUESTS = "too_many_requests"
SERVER_ERROR = "server_error"
TIMED_OUT = "timed_out"
BROKEN_OFF = "broken_off"
UNREADABLE = "unreadable_answer"
WITHHELD = "withheld_by_server"

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
_LONGEST_RETRY_AFTER_SECONDS = 300.0
_JITTER = 0.25


class Trouble(Exception):  # noqa: N818  # it need not be an error: mostly the request is sent again
    """A request that brought no text."""

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        for_good: bool = False,
        may_be_away: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.for_good = for_good
        self.may_be_away = may_be_away
        self._retry_after = retry_after

    def pause(self, failed: int) -> float:
        """Return how long to wait, in seconds: twice as long every time, and no less than the server asks for; never all requests at the same moment."""
        wait = min(_FIRST_WAIT_SECONDS * 2.0 ** (failed - 1), _LONGEST_WAIT_SECONDS)
        return max(wait, self._retry_after) * random.uniform(1.0, 1.0 + _JITTER)


def trouble(error: Exception, timeout_seconds: float) -> Trouble:
    """Say what became of a request, and what that means for the next try."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        said = f"no answer within {timeout_seconds:g} seconds (probe.endpoint.timeout_seconds)"
        return Trouble(TIMED_OUT, said, may_be_away=True)
    if isinstance(error, openai.APIConnectionError):
        return Trouble(BROKEN_OFF, type(error.__cause__ or error).__name__, may_be_away=True)
    if not isinstance(error, openai.APIStatusError):
        return Trouble(UNREADABLE, type(error).__name__)
    status = error.status_code
    detail = f"{status}: {quoted(_message(error))}"
    if status == 429:
        return Trouble(TOO_MANY_REQUESTS, detail, retry_after=retry_after(error.response.headers))
    if status >= 500 or status in (408, 409, 425):
        # 502, 503 and 504 are what a load balancer says for a server that is away.
        gone = status in (502, 503, 504)
        return Trouble(SERVER_ERROR, detail, may_be_away=gone, retry_after=retry_after(error.response.headers))
    return Trouble(REFUSED, detail, for_good=True)


def _message(error: Any) -> str:
    """Return the words of a server for a refusal; they can hold no text of a row, because a request has none."""
    body = error.body
    return str((body.get("message") if isinstance(body, dict) else None) or error.code or type(error).__name__)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to wait, 0 if it does not: a number, or a date."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(given).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER_SECONDS)
