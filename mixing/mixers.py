"""The update rules of arXiv 2411.11266, phase 2, behind one small interface.

A rule is a pure function from weights and signals to weights; ``versatune.mixing.advance`` forms the signals, applies the guards
and hands on the state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from versatune.mixing.arrays import FloatArray, Floats
from versatune.mixing.weights import normalize
from versatune.schemas.config import MixerConfig
from versatune.schemas.errors import ConfigError, nearest

Losses = tuple[float | None, ...]
"""One loss per domain in nats per unit; None for a domain that has no rows to evaluate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Domains:
    """What is known about the k domains before training, one entry per domain in the order of the taxonomy."""

    names: tuple[str, ...]
    prior: tuple[float, ...]
    """P: the base model's own domain distribution."""
    active: tuple[bool, ...]
    """Whether the domain has usable rows; an inactive one has weight zero throughout."""
    reference_loss: Losses | None = None
    """r: the loss a fine-tune on this domain alone reaches, in the unit of the held-out losses."""

    def __post_init__(self) -> None:
        for name in ("prior", "active", "reference_loss"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.names):
                raise ConfigError(
                    f"{name} has {len(values)} entries for {len(self.names)} domains; expected one for each"
                )
        if not any(self.active):
            raise ConfigError("no domain is active; expected rows for at least one domain")
        for name, active, loss in zip(self.names, self.active, self.reference_loss or (), strict=False):
            if active and (loss is None or not 0.0 <= loss < math.inf):
                raise ConfigError(f"the reference loss of domain '{name}' is {loss}; expected a number of zero or more")

    def index(self, name: str) -> int:
        """Position of a domain; ConfigError with the nearest name where there is none."""
        if name not in self.names:
            raise ConfigError(f"unknown domain '{name}'{nearest(name, self.names)}")
        return self.names.index(name)


class Signals(NamedTuple):
    """What a mixer reads, each (k,) or absent: potentials and forgetting degrees are zero for inactive domains."""

    gamma: FloatArray | None
    phi: FloatArray | None


@dataclass(frozen=True, slots=True)
class Condition:
    """Both sides of the test for expansion: it happens if lhs < rhs."""

    lhs: float
    """Mean forgetting degree of the active domains that are not the target."""
    rhs: float
    """epsilon times the potential of the target."""
    expanded: bool


class Proposal(NamedTuple):
    """What a mixer answers: weights (k,) before the guards, and how its condition came out, if it has one."""

    weights: FloatArray
    condition: Condition | None = None


class Mixer(Protocol):
    """A pure update rule. ``requires`` names what it cannot work without, and is checked before training starts."""

    name: ClassVar[str]
    requires: ClassVar[frozenset[str]]

    def check(self, domains: Domains) -> None:
        """Refuse domains this rule cannot work with."""

    def update(self, domains: Domains, weights: FloatArray, signals: Signals) -> Proposal:
        """Weights of the next segment from the carried weights (k,), which are zero for inactive domains."""


