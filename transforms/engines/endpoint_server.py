"""The server behind a completions endpoint: what it says it is, and whether it is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from versatune.schemas.errors import ConfigError, RunError
from versatune.transforms.engines.endpoint import UNREACHABLE, quoted, refusal

if TYPE_CHECKING:
    import openai

SETTINGS = "probe.endpoint.model and probe.endpoint.url"
KEPT = "What is generated is kept: run it again"
_LOOK_SECONDS = 1.0
_LOOK_TIMEOUT_SECONDS = 10.0
_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Server:
    """What a server says it is."""

    name: str
    """Who it says owns the model, with the version of vLLM; empty if it says nothing."""
    is_vllm: bool
    context_tokens: int | None
    """Prompt and text together have at most so many, None where that is not said."""


def ask_server(client: openai.OpenAI, url: str, model: str) -> Server:
    """Ask a server what it is.

    Raises:
        ConfigError: it lists its models, and this one is not among them.
        RunError: it cannot be reached, or refuses.
    """
    card = _model_card(client, url, model)
    name, is_vllm = quoted(card.get("owned_by") or ""), card.get("owned_by") == "vllm"
    version = _vllm_version(client, url) if is_vllm else ""
    context = card.get("max_model_len")
    return Server(f"{name} {version}".strip(), is_vllm, context if isinstance(context, int) else None)


def _model_card(client: openai.OpenAI, url: str, model: str) -> Mapping[str, Any]:
    """Return what the server says of the model; nothing if it lists no models."""
    import openai

    try:
        listed = _look(client, "/models")
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise RunError(f"endpoint {url}: {refusal(error, model=model, api='models', settings=SETTINGS)}") from None
    except openai.APIConnectionError:
        raise RunError(f"endpoint {url}: {UNREACHABLE}") from None
    except openai.InternalServerError as error:
        # Taken for a server without a list, it would not be told what only vLLM understands.
        raise RunError(
            f"endpoint {url}: {error.status_code}: it is out of order; run it again when it is well"
        ) from None
    except (openai.OpenAIError, ValueError):
        return {}
    data = listed.get("data") if isinstance(listed, dict) else None
    cards = {card["id"]: card for card in data or [] if isinstance(card, dict) and isinstance(card.get("id"), str)}
    if cards and model not in cards:
        more = f" and {len(cards) - _NAMES_SHOWN} more" if len(cards) > _NAMES_SHOWN else ""
        names = ", ".join(f"'{quoted(name)}'" for name in sorted(cards)[:_NAMES_SHOWN])
        raise ConfigError(f"probe.endpoint.model: {url} has no model '{model}'; it has {names}{more}")
    return cards.get(model, {})


def _vllm_version(client: openai.OpenAI, url: str) -> str:
    """Return the version that vLLM tells beside its API; empty if it is not let through."""
    import openai

    at = urlsplit(url)
    beside = at._replace(path=at.path.rstrip("/").removesuffix("/v1") + "/version").geturl()
    try:
        told = _look(client, beside)
    except (openai.OpenAIError, ValueError):
        return ""
    return quoted(told.get("version", "")) if isinstance(told, dict) else ""


def _look(client: openai.OpenAI, path: str) -> object:
    return client.get(path, cast_to=object, options={"timeout": _LOOK_TIMEOUT_SECONDS})


class Presence:
    """Whether the server is there: when it seems not to be, one thread looks, and all wait for what it sees."""

    def __init__(self, client: openai.OpenAI, url: str, patience_seconds: float) -> None:
        self._client = client
        self._url = url
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._there_at = self._back_at = float("-inf")

    def was_away(self, *, since: float, stop: threading.Event) -> bool:
        """Return at once and False if the server answers; else wait until it does and return True.

        Args:
            since: when the request that met nobody was sent, in monotonic seconds.
            stop: ends the wait.

        Raises:
            RunError: it stays away for longer than ``patience_seconds``.
        """
        asked = time.monotonic()
        with self._lock:
            if self._back_at > since or self._there_at > asked:  # another thread has looked for us
                return self._back_at > since
            begun, away = time.monotonic(), False
            while not stop.is_set() and not self._answers():
                away = True
                if time.monotonic() - begun > self._patience_seconds:
                    stop.set()
                    raise RunError(
                        f"endpoint {self._url}: it could not be reached for {self._patience_seconds:g} seconds"
                        f" (probe.endpoint.patience_seconds). {KEPT} when the server is back"
                    )
                stop.wait(_LOOK_SECONDS)
            if stop.is_set():
                return True  # nobody waits any more; whether it is back is not known
            self._there_at = time.monotonic()
            if away:
                self._back_at = self._there_at
            return away

    def _answers(self) -> bool:
        """Tell whether the server says anything but that it is out of order; a list of models need not exist."""
        import openai

        try:
            _look(self._client, "/models")
        except (openai.APIConnectionError, openai.InternalServerError):
            return False
        except (openai.OpenAIError, ValueError):
            return True
        return True
