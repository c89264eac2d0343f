"""What the users of an OpenAI-compatible endpoint share: the check of its address, the client, the words for what goes wrong."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from versatune.schemas.errors import ConfigError, RunError

if TYPE_CHECKING:
    import openai

KEY_VARIABLE = "OPENAI_API_KEY"
UNREACHABLE = "it cannot be reached; check the address, and that the server runs"
_CONNECT_SECONDS = 10.0
_SHOWN_CHARS = 200


def check_endpoint(url: str, setting: str) -> None:
    """Refuse an address that cannot be one, and one that holds a secret, because it is written into the record.

    Args:
        url: the address.
        setting: what the user calls it, for the message.

    Raises:
        ConfigError: no http(s) address, or one with a user, a password or a query.
        RunError: the package for it is not installed.
    """
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{setting}: expected an address such as https://api.openai.com/v1 or http://localhost:8000/v1"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"{setting}: the address of {parts.hostname} holds a user, a password or a query; it is written into the record, so"
            f" give a plain one, and the key in the environment variable {KEY_VARIABLE}"
        )
    if importlib.util.find_spec("openai") is None:
        raise RunError(
            f"{setting} needs the package openai; install versatune[cpu] or versatune[gpu], or openai itself"
        )


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at only when it is asked for
    except ValueError:
        return None
    return parts


def make_client(url: str, *, timeout_seconds: float, retries: int) -> openai.OpenAI:
    """Return a client whose connections are shared between threads and kept open; it holds the key of this process's environment.

    Args:
        url: the address.
        timeout_seconds: longest wait for an answer; for a connection it is ten seconds at most.
        retries: times that the client itself repeats what may succeed later.
    """
    import openai

    return openai.OpenAI(
        base_url=url,
        api_key=_key() or "none",  # a server of one's own asks for none, the client for any
        max_retries=retries,
        timeout=openai.Timeout(timeout_seconds, connect=min(timeout_seconds, _CONNECT_SECONDS), pool=None),
    )


def refusal(error: Exception, *, model: str, api: str, settings: str) -> str | None:
    """Say what to do when a server refuses every request: the key, or the model and the API. None if the error is another.

    Args:
        error: what the client raised.
        model: the name that was asked for.
        api: the API that was asked, for the message.
        settings: what the user calls model and address, for the message.
    """
    import openai

    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        given = "the key in" if _key() else "without a key: there is no environment variable"
        return f"{error.status_code}: it refuses {given} {KEY_VARIABLE}; set the key that belongs to this endpoint and may use {model}"
    if isinstance(error, openai.NotFoundError):
        return f"404: there is no model {model}, or no {api} API, here; check {settings}, which often ends in /v1"
    return None


def quoted(said: object) -> str:
    """Return what a server said on one line of at most 200 characters, without the key."""
    words = " ".join(str(said).split())
    return words.replace(_key() or "\0", "***")[:_SHOWN_CHARS]


def _key() -> str | None:
    return os.environ.get(KEY_VARIABLE) or None
