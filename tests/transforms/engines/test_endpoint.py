"""What is refused of an address, what the client is told, and what is quoted of a server."""

from __future__ import annotations

import pytest

from versatune.schemas.errors import ConfigError, RunError
from versatune.transforms.engines import endpoint
from versatune.transforms.engines.endpoint import check_endpoint, make_client, quoted


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/v1", "probe.endpoint.url: expected an address such as"),
        ("localhost:8000", "expected an address such as"),
        ("http://host:word/v1", "expected an address such as"),
        ("http://[::1/v1", "expected an address such as"),
        ("https://me:word@host/v1", "probe.endpoint.url: .*holds a user, a password or a query"),
        ("https://host/v1?key=word", "holds a user, a password or a query"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_repeating_it(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_endpoint(url, "probe.endpoint.url")
    assert "word" not in str(caught.value).replace("password", "")


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"--endpoint needs the package openai; install versatune\[cpu\]"):
        check_endpoint("http://localhost/v1", "--endpoint")


def test_a_connection_is_waited_for_no_longer_than_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for seconds, connect in ((120.0, 10.0), (2.0, 2.0)):
        timeout = make_client("http://localhost/v1", timeout_seconds=seconds, retries=0).timeout
        assert (timeout.read, timeout.connect) == (seconds, connect)


def test_what_a_server_says_is_cut_put_on_one_line_and_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert quoted("bad\n key  sk-very-secret!") == "bad key ***!"
    assert quoted("x" * 195 + "sk-very-secret") == "x" * 195 + "***"
    assert len(quoted("y" * 300)) == 200
    monkeypatch.delenv("OPENAI_API_KEY")
    assert quoted("plain") == "plain"