def foster(weights: Floats, gamma: Floats, sigma: float) -> FloatArray:
    """Balanced growth: ``w'_j = w_j (1 + sigma gamma_j)``, normalised. weights, gamma: (k,)."""
    return normalize(np.asarray(weights, dtype=np.float64) * (1.0 + sigma * np.asarray(gamma, dtype=np.float64)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """Keeps the starting weights; started from P it is VersaTune's constant variant."""

    name: ClassVar[str] = "constant"
    requires: ClassVar[frozenset[str]] = frozenset()

    def check(self, domains: Domains) -> None:
        """Any domains will do."""

    def update(self, domains: Domains, weights: FloatArray, signals: Signals) -> Proposal:
        """The same weights, bit for bit."""
        return Proposal(weights)


@dataclass(frozen=True, kw_only=True, slots=True)
class VersatuneDynamic:
    """Multi-ability fostering: domains that can still learn more get more, and forgetting plays no part."""

    name: ClassVar[str] = "versatune_dynamic"
    requires: ClassVar[frozenset[str]] = frozenset({"eval_loss", "reference_loss"})

    sigma: float = 0.5
    """Strength; one update changes the ratio of two weights by a factor of at most 1 + sigma."""

    def __post_init__(self) -> None:
        _check_range("sigma", self.sigma, 0.0, math.inf)

    def check(self, domains: Domains) -> None:
        """Any domains will do."""

    def update(self, domains: Domains, weights: FloatArray, signals: Signals) -> Proposal:
        """See ``foster``."""
        assert signals.gamma is not None  # start() checked requires
        return Proposal(foster(weights, signals.gamma, self.sigma))


OTHERS = ("proportional", "tilted")
OTHERWISE = ("hold", "hold_tilt", "multi", "backoff")


@dataclass(frozen=True, kw_only=True, slots=True)
class VersatuneExpansion:
    """Domain expansion: the target grows while the others forget little compared with what the target can still learn.

    If ``mean_{j != e} phi_j < epsilon gamma_e`` (strictly, over active domains) the target's weight becomes
    ``min(w_e + delta, w_max)`` and the others share the rest. With no other domain of positive weight, w_e = 1.
    """

    name: ClassVar[str] = "versatune_expansion"
    requires: ClassVar[frozenset[str]] = frozenset({"eval_loss", "prev_eval_loss", "reference_loss"})

    target: str
    """Name of the domain to grow."""
    delta: float = 0.1
    """Share added to the target by one expansion."""
    epsilon: float = 0.05
    """Forgetting tolerated per unit of the target's potential."""
    w_max: float = 0.9
    """Largest share of the target."""
    sigma: float = 0.5
    """Strength of the tilt, where one is used."""
    others: str = "proportional"
    """How the others share the rest: ``proportional`` to their weights, or ``tilted`` by 1 + sigma gamma."""
    otherwise: str = "hold"
    """Without expansion: ``hold`` the weights; ``hold_tilt`` hold the target and tilt the others; ``multi`` foster all
    domains; ``backoff`` shrink the target by delta, down to its prior."""

    def __post_init__(self) -> None:
        _check_range("delta", self.delta, 0.0, 1.0)
        _check_range("epsilon", self.epsilon, 0.0, math.inf)
        _check_range("w_max", self.w_max, 0.0, 1.0)
        _check_range("sigma", self.sigma, 0.0, math.inf)
        for key, value, known in (("others", self.others, OTHERS), ("otherwise", self.otherwise, OTHERWISE)):
            if value not in known:
                raise ConfigError(f"mixer parameter {key} is '{value}'{nearest(value, known)}")

    def check(self, domains: Domains) -> None:
        """The target must be an active domain."""
        if not domains.active[domains.index(self.target)]:
            raise ConfigError(f"the target domain '{self.target}' has no rows; add rows or choose another target")

    def update(self, domains: Domains, weights: FloatArray, signals: Signals) -> Proposal:
        """One step of domain expansion."""
        gamma, phi = signals.gamma, signals.phi
        assert gamma is not None  # start() checked requires
        assert phi is not None
        target = domains.index(self.target)
        others = np.array(domains.active)
        others[target] = False
        if not weights[others].any():
            return Proposal((np.arange(len(weights)) == target).astype(np.float64))
        lhs, rhs = float(phi[others].mean()), self.epsilon * float(gamma[target])
        expanded = lhs < rhs
        if expanded:
            share, tilt = (min(float(weights[target]) + self.delta, self.w_max), self.others == "tilted")
            new = self._split(target, share, weights, gamma, tilt)
        else:
            new = self._fallback(domains, target, weights, gamma)
        return Proposal(new, Condition(lhs, rhs, expanded))

    def _fallback(self, domains: Domains, target: int, weights: FloatArray, gamma: FloatArray) -> FloatArray:
        if self.otherwise == "hold":
            return weights
        if self.otherwise == "multi":
            return foster(weights, gamma, self.sigma)
        if self.otherwise == "hold_tilt":
            return self._split(target, float(weights[target]), weights, gamma, tilt=True)
        prior = normalize(np.where(domains.active, domains.prior, 0.0))
        share = max(float(weights[target]) - self.delta, float(prior[target]))
        return self._split(target, share, weights, gamma, tilt=False)

    def _split(self, target: int, share: float, weights: FloatArray, gamma: FloatArray, tilt: bool) -> FloatArray:
        rest = weights * (1.0 + self.sigma * gamma) if tilt else weights.copy()
        rest[target] = 0.0
        new = (1.0 - share) * normalize(rest)
        new[target] = share
        return new


_MIXERS: dict[str, type[Constant | VersatuneDynamic | VersatuneExpansion]] = {
    m.name: m for m in (Constant, VersatuneDynamic, VersatuneExpansion)
}
MIXER_NAMES = tuple(_MIXERS)


def make_mixer(name: str, params: Mapping[str, Any] | None = None) -> Mixer:
    """The mixer of that name; unknown names and parameters are refused with the nearest known one."""
    if name not in _MIXERS:
        raise ConfigError(f"unknown mixer '{name}'{nearest(name, MIXER_NAMES)}")
    cls, given = _MIXERS[name], dict(params or {})
    known = [f.name for f in fields(cls)]
    for key in given:
        if key not in known:
            hint = nearest(key, known) if known else "; it takes none"
            raise ConfigError(f"mixer '{name}' has no parameter '{key}'{hint}")
    if cls is VersatuneExpansion and "target" not in given:
        raise ConfigError(f"mixer '{name}' needs a target; set its parameter 'target' to the domain that is to grow")
    return cls(**given)


def mixer_from_config(config: MixerConfig) -> Mixer:
    """The mixer a configuration names, with the parameters that are its own; an absent delta is the rule's default."""
    own = (f.name for f in fields(_MIXERS[config.name]))
    values = {name: getattr(config, name) for name in own}
    return make_mixer(config.name, {name: value for name, value in values.items() if value is not None})


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (isinstance(value, int | float) and low <= value <= high and value < math.inf):
        raise ConfigError(f"mixer parameter {name} is {value!r}; expected a finite number from {low:g} to {high:g}")
