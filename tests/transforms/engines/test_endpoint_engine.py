"""A real server on this machine that speaks the completions protocol: what is asked, sent again, given up, waited for."""

from __future__ import annotations

import email.utils
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from versatune.schemas.errors import ConfigError, RunError
from versatune.transforms.engines import endpoint_server as looking
from versatune.transforms.engines import endpoint_trouble
from versatune.transforms.engines.endpoint_engine import EndpointEngine, EndpointEnginePlan
from versatune.transforms.engines.endpoint_trouble import retry_after
from versatune.transforms.engines.engine import Failure, Generation, Sample
from versatune.transforms.probing.generate import sample_seed

pytest.importorskip("openai")
SAMPLES = [Sample(index, sample_seed(7, index)) for index in range(24)]
VLLM = {"id": "m", "object": "model", "owned_by": "vllm", "max_model_len": 64}
BEYOND = {"top_k", "min_p", "repetition_penalty"}


def models(*cards: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"object": "list", "data": list(cards)}


def completion(seed: int, **changes: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": f"text of {seed}", "finish_reason": "stop", "logprobs": None, **changes}
    usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    return {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def good(number: int, body: dict[str, Any]) -> tuple[int, Any]:
    return 200, completion(body["seed"])


def but_for_one(answer: Callable[[dict[str, Any]], tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return a reply that gives this answer for the sample with index 5, and a text for the others."""
    return lambda number, body: answer(body) if body["seed"] == SAMPLES[5].seed else good(number, body)


@pytest.fixture
def server(endpoint_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(endpoint_trouble, "_FIRST_WAIT_SECONDS", 0.005)
    monkeypatch.setattr(looking, "_LOOK_SECONDS", 0.05)
    endpoint_server.path = "/v1/completions"
    endpoint_server.looks = {"/v1/models": models(VLLM), "/version": (200, {"version": "9.9"})}
    endpoint_server.reply = good
    return endpoint_server


def _plan(server: Any, **changes: Any) -> EndpointEnginePlan:
    values = {"url": server.url, "model": "m", "prompt_token_id": 1, "temperature": 0.9, "top_p": 0.8}
    limits = {"repetition_penalty": 1.0, "max_new_tokens": 32, "concurrency": 4, "timeout_seconds": 20.0}
    return EndpointEnginePlan(**{**values, **limits, "retries": 2, "patience_seconds": 20.0, **changes})


def _outcomes(server: Any, samples: list[Sample] = SAMPLES, **changes: Any) -> dict[int, Any]:
    """Return outcomes by index; each comes exactly once, with the seed that was planned."""
    found = [one for outcomes in EndpointEngine(_plan(server, **changes)).generate(samples) for one in outcomes]
    assert sorted((one.index, one.seed) for one in found) == [(sample.index, sample.seed) for sample in samples]
    return {one.index: one for one in found}


def _failure(outcomes: dict[int, Any]) -> Failure:
    """Return what became of the sample with index 5; all others have their texts."""
    for sample in SAMPLES:
        if sample.index != 5:
            assert outcomes[sample.index] == Generation(sample.index, sample.seed, f"text of {sample.seed}", 3, "stop")
    assert isinstance(outcomes[5], Failure)
    return outcomes[5]


def test_each_sample_is_asked_for_once_with_its_own_seed_and_every_setting_said(server: Any) -> None:
    outcomes = _outcomes(server)
    assert all(one.text == f"text of {one.seed}" for one in outcomes.values())
    assert sorted(body.pop("seed") for body in server.bodies) == sorted(sample.seed for sample in SAMPLES)
    for body in server.bodies:
        assert body == {
            "model": "m", "prompt": [1], "max_tokens": 32, "temperature": 0.9, "top_p": 0.8, "n": 1, "stream": False,
            "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
        }  # fmt: skip


def test_texts_come_as_they_are_finished_and_nothing_more_is_asked_for_when_nobody_waits(server: Any) -> None:
    server.delay = 0.05
    outcomes = EndpointEngine(_plan(server)).generate([Sample(index, index) for index in range(400)])
    assert 1 <= len(next(outcomes)) < 400
    outcomes.close()
    asked = len(server.bodies)
    time.sleep(0.3)
    assert len(server.bodies) <= asked + 4 < 400


def test_a_server_that_is_not_vllm_gets_nothing_beyond_the_protocol(server: Any) -> None:
    server.looks = {"/v1/models": models({**VLLM, "owned_by": "llamacpp"})}
    _outcomes(server)
    assert not BEYOND & {name for body in server.bodies for name in body}
    with pytest.raises(ConfigError, match=r"probe.repetition_penalty: 1.1 cannot be told to"):
        EndpointEngine(_plan(server, repetition_penalty=1.1))
    server.looks = {"/v1/models": models(VLLM)}
    _outcomes(server, repetition_penalty=1.1)
    assert server.bodies[-1]["repetition_penalty"] == 1.1


@pytest.mark.parametrize(
    ("looks", "name"),
    [
        ({"/v1/models": models(VLLM), "/version": (200, {"version": "9.9"})}, "endpoint vllm 9.9"),
        ({"/v1/models": models(VLLM)}, "endpoint vllm"),
        ({"/v1/models": models({"id": "m", "owned_by": "openai"})}, "endpoint openai"),
        ({"/v1/models": models()}, "endpoint"),
        ({"/v1/models": (200, "no JSON")}, "endpoint"),
        ({"/v1/models": (200, "words", {"Content-Type": "text/html"})}, "endpoint"),
        ({}, "endpoint"),
    ],
)
def test_the_engine_is_called_what_the_server_says_it_is(server: Any, looks: dict[str, Any], name: str) -> None:
    server.looks = looks
    assert EndpointEngine(_plan(server)).about == {"engine": name}


def test_a_model_that_the_server_does_not_have_is_refused_with_the_names_that_it_has(server: Any) -> None:
    server.looks["/v1/models"] = models({"id": "b"}, {"id": "a"})
    with pytest.raises(ConfigError, match=r"probe.endpoint.model: http.*/v1 has no model 'm'; it has 'a', 'b'$"):
        EndpointEngine(_plan(server))
    server.looks["/v1/models"] = models(*({"id": f"n{at:02d}"} for at in range(13)))
    with pytest.raises(ConfigError, match=r"'n00', .*'n09' and 3 more$"):
        EndpointEngine(_plan(server))


def test_a_context_that_is_too_short_is_refused_before_texts_are_cut_off(server: Any) -> None:
    EndpointEngine(_plan(server, max_new_tokens=63))
    with pytest.raises(ConfigError, match=r"probe.max_new_tokens: 64 and the first token .* 64 tokens .* at most 63"):
        EndpointEngine(_plan(server, max_new_tokens=64))


def test_texts_that_the_server_cuts_off_earlier_than_asked_end_the_probe(server: Any) -> None:
    server.reply = lambda number, body: (200, completion(body["seed"], finish_reason="length"))
    with pytest.raises(RunError, match=r"ends texts after 3 tokens, where probe.max_new_tokens is 32"):
        _outcomes(server)
    assert all(one.finish_reason == "length" for one in _outcomes(server, max_new_tokens=3).values())


def test_a_server_that_has_no_room_is_asked_again_when_it_says(server: Any) -> None:
    server.reply = lambda number, body: (429, {}, {"Retry-After": "0.3"}) if number == 1 else good(number, body)
    started = time.monotonic()
    outcomes = _outcomes(server, SAMPLES[:1])
    assert outcomes[0].text == f"text of {SAMPLES[0].seed}"
    assert time.monotonic() - started >= 0.3
    assert server.bodies[0] == server.bodies[1]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_fails_for_a_moment_is_sent_again_as_it_was(server: Any, status: int) -> None:
    server.reply = lambda number, body: (status, {}) if number % 3 == 1 else good(number, body)
    outcomes = _outcomes(server, concurrency=1)
    assert all(isinstance(one, Generation) for one in outcomes.values())
    assert len(server.bodies) == 36


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "server_error"), (503, "server_error"), (429, "too_many_requests")]
)
def test_what_fails_every_time_is_given_up_and_the_others_go_on(server: Any, status: int, reason: str) -> None:
    server.reply = but_for_one(lambda body: (status, {"error": {"message": "it broke"}}))
    assert _failure(_outcomes(server)) == Failure(5, SAMPLES[5].seed, reason, f"{status}: it broke")
    assert len(server.bodies) == len(SAMPLES) + 2


@pytest.mark.parametrize("status", [400, 402, 413, 422])
def test_what_is_refused_is_not_sent_again(server: Any, status: int) -> None:
    server.reply = but_for_one(lambda body: (status, {"error": {"message": "no\nsuch " + "thing " * 90}}))
    failure = _failure(_outcomes(server))
    assert failure.reason == "request_refused"
    assert failure.detail.startswith(f"{status}: no such thing thing")
    assert len(failure.detail) == len("400: ") + 200
    assert len(server.bodies) == len(SAMPLES)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, r"401: it refuses the key in OPENAI_API_KEY"),
        (403, r"403: it refuses the key in OPENAI_API_KEY"),
        (404, r"404: there is no model m, or no completions API, here; check probe.endpoint.model and probe.endpoint"),
    ],
)
def test_what_no_request_can_get_past_ends_the_probe_at_once(
    server: Any, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    server.reply = lambda number, body: (status, {"error": {"message": "Incorrect API key: sk-very-secret"}})
    engine = EndpointEngine(_plan(server))
    with pytest.raises(RunError, match=said) as caught:
        list(engine.generate(SAMPLES))
    assert server.keys[0] == "Bearer sk-very-secret"
    assert "sk-very" not in str(caught.value) + str(engine.about)
    assert caught.value.__cause__ is None
    assert len(server.bodies) <= 8
    assert b"sk-very" not in pickle.dumps(_plan(server))
    assert pickle.loads(pickle.dumps(_plan(server))) == _plan(server)


def test_the_key_is_in_no_detail(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    server.reply = but_for_one(lambda body: (400, {"error": {"message": "bad: sk-very-secret"}}))
    assert _failure(_outcomes(server)).detail == "400: bad: ***"


def test_a_key_that_is_refused_at_the_start_is_said_there(server: Any) -> None:
    server.looks["/v1/models"] = (401, {})
    with pytest.raises(RunError, match=r"401: it refuses without a key: there is no environment variable OPENAI_API_"):
        EndpointEngine(_plan(server))


def test_a_sample_that_is_not_answered_in_time_is_given_up(server: Any) -> None:
    def late(body: dict[str, Any]) -> tuple[Any, ...]:
        time.sleep(2.5)
        return 200, completion(body["seed"])

    server.reply = but_for_one(late)
    failure = _failure(_outcomes(server, timeout_seconds=1.0, retries=1))
    assert failure.reason == "timed_out"
    assert failure.detail == "no answer within 1 seconds (probe.endpoint.timeout_seconds)"
    assert len(server.bodies) == len(SAMPLES) + 1


@pytest.mark.parametrize(
    "answer",
    [
        (200, "{ half of a JSON"),
        (200, "<html>", {"Content-Type": "text/html"}),
        (200, {}),
        (200, {"choices": [], "usage": {"completion_tokens": 1}}),
        (200, {**completion(1), "usage": None}),
        (200, completion(1, finish_reason="abort")),  # vLLM's for a text that it did not end
    ],
)
def test_an_answer_that_cannot_be_read_is_none_and_asked_for_again(server: Any, answer: tuple[Any, ...]) -> None:
    server.reply = but_for_one(lambda body: answer)
    assert _failure(_outcomes(server)).reason == "unreadable_answer"
    assert len(server.bodies) == len(SAMPLES) + 2


def test_an_answer_that_broke_off_is_asked_for_again_and_never_kept_half(server: Any) -> None:
    longer = {"Content-Length": "5000"}
    server.reply = lambda number, body: (*good(number, body), longer) if number % 3 == 1 else good(number, body)
    assert all(one.text == f"text of {one.seed}" for one in _outcomes(server, concurrency=1).values())
    assert len(server.bodies) == 36
    server.reply = but_for_one(lambda body: (200, completion(body["seed"]), longer))
    failure = _failure(_outcomes(server))
    assert (failure.reason, failure.detail) == ("broken_off", "RemoteProtocolError")


def test_a_text_that_is_withheld_fails_alone_even_when_it_is_the_last_one_to_do(server: Any) -> None:
    server.reply = but_for_one(lambda body: (200, completion(body["seed"], finish_reason="content_filter")))
    assert _failure(_outcomes(server)).reason == "withheld_by_server"
    (outcome,) = _outcomes(server, SAMPLES[5:6]).values()
    assert outcome.reason == "withheld_by_server"


def test_where_nothing_works_the_probe_ends_and_no_sample_counts_as_failed(server: Any) -> None:
    server.reply = lambda number, body: (500, {"error": {"message": "out of memory"}})
    many = [Sample(index, index) for index in range(400)]
    outcomes = EndpointEngine(_plan(server)).generate(many)
    with pytest.raises(RunError, match=r"1\d requests in a row failed, .* server_error \(500: out of memory\)\. What"):
        next(outcomes)
    assert len(server.bodies) < 600
    with pytest.raises(RunError, match=r"3 requests in a row failed"):
        _outcomes(server, SAMPLES[:3])


def test_a_few_failures_after_texts_came_do_not_end_the_probe(server: Any) -> None:
    engine = EndpointEngine(_plan(server))
    list(engine.generate(SAMPLES))
    server.reply = lambda number, body: (400, {})
    assert [type(one) for outcomes in engine.generate(SAMPLES[:3]) for one in outcomes] == [Failure] * 3
    with pytest.raises(RunError, match=r"requests in a row failed"):
        list(engine.generate(SAMPLES))


def test_a_server_that_dies_and_comes_back_is_waited_for_and_nothing_is_lost_or_counted(server: Any) -> None:
    back_after = 0.5

    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if number == 8:
            server.stop()
            threading.Timer(back_after, server.start).start()
        return good(number, body)

    server.reply = reply
    started = time.monotonic()
    outcomes = _outcomes(server, retries=0)
    assert time.monotonic() - started > back_after
    assert all(one.text == f"text of {one.seed}" for one in outcomes.values())
    assert len(SAMPLES) < len(server.bodies) <= len(SAMPLES) + 4


def test_a_load_balancer_without_its_server_is_waited_for_as_well(server: Any) -> None:
    away = threading.Event()

    def come_back() -> None:
        away.clear()
        server.looks["/v1/models"] = models(VLLM)

    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if number == 8:
            server.looks["/v1/models"] = (502, "gone")
            away.set()
            threading.Timer(0.3, come_back).start()
        return (502, "gone") if away.is_set() else good(number, body)

    server.reply = reply
    assert all(isinstance(one, Generation) for one in _outcomes(server, retries=0).values())
    assert len(SAMPLES) < len(server.bodies) <= len(SAMPLES) + 4


def test_a_server_that_stays_away_ends_the_probe_with_what_came_before(server: Any) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if number == 8:
            server.stop()
        return good(number, body)

    server.reply = reply
    kept: list[Any] = []
    with pytest.raises(
        RunError, match=r"not be reached for 0.3 seconds .*patience_seconds\)\. What is .* run it again"
    ):
        for outcomes in EndpointEngine(_plan(server, patience_seconds=0.3)).generate(SAMPLES):
            kept += outcomes
    assert len(kept) >= 4
    assert all(isinstance(one, Generation) for one in kept)
    server.start()


def test_a_server_that_is_not_there_or_out_of_order_at_the_start_is_not_waited_for(server: Any) -> None:
    server.looks["/v1/models"] = (503, {})
    with pytest.raises(RunError, match="503: it is out of order"):
        EndpointEngine(_plan(server))
    started = time.monotonic()
    with pytest.raises(RunError, match=r"http://127.0.0.1:9/v1: it cannot be reached; check the address"):
        EndpointEngine(_plan(server, url="http://127.0.0.1:9/v1"))
    assert time.monotonic() - started < 5.0


def test_a_server_may_say_when_to_ask_again_in_seconds_or_as_a_date() -> None:
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after": email.utils.formatdate(time.time() + 30, usegmt=True)}) == pytest.approx(
        30, abs=2
    )
    assert [retry_after({"retry-after": given}) for given in ("-1", "nan", "soon", "")] == [0.0] * 4
    assert retry_after({}) == 0.0
    assert retry_after({"retry-after": "1e9"}) == 300.0
