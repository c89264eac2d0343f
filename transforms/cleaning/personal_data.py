"""What happens to personal data and secrets that the detectors find: mask, drop or tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from versatune.schemas.config import PiiConfig
from versatune.transforms.cleaning.detectors import credit_card, email, iban, ip, secret
from versatune.transforms.cleaning.detectors.phone import phone_finder
from versatune.transforms.cleaning.texts import replaced
from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import Example, RowError, strings_in

Span = tuple[int, int]
Find = Callable[[str], Iterable[Span]]
Step = Callable[[Example, Counter[str]], Example]

_MOST_ROUNDS = 8  # a label may part what hid another hit, a few times over


def personal_data_steps(pii: PiiConfig) -> list[Step]:
    """Return the steps for the kinds that are not off: those that drop, then one that masks, then those that tag."""
    kinds: Mapping[str, Find] = {  # the more specific ones first: a card number is no telephone number
        "secret": secret.find,
        "email": email.find,
        "iban": iban.find,
        "credit_card": credit_card.find,
        "ip": ip.find,
        "phone": phone_finder(pii.phone_regions),
    }
    by_action: dict[str, list[tuple[str, Find]]] = {}
    for kind, find in kinds.items():
        by_action.setdefault(getattr(pii, kind), []).append((kind, find))
    steps: list[Step] = [partial(_drop, kind, find) for kind, find in by_action.get("drop", ())]
    if "mask" in by_action:
        steps.append(partial(_mask, by_action["mask"]))
    return steps + [partial(_tag, kind, find) for kind, find in by_action.get("tag", ())]


def _mask(kinds: Sequence[tuple[str, Find]], example: Example, counts: Counter[str]) -> Example:
    """Put a label such as ``[EMAIL]`` in place of each hit."""
    hits: Counter[str] = Counter()

    def masked(text: str) -> str:
        for _ in range(_MOST_ROUNDS):
            before = text
            for kind, find in kinds:
                spans = list(find(text))
                if spans:
                    hits[kind] += len(spans)
                    text = replaced(text, spans, f"[{kind.upper()}]")
            if text == before:
                break
        return text

    messages = [
        (role, _in_json(content, masked) if role == "tool_call" else masked(content))
        for role, content in example.messages
    ]
    rejected = None if example.rejected is None else masked(example.rejected)
    if not hits:
        return example
    for kind, number in hits.items():
        counts[f"pii.{kind}.masked"] += number
        counts[f"pii.{kind}.rows"] += 1
    return example._replace(messages=messages, rejected=rejected)


def _drop(kind: str, find: Find, example: Example, _counts: Counter[str]) -> Example:
    """Reject the example if there is a hit.

    Raises:
        RowError: there is.
    """
    if _hits(find, example):
        raise RowError(f"pii_{kind}", f"build.pii.{kind} is drop")
    return example


def _tag(kind: str, find: Find, example: Example, counts: Counter[str]) -> Example:
    """Mark the example if there is a hit."""
    hits = _hits(find, example)
    if not hits:
        return example
    counts[f"pii.{kind}.tagged"] += hits
    counts[f"pii.{kind}.rows"] += 1
    return example._replace(tags=tuple(sorted({*example.tags, f"pii.{kind}"})))


def _hits(find: Find, example: Example) -> int:
    texts = [text for role, content in example.messages for text in _strings(role, content)]
    if example.rejected is not None:
        texts.append(example.rejected)
    return sum(len(list(find(text))) for text in texts)


def _strings(role: str, content: str) -> list[str]:
    if role != "tool_call":
        return [content]
    return [text for call in exact_json.loads(content) for text in strings_in(call | {"id": ""})]


def _in_json(content: str, change: Callable[[str], str]) -> str:
    """Change the strings of calls but their ids, which are nobody's data; the bytes stay as they are where no string changes."""
    value = exact_json.loads(content)
    changed = [call | _map_strings({key: call[key] for key in call if key != "id"}, change) for call in value]
    return content if changed == value else exact_json.dumps(changed).decode()


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    return value
