"""A judge behind an OpenAI-compatible chat endpoint: a hosted model, or a server of one's own (vLLM, llama.cpp, SGLang, TGI)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from versatune.schemas.errors import RunError
from versatune.transforms.engines.endpoint import UNREACHABLE, make_client, quoted, refusal
from versatune.transforms.labelling.ask import Answer
from versatune.transforms.labelling.judge import Choices

_CHARS_PER_TOKEN = 4
_TOP_LOGPROBS = 20  # the most that the protocol allows
_RETRIES = 6  # after 0.5, 1, 2, 4, 8 and 8 seconds, or what the server's Retry-After says


@dataclass(frozen=True, kw_only=True)
class EndpointJudgePlan:
    """What a worker needs to ask an endpoint; the key is not among it, every worker has its own environment."""

    url: str
    model: str
    choices: Choices
    text_tokens: int
    concurrency: int
    timeout_seconds: float


class EndpointJudge:
    """A judge that answers over HTTP, several requests at once."""

    def __init__(self, plan: EndpointJudgePlan) -> None:
        """Make the client; the first request finds out whether anybody is there."""
        self._plan = plan
        self._client = make_client(plan.url, timeout_seconds=plan.timeout_seconds, retries=_RETRIES)
        self.about: dict[str, Any] = {"engine": "endpoint"}

    def ask(self, texts: Sequence[str]) -> list[Answer]:
        """Ask about each text in every order of the codes.

        Raises:
            RunError: the endpoint refuses, cannot be reached, stays busy, or gives no log-probabilities.
        """
        orders = self._plan.choices.rotations
        with ThreadPoolExecutor(self._plan.concurrency) as pool:
            waiting = [pool.submit(self._ask_one, text, rotation) for text in texts for rotation in orders]
            try:
                found = [one.result() for one in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [_together(found[at : at + len(orders)]) for at in range(0, len(found), len(orders))]

    def _ask_one(self, text: str, rotation: int) -> tuple[tuple[float, ...], int, int]:
        """Return the codes' log-probabilities in one order, how many of them are bounds, and the tokens of the question."""
        before, after = self._plan.choices.question(rotation)
        # Without the model's tokenizer the cut is by characters: four to a token, as English has.
        shown = text[: self._plan.text_tokens * _CHARS_PER_TOKEN]
        reply = self._send(before + shown + after)
        choice = reply.choices[0] if reply.choices else None
        if choice is None or choice.logprobs is None or not choice.logprobs.content:
            raise RunError(
                f"endpoint {self._plan.url}: model {self._plan.model} answers without log-probabilities (logprobs, top_logprobs), so"
                " nothing can be measured. Take a model or a server that gives them"
            )
        listed = {token.token: token.logprob for token in choice.logprobs.content[0].top_logprobs}
        numbers, unlisted = code_logprobs(listed, self._plan.choices.codes)
        return numbers, unlisted, reply.usage.prompt_tokens if reply.usage else 0

    def _send(self, content: str) -> Any:
        import openai

        try:
            return self._client.chat.completions.create(
                model=self._plan.model,
                messages=[{"role": "user", "content": content}],
                max_tokens=1,
                temperature=0.0,
                logprobs=True,
                top_logprobs=_TOP_LOGPROBS,
            )
        except openai.OpenAIError as error:
            raise RunError(f"endpoint {self._plan.url}: {_why(error, self._plan)}") from None


def code_logprobs(listed: dict[str, float], codes: str) -> tuple[tuple[float, ...], int]:
    """Return the log-probability of each code out of the most probable tokens, and how many codes are not among them.

    A code's tokens are added up (``A``, `` A``). One that is not listed gets the lowest listed value, which is the most it can have.

    Raises:
        RunError: nothing is listed.
    """
    if not listed:
        raise RunError("the endpoint lists no tokens (top_logprobs is empty); take a server that gives them")
    bound = min(listed.values())
    found = [[logprob for token, logprob in listed.items() if token.strip() == code] for code in codes]
    numbers = tuple(float(np.logaddexp.reduce(values)) if values else bound for values in found)
    return numbers, sum(not values for values in found)


def _together(orders: Sequence[tuple[tuple[float, ...], int, int]]) -> Answer:
    return Answer(
        tuple(numbers for numbers, _, _ in orders),
        tokens=sum(tokens for _, _, tokens in orders),
        unlisted=sum(unlisted for _, unlisted, _ in orders),
    )


def _why(error: Any, plan: EndpointJudgePlan) -> str:
    """Say what went wrong and what to do. Of what a server says nothing is quoted that may hold the key or a row's text."""
    import openai

    refused = refusal(error, model=plan.model, api="chat", settings="--model and --endpoint")
    if refused is not None:
        return refused
    if isinstance(error, openai.RateLimitError):
        return f"429: still too many requests after {_RETRIES} retries; set label.concurrency lower, or wait. What is answered stays"
    if isinstance(error, openai.APITimeoutError):
        return (
            f"no answer within {plan.timeout_seconds:g} seconds, {_RETRIES + 1} times; set label.timeout_seconds higher or"
            " label.concurrency lower"
        )
    if isinstance(error, openai.APIConnectionError):
        return UNREACHABLE
    if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
        code = quoted(error.code or error.type or "no reason given")  # its message may hold a part of the text
        return (
            f"{error.status_code} ({code}): it does not take a chat request with max_tokens=1, temperature=0, logprobs and"
            f" top_logprobs={_TOP_LOGPROBS}, or a text is too long for it; take another model, or set label.max_text_tokens lower"
        )
    status = getattr(error, "status_code", None)
    return f"{f'{status}, ' if status else ''}{type(error).__name__} after {_RETRIES} retries; what is answered stays, run it again later"
