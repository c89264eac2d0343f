"""A run's weights from segment to segment: start, then one update after every evaluated segment.

Nothing here keeps state of its own: a State goes in and a new one comes out, and its dictionary is all that a
checkpoint has to hold.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from versatune.mixing.arrays import BoolArray, FloatArray, Floats
from versatune.mixing.mixers import Condition, Domains, Losses, Mixer, Signals
from versatune.mixing.potential import forgetting_degree, learnable_potential, uninformative_reference
from versatune.mixing.weights import exclude_inactive, explicit, floor, step_limit
from versatune.schemas.errors import ConfigError, DataError, RunError


@dataclass(frozen=True, kw_only=True, slots=True)
class Guards:
    """Bounds on any mixer's weights. All are off by default, so that published rules stay exact."""

    step_limit: float | None = None
    """Largest factor rho by which a weight may change in one update."""
    floor: float = 0.0
    """Smallest share of an active domain."""
    phi_min_z: float = 0.0
    """A loss rise counts as forgetting only where its z exceeds this; needs loss_change_z in every observation."""

    def __post_init__(self) -> None:
        if self.step_limit is not None and not 1.0 <= self.step_limit < math.inf:
            raise ConfigError(f"step_limit is {self.step_limit}; expected a number of at least 1, or nothing")
        if not 0.0 <= self.floor < 1.0:
            raise ConfigError(f"floor is {self.floor}; expected a share from 0 to below 1")
        if not 0.0 <= self.phi_min_z < math.inf:
            raise ConfigError(f"phi_min_z is {self.phi_min_z}; expected zero or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What was measured at a checkpoint. Checkpoint 0 is the base model, checkpoint t the model after segment t."""

    checkpoint: int
    eval_loss: Losses | None = None
    loss_change_z: tuple[float | None, ...] | None = None
    """z of the paired change of each domain's loss since the last checkpoint, over the same held-out rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Everything the next update needs. ``weights`` composes the next segment."""

    domains: Domains
    carried: tuple[float, ...]
    """The mixer's own weights, before the floor: what the next update starts from, so that floors do not add up."""
    weights: tuple[float, ...]
    """The mixture: carried, with the floor applied."""
    checkpoint: int = -1
    """Checkpoint of the last update; -1 before the first."""
    eval_loss: Losses | None = None
    """Held-out losses at that checkpoint; the base model's before the first update."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One update with all the numbers from which it can be recomputed. None: not measured, or not part of the rule."""

    mixer: str
    checkpoint: int
    eval_loss: Losses | None
    prev_eval_loss: Losses | None
    reference_loss: Losses | None
    gamma: tuple[float, ...] | None
    phi: tuple[float, ...] | None
    condition: Condition | None
    weights_before: tuple[float, ...]
    """The mixture of the segment that led to this checkpoint."""
    weights_unguarded: tuple[float, ...]
    """What the rule gives, before the guards."""
    weights: tuple[float, ...]
    """The mixture of the next segment, after the guards."""
    uninformative_reference: bool
    """At the first checkpoint the potentials were all alike, so this rule cannot move the weights: worth a warning."""

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON stores without loss."""
        return asdict(self)


def start(
    mixer: Mixer,
    domains: Domains,
    guards: Guards,
    *,
    initial: Floats | None = None,
    base_loss: Losses | None = None,
    observes: Collection[str] = frozenset({"eval_loss"}),
) -> State:
    """State before the first segment; ``State.weights`` composes it. Refuses a run that lacks what the mixer requires.

    Args:
        initial: starting weights (k,) of any policy, without guards; by default the prior P.
        base_loss: held-out losses of the base model, which expansion needs at the first checkpoint.
        observes: fields of Observation that every checkpoint will fill in.
    """
    provided = set(observes)
    if domains.reference_loss is not None:
        provided.add("reference_loss")
    if base_loss is not None:
        _losses(mixer, domains, base_loss, "base model's held-out loss")
        provided.add("prev_eval_loss")
    missing = sorted(_required(mixer, guards) - provided)
    if missing:
        raise ConfigError(
            f"mixer '{mixer.name}' needs {', '.join(missing)}; {_REMEDY[missing[0]]}, or use mixer 'constant'"
        )
    mixer.check(domains)
    active = np.array(domains.active)
    weights = explicit(domains.prior if initial is None else initial)
    if weights.shape != active.shape:
        raise ConfigError(f"{len(weights)} starting weights for {len(active)} domains; expected one for each")
    carried = exclude_inactive(weights, active)
    return State(
        domains=domains,
        carried=_floats(carried),
        weights=_floats(_floored(carried, active, guards)),
        eval_loss=base_loss,
    )


def advance(mixer: Mixer, state: State, observation: Observation, guards: Guards) -> tuple[State, Decision]:
    """One update: the mixer's rule, then the guards in their fixed order (inactive domains, step limit, floor).

    The step limit compares with the last carried weights and the mixer goes on from its result. The floor shapes only
    the mixture: were it fed back, every update would pull the weights further towards uniform.
    """
    domains = state.domains
    active = np.array(domains.active)
    carried = np.array(state.carried)
    if observation.checkpoint <= state.checkpoint:
        raise RunError(
            f"checkpoint {observation.checkpoint} came after {state.checkpoint}; each checkpoint updates once"
        )
    signals = _signals(mixer, state, observation, guards)
    proposal = mixer.update(domains, carried, signals)
    new = exclude_inactive(proposal.weights, active)
    if guards.step_limit is not None:
        new = step_limit(new, carried, guards.step_limit)
    mixture = _floored(new, active, guards)
    after = State(
        domains=domains,
        carried=_floats(new),
        weights=_floats(mixture),
        checkpoint=observation.checkpoint,
        eval_loss=observation.eval_loss,
    )
    decision = Decision(
        mixer=mixer.name,
        checkpoint=observation.checkpoint,
        eval_loss=observation.eval_loss,
        prev_eval_loss=state.eval_loss,
        reference_loss=domains.reference_loss,
        gamma=None if signals.gamma is None else _floats(signals.gamma),
        phi=None if signals.phi is None else _floats(signals.phi),
        condition=proposal.condition,
        weights_before=state.weights,
        weights_unguarded=_floats(proposal.weights),
        weights=after.weights,
        uninformative_reference=observation.checkpoint <= 1
        and "reference_loss" in mixer.requires
        and signals.gamma is not None
        and uninformative_reference(signals.gamma, active),
    )
    return after, decision


def state_to_dict(state: State) -> dict[str, Any]:
    """A dictionary that JSON stores without loss: floats survive bit for bit."""
    return asdict(state)


def state_from_dict(data: Mapping[str, Any]) -> State:
    """The state that ``state_to_dict`` wrote, also after a trip through JSON."""
    try:
        values = {f.name: _tuple(data[f.name]) for f in fields(State) if f.name != "domains"}
        domains = {f.name: _tuple(data["domains"][f.name]) for f in fields(Domains)}
        return State(domains=Domains(**domains), **values)
    except (KeyError, TypeError) as e:
        raise DataError(f"the stored mixer state cannot be read ({e!r}); it was written by another version") from e


_REMEDY = {
    "eval_loss": "give every active domain held-out rows",
    "prev_eval_loss": "evaluate the base model before the first segment",
    "reference_loss": "measure or give a reference loss for every active domain",
    "loss_change_z": "measure paired loss changes or set phi_min_z to 0",
}


def _required(mixer: Mixer, guards: Guards) -> frozenset[str]:
    uses_phi = "prev_eval_loss" in mixer.requires
    return mixer.requires | {"loss_change_z"} if uses_phi and guards.phi_min_z > 0.0 else mixer.requires


def _signals(mixer: Mixer, state: State, observation: Observation, guards: Guards) -> Signals:
    """Signals from whatever was measured; they are recorded even where the rule ignores them."""
    domains = state.domains
    for name in ("eval_loss", "loss_change_z"):
        if name in _required(mixer, guards) and getattr(observation, name) is None:
            raise RunError(
                f"checkpoint {observation.checkpoint} has no {name}, which mixer '{mixer.name}' needs; {_REMEDY[name]}"
            )
    if observation.eval_loss is None:
        return Signals(None, None)
    loss = _losses(mixer, domains, observation.eval_loss, f"held-out loss at checkpoint {observation.checkpoint}")
    gamma = phi = None
    if domains.reference_loss is not None:
        gamma = learnable_potential(loss, _array(domains.reference_loss))
    if state.eval_loss is not None:
        previous = _losses(mixer, domains, state.eval_loss, "previous held-out loss")
        z = observation.loss_change_z
        min_z = guards.phi_min_z if z is not None else 0.0
        phi = forgetting_degree(loss, previous, change_z=None if z is None else _array(z), min_z=min_z)
    return Signals(gamma, phi)


def _losses(mixer: Mixer, domains: Domains, values: Losses, what: str) -> FloatArray:
    """(k,) with NaN for inactive domains, which makes their signals zero.

    An active domain must have a finite loss if the mixer reads losses at all.
    """
    if len(values) != len(domains.names):
        raise RunError(f"{what}: {len(values)} values for {len(domains.names)} domains; expected one for each")
    array = _array(values)
    needed = "eval_loss" in mixer.requires
    for name, active, value in zip(domains.names, domains.active, array.tolist(), strict=True):
        if needed and active and not 0.0 <= value < math.inf:
            raise RunError(f"the {what} of domain '{name}' is {value}; expected a finite number that is zero or more")
    return np.where(domains.active, array, np.nan)


def _floored(weights: FloatArray, active: BoolArray, guards: Guards) -> FloatArray:
    return floor(weights, guards.floor, active) if guards.floor else weights


def _array(values: Collection[float | None]) -> FloatArray:
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def _floats(array: FloatArray) -> tuple[float, ...]:
    return tuple(array.tolist())


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
