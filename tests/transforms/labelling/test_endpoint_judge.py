"""A real server on this machine that speaks the chat protocol: what is sent, what is retried, what each refusal says."""

from __future__ import annotations

import math
import pickle
import time
from typing import Any

import pytest

from versatune.schemas.errors import RunError
from versatune.transforms.labelling import endpoint_judge
from versatune.transforms.labelling.endpoint_judge import EndpointJudge, EndpointJudgePlan, code_logprobs
from versatune.transforms.labelling.judge import Choices

pytest.importorskip("openai")
CHOICES = Choices(domains=("law", "code", "sport"), meanings=("", "", ""))
LISTED = {"A": -0.1, " B": -3.0, "B": -4.0, "The": -5.0, "\n": -6.0}


def completion(listed: dict[str, float] | None) -> dict[str, Any]:
    top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in (listed or {}).items()]
    logprobs = None if listed is None else {"content": [{**top[0], "top_logprobs": top}] if top else []}
    message = {"role": "assistant", "content": "A"}
    return {
        "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "length", "logprobs": logprobs}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 1, "total_tokens": 12},
    }  # fmt: skip


@pytest.fixture
def server(endpoint_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(endpoint_judge, "_RETRIES", 2)
    endpoint_server.reply = lambda number, body: (200, completion(LISTED))
    return endpoint_server


def _plan(server: Any, **changes: Any) -> EndpointJudgePlan:
    values = {"url": server.url, "model": "m", "choices": CHOICES, "text_tokens": 10, "concurrency": 4}
    return EndpointJudgePlan(**{"timeout_seconds": 20.0, **values, **changes})


def test_a_code_s_tokens_are_added_up_and_a_missing_one_gets_the_lowest_value() -> None:
    numbers, unlisted = code_logprobs(LISTED, "ABC")
    assert numbers == pytest.approx((-0.1, math.log(math.exp(-3) + math.exp(-4)), -6.0))
    assert unlisted == 1


def test_each_text_is_asked_about_in_every_order_with_one_token_and_its_alternatives(server: Any) -> None:
    answers = EndpointJudge(_plan(server)).ask(["first", "x" * 100])
    assert len(server.bodies) == 6
    for body in server.bodies:
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 1, 0.0)
        assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    asked = {body["messages"][0]["content"] for body in server.bodies}
    for text in ("first", "x" * 40):  # ten tokens are forty characters
        assert {text.join(CHOICES.question(rotation)) for rotation in CHOICES.rotations} <= asked
    assert [(len(one.logprobs), one.tokens, one.unlisted) for one in answers] == [(3, 33, 3), (3, 33, 3)]


def test_answers_belong_to_their_texts_and_orders_however_they_arrive(server: Any) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        content = body["messages"][0]["content"]
        rotation = next(r for r in CHOICES.rotations if CHOICES.question(r)[0] in content)
        time.sleep(0.01 * (number % 3))
        text = int(content.removeprefix(CHOICES.question(rotation)[0]).partition("\n")[0])
        return 200, completion({"A": -0.001, "B": -1.0 - text, "C": -100.0 - rotation})

    server.reply = reply
    answers = EndpointJudge(_plan(server)).ask([str(at) for at in range(8)])
    for at, answer in enumerate(answers):
        assert [numbers[1] for numbers in answer.logprobs] == [-1.0 - at] * 3
        assert [numbers[2] for numbers in answer.logprobs] == [-100.0 - rotation for rotation in CHOICES.rotations]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Any, status: int) -> None:
    server.reply = lambda number, body: (status, {"error": {}}) if number <= 2 else (200, completion(LISTED))
    (answer,) = EndpointJudge(_plan(server, concurrency=1)).ask(["x"])
    assert len(answer.logprobs) == 3
    assert len(server.bodies) == 5


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, r"401: it refuses without a key: .* OPENAI_API_KEY"),
        (403, r"403: it refuses without a key"),
        (404, r"404: there is no model m, or no chat API"),
        (400, r"400 \(bad_thing\): it does not take a chat request"),
        (429, r"429: still too many requests after 2 retries"),
        (502, r"502, InternalServerError after 2 retries"),
    ],
)
def test_a_refusal_says_what_to_do_and_nothing_that_the_server_said(server: Any, status: int, said: str) -> None:
    server.reply = lambda number, body: (status, {"error": {"message": "secret words", "code": "bad_thing"}})
    with pytest.raises(RunError, match=said) as caught:
        EndpointJudge(_plan(server)).ask(["x"])
    assert "secret" not in str(caught.value)
    assert server.url in str(caught.value)


def test_the_key_comes_from_the_environment_and_is_in_no_message_and_no_plan(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    server.reply = lambda number, body: (401, {"error": {"message": "Incorrect API key provided: sk-very-secret"}})
    judge = EndpointJudge(_plan(server))
    with pytest.raises(RunError, match="it refuses the key in OPENAI_API_KEY") as caught:
        judge.ask(["x"])
    assert server.keys[0] == "Bearer sk-very-secret"
    assert "sk-very" not in str(caught.value) + str(judge.about)
    assert caught.value.__cause__ is None
    assert b"sk-very" not in pickle.dumps(_plan(server))


@pytest.mark.parametrize("listed", [None, {}])
def test_an_endpoint_without_log_probabilities_is_refused(server: Any, listed: dict[str, float] | None) -> None:
    server.reply = lambda number, body: (200, completion(listed))
    with pytest.raises(RunError, match="answers without log-probabilities"):
        EndpointJudge(_plan(server)).ask(["x"])


def test_a_server_that_does_not_answer_in_time_and_one_that_is_not_there_are_told_apart(server: Any) -> None:
    server.delay = 0.5
    with pytest.raises(RunError, match=r"no answer within 0\.1 seconds, 3 times"):
        EndpointJudge(_plan(server, timeout_seconds=0.1, concurrency=1)).ask(["x"])
    with pytest.raises(RunError, match="cannot be reached"):
        EndpointJudge(_plan(server, url="http://127.0.0.1:9/v1", concurrency=1)).ask(["x"])
