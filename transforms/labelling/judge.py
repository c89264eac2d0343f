"""How a language model is asked for a domain: single-token codes, three orders of them, one probability per domain.

arXiv 2411.11266 has a strong model name the domain of every generation. Free text has to be parsed, and what cannot be parsed is lost; so
the answer here is one letter, and what counts is the softmax over the letters' logits, whatever the model would have written.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from versatune.schemas.errors import ConfigError
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy

Floats = NDArray[np.float64]

_ORDERS = 3
DESCRIPTIONS = {
    "law": "statutes, court cases, contracts, terms of service, rights, legal questions",
    "medicine": "diseases, symptoms, treatments, drugs, anatomy, biomedical research",
    "finance": "banking, accounting, companies' figures, markets, insurance, taxes, economics",
    "science": "physics, chemistry, biology, earth and space, mathematics, school science",
    "code": "programs, programming, databases, command lines, computer science",
    "general": "everything else: small talk, role-play, writing, history, culture, sport, trivia, daily life",
}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a judge chooses from.

    Attributes:
        domains: k of them, in taxonomy order.
        meanings: what the judge is told of each; empty where the name must do.
    """

    domains: tuple[str, ...]
    meanings: tuple[str, ...]

    @property
    def codes(self) -> str:
        """The letters, A first; in the order ``rotation`` the i-th one stands for domain ``(i + rotation) % k``."""
        return ascii_uppercase[: len(self.domains)]

    @property
    def rotations(self) -> tuple[int, ...]:
        """Three fixed orders: the domains rotated by 0, a third and two thirds of the list.

        A model prefers some letters and some places whatever the text. Every domain has another letter and place in each order (two
        domains have only two orders), and these are spread over the list, so that the mean over the orders cancels much of it.
        """
        k = len(self.domains)
        orders = min(_ORDERS, k)
        return tuple(order * k // orders for order in range(orders))

    def question(self, rotation: int) -> tuple[str, str]:
        """Return what stands before the text and what stands after it."""
        order = [(at + rotation) % len(self.domains) for at in range(len(self.domains))]
        lines = [f"{code}: {self._said(at)}" for code, at in zip(self.codes, order, strict=True)]
        before = "Which subject does the text below belong to?\n\n" + "\n".join(lines) + "\n\nText:\n\n"
        return before, "\n\nAnswer with the letter of the subject that fits best, and with nothing else."

    def record(self) -> dict[str, Any]:
        """Return everything that decides a question, as JSON data."""
        return {"codes": self.codes, "questions": [list(self.question(rotation)) for rotation in self.rotations]}

    def _said(self, at: int) -> str:
        name, meaning = self.domains[at].replace("_", " "), self.meanings[at]
        return f"{name} ({meaning})" if meaning else name


def choices(taxonomy: Taxonomy, descriptions: dict[str, str]) -> Choices:
    """Return what a judge chooses from.

    Args:
        taxonomy: at most 26 domains.
        descriptions: by domain, in the user's words. Of a domain that is not in it the name is shown; the six default domains, where
            the taxonomy is those, have descriptions of their own.

    Raises:
        ConfigError: more domains than letters, or a description of an unknown domain.
    """
    if len(taxonomy) > len(ascii_uppercase):
        raise ConfigError(
            f"the taxonomy has {len(taxonomy)} domains; a judge answers with one letter, so expected at most {len(ascii_uppercase)}"
        )
    known = DESCRIPTIONS if set(taxonomy.domains) == set(DEFAULT_TAXONOMY.domains) else {}
    given = {taxonomy.domains[taxonomy.index(name)]: " ".join(text.split()) for name, text in descriptions.items()}
    return Choices(
        domains=taxonomy.domains,
        meanings=tuple(given.get(name, known.get(name, "")) for name in taxonomy.domains),
    )


def probabilities(logits: Floats, rotations: tuple[int, ...]) -> Floats:
    """Return what each order of the codes says: the softmax over the codes, columns in taxonomy order.

    Args:
        logits: (n, orders, k), of the codes A.. in each order; log-probabilities do, since a constant falls out.
        rotations: by which each order is rotated, see :attr:`Choices.rotations`.

    Returns:
        (n, orders, k); every row of k sums to one.
    """
    shifted = np.exp(logits - logits.max(axis=2, keepdims=True))
    each = shifted / shifted.sum(axis=2, keepdims=True)
    return np.stack([np.roll(each[:, at], rotation, axis=1) for at, rotation in enumerate(rotations)], axis=1)


def position_bias(each: Floats) -> float | None:
    """Return how much the order of the codes matters: 0 not at all, 1 entirely.

    The mean over texts of the largest gap, over domains, between the highest and the lowest probability that the orders give.

    Args:
        each: (n, orders, k), see :func:`probabilities`.
    """
    return float((each.max(axis=1) - each.min(axis=1)).max(axis=1).mean()) if len(each) else None


def same_choice(each: Floats) -> float | None:
    """Return the share of texts whose most probable domain is the same in every order."""
    tops = each.argmax(axis=2)
    return float((tops == tops[:, :1]).all(axis=1).mean()) if len(each) else None
