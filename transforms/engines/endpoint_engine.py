"""An engine behind an OpenAI-compatible completions endpoint: a server of one's own (vLLM, llama.cpp, SGLang) or a hosted model."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from versatune.schemas.errors import ConfigError, RunError
from versatune.transforms.engines.endpoint import make_client, quoted, refusal
from versatune.transforms.engines.endpoint_server import KEPT, SETTINGS, Presence, Server, ask_server
from versatune.transforms.engines.endpoint_trouble import UNREADABLE, WITHHELD, Trouble, trouble
from versatune.transforms.engines.engine import Failure, Generation, Outcome, Sample

_FAILURES_IN_A_ROW = 16


@dataclass(frozen=True, kw_only=True)
class EndpointEnginePlan:
    """What a worker needs to generate through an endpoint; the key is not among it, every worker has its own environment."""

    url: str
    model: str
    prompt_token_id: int
    temperature: float
    top_p: float
    repetition_penalty: float
    max_new_tokens: int
    concurrency: int
    timeout_seconds: float
    retries: int
    patience_seconds: float


class EndpointEngine:
    """An engine that generates over HTTP, several requests at once.

    A request that a busy server turns away, or that fails there, is sent again later, with the same seed; after ``retries`` times its
    sample is a :class:`Failure`, and the others go on. While the server cannot be reached all requests wait for it together.

    Attributes:
        about: what the server says it is; kept with every generation.
    """

    def __init__(self, plan: EndpointEnginePlan) -> None:
        """Ask the server what it is, once.

        Raises:
            ConfigError: it does not have the model, has too short a context, or cannot be told the repetition penalty.
            RunError: it cannot be reached, or refuses.
        """
        self._plan = plan
        self._client = make_client(plan.url, timeout_seconds=plan.timeout_seconds, retries=0)
        self._presence = Presence(self._client, plan.url, plan.patience_seconds)
        self._has_worked = False
        self._server = ask_server(self._client, plan.url, plan.model)
        _check(plan, self._server)
        self.about: dict[str, Any] = {"engine": f"endpoint {self._server.name}".strip()}

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        """Yield what becomes of the samples as the answers come; a sample's own seed decides its text.

        Raises:
            RunError: the server refuses all requests, stays away for longer than ``patience_seconds``, or request after request fails.
        """
        todo, done, stop = queue.SimpleQueue[Sample](), queue.SimpleQueue[Outcome | Exception](), threading.Event()
        for sample in samples:
            todo.put(sample)
        for _ in range(min(self._plan.concurrency, len(samples))):
            # Not a pool: the interpreter's end would wait for its requests, and they may take minutes.
            threading.Thread(target=self._work, args=(todo, done, stop), daemon=True).start()
        failures: list[Failure] = []  # held back until one succeeds: where nothing works they settle nothing
        left = len(samples)
        try:
            while left:
                ready: list[Outcome] = []
                error = None
                for found in _next(done):
                    if isinstance(found, Exception):
                        error = found
                        continue
                    left -= 1
                    if isinstance(found, Failure) and found.reason != WITHHELD:
                        failures.append(found)
                    else:
                        self._has_worked = True
                        ready += [*failures, found]
                        failures.clear()
                if ready:
                    yield ready
                if error is not None:
                    raise error
                self._check_hope(failures, left)
            if failures:
                yield [*failures]
        finally:
            stop.set()

    def _check_hope(self, failures: Sequence[Failure], left: int) -> None:
        """End where as many requests fail in a row as are in flight, or all of the first batch: the rest would fail as well."""
        all_of_the_first_batch = failures and not left and not self._has_worked
        if len(failures) >= max(self._plan.concurrency, _FAILURES_IN_A_ROW) or all_of_the_first_batch:
            raise RunError(
                f"endpoint {self._plan.url}: {len(failures)} requests in a row failed, the last one with {failures[-1].reason}"
                f" ({failures[-1].detail}). {KEPT} when the server is well"
            )

    def _work(
        self,
        todo: queue.SimpleQueue[Sample],
        done: queue.SimpleQueue[Outcome | Exception],
        stop: threading.Event,
    ) -> None:
        try:
            while not stop.is_set():
                outcome = self._one(todo.get_nowait(), stop)
                if outcome is not None:
                    done.put(outcome)
        except queue.Empty:
            return
        except Exception as error:  # noqa: BLE001  # the thread that waits for the answers must hear of it
            done.put(error)

    def _one(self, sample: Sample, stop: threading.Event) -> Outcome | None:
        """Return what becomes of a sample; nothing if nobody waits for it any more."""
        failed = 0
        while not stop.is_set():
            sent = time.monotonic()
            try:
                return self._outcome(sample, self._send(sample))
            except Trouble as met:
                if met.may_be_away and self._presence.was_away(since=sent, stop=stop):
                    continue  # no fault of the request
                failed += 1
                if met.for_good or failed > self._plan.retries:
                    return Failure(sample.index, sample.seed, met.reason, met.detail)
                stop.wait(met.pause(failed))
        return None

    def _send(self, sample: Sample) -> Any:
        """Send one request; what has a default that differs between servers is always said."""
        import openai

        plan = self._plan
        # What the protocol lacks, vLLM would take from the model's generation_config.json, and measure another distribution.
        beyond = (
            {"top_k": 0, "min_p": 0.0, "repetition_penalty": plan.repetition_penalty} if self._server.is_vllm else {}
        )
        try:
            return self._client.completions.create(
                model=plan.model,
                prompt=[plan.prompt_token_id],
                max_tokens=plan.max_new_tokens,
                temperature=plan.temperature,
                top_p=plan.top_p,
                presence_penalty=0.0,
                frequency_penalty=0.0,
                n=1,
                seed=sample.seed,
                stream=False,
                extra_body=beyond,
            )
        except (openai.OpenAIError, ValueError) as error:  # a ValueError is what broken JSON raises
            why = refusal(error, model=plan.model, api="completions", settings=SETTINGS)
            if why is not None:
                raise RunError(f"endpoint {plan.url}: {why}. {KEPT}") from None
            raise trouble(error, plan.timeout_seconds) from None

    def _outcome(self, sample: Sample, answer: Any) -> Outcome:
        """Read an answer. A text that its server broke off is none: half of it would count as a short one."""
        choices = getattr(answer, "choices", None) or [None]
        usage = getattr(answer, "usage", None)
        text = getattr(choices[0], "text", None)
        tokens = getattr(usage, "completion_tokens", None)
        if not isinstance(text, str) or not isinstance(tokens, int):
            lacks = "text" if not isinstance(text, str) else "usage.completion_tokens"
            raise Trouble(UNREADABLE, f"the answer has no {lacks}")
        finish = getattr(choices[0], "finish_reason", None)
        if finish == "content_filter":
            return Failure(sample.index, sample.seed, WITHHELD, "finish_reason content_filter")
        if finish not in ("stop", "length"):
            raise Trouble(UNREADABLE, f"finish_reason {quoted(finish)}; expected stop or length")
        if finish == "length" and tokens < self._plan.max_new_tokens:
            raise RunError(
                f"endpoint {self._plan.url}: it ends texts after {tokens} tokens, where probe.max_new_tokens is"
                f" {self._plan.max_new_tokens}; set that lower, or have the server allow more"
            )
        # JSON can hold half of a surrogate pair, which no file in UTF-8 can.
        whole = text.encode("utf-8", "replace").decode()
        return Generation(sample.index, sample.seed, whole, tokens, finish)


def _check(plan: EndpointEnginePlan, server: Server) -> None:
    if plan.repetition_penalty != 1.0 and not server.is_vllm:
        raise ConfigError(
            f"probe.repetition_penalty: {plan.repetition_penalty:g} cannot be told to {plan.url}, which does not say that it is a vLLM"
            " server: the protocol has no such field. Set it to 1, which measures the model's own distribution"
        )
    if server.context_tokens is not None and plan.max_new_tokens >= server.context_tokens:
        raise ConfigError(
            f"probe.max_new_tokens: {plan.max_new_tokens} and the first token do not fit into the {server.context_tokens} tokens that"
            f" {plan.url} has; set it to at most {server.context_tokens - 1}, or start the server with a larger --max-model-len"
        )


def _next(done: queue.SimpleQueue[Outcome | Exception]) -> list[Outcome | Exception]:
    """Wait for the next outcome and return it with all others that are there."""
    found = [done.get()]
    while not done.empty():
        found.append(done.get())
    return found
