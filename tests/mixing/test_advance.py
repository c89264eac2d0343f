from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.mixing.advance import Guards, Observation, State, advance, start, state_from_dict, state_to_dict
from versatune.mixing.arrays import FloatArray
from versatune.mixing.mixers import Condition, Domains, Mixer, Proposal, Signals, foster, make_mixer, mixer_from_config
from versatune.mixing.potential import forgetting_degree, learnable_potential, paired_loss_change
from versatune.mixing.weights import normalize
from versatune.schemas.config import MixerConfig
from versatune.schemas.errors import ConfigError, DataError, RunError

NAMES = ("law", "medicine", "finance", "science", "code", "general")
K = len(NAMES)
MIXERS: list[tuple[str, dict[str, Any]]] = [
    ("constant", {}),
    ("versatune_dynamic", {"sigma": 0.5}),
    *(
        ("versatune_expansion", {"target": "law", "others": others, "otherwise": otherwise})
        for others in ("proportional", "tilted")
        for otherwise in ("hold", "hold_tilt", "multi", "backoff")
    ),
]
loss_vectors = st.lists(st.floats(1e-6, 50.0), min_size=K, max_size=K).map(tuple)
# No subnormal numbers, nor what becomes one when it is divided by the sum: half of the smallest is nothing.
priors = (
    st.lists(st.just(0.0) | st.floats(1e-300, 1.0), min_size=K, max_size=K).filter(lambda w: w[0] > 0.01).map(normalize)
)
mixers_ = st.sampled_from([make_mixer(name, params) for name, params in MIXERS])
actives = st.lists(st.booleans(), min_size=K - 1, max_size=K - 1).map(lambda a: (True, *a))
guards_ = st.builds(
    Guards,
    step_limit=st.none() | st.floats(1.0, 4.0),
    floor=st.just(0.0) | st.floats(0.001, 0.1),
    phi_min_z=st.just(0.0),
)


def domains_with(prior: Any, active: tuple[bool, ...] = (True,) * K, reference: Any = (1.0,) * K) -> Domains:
    return Domains(names=NAMES, prior=tuple(np.asarray(prior).tolist()), active=active, reference_loss=reference)


def run(mixer: Mixer, domains: Domains, guards: Guards, losses: list[Any]) -> list[State]:
    """States from the start to the last checkpoint; losses[0] is the base model's."""
    states = [start(mixer, domains, guards, base_loss=losses[0])]
    for t, loss in enumerate(losses[1:], start=1):
        states.append(advance(mixer, states[-1], Observation(checkpoint=t, eval_loss=loss), guards)[0])
    return states


@given(
    mixer=mixers_,
    prior=priors,
    active=actives,
    reference=loss_vectors,
    guards=guards_,
    losses=st.lists(loss_vectors, min_size=4, max_size=4),
)
def test_weights_stay_on_the_simplex_and_inactive_domains_at_zero(
    mixer: Mixer, prior: Any, active: Any, reference: Any, guards: Guards, losses: Any
) -> None:
    for state in run(mixer, domains_with(prior, active, reference), guards, losses):
        for weights in (np.array(state.weights), np.array(state.carried)):
            assert np.isfinite(weights).all()
            assert (weights >= 0.0).all()
            assert abs(weights.sum() - 1.0) < 1e-12
            assert (weights[~np.array(active)] == 0.0).all()
        if guards.floor:
            assert (np.array(state.weights)[list(active)] >= guards.floor - 1e-15).all()


@given(mixer=mixers_, prior=priors, losses=st.lists(loss_vectors, min_size=4, max_size=4), guards=guards_)
def test_a_state_that_went_through_json_continues_identically(
    mixer: Mixer, prior: Any, losses: Any, guards: Guards
) -> None:
    states = run(mixer, domains_with(prior), guards, losses)
    for t in range(len(losses) - 1):
        stored = json.loads(json.dumps(state_to_dict(states[t])))
        assert state_from_dict(stored) == states[t]
        observation = Observation(checkpoint=t + 1, eval_loss=losses[t + 1])
        assert advance(mixer, state_from_dict(stored), observation, guards)[0] == states[t + 1]


@given(
    mixer=mixers_,
    prior=priors,
    losses=st.lists(loss_vectors, min_size=3, max_size=3),
    reference=loss_vectors,
    permutation=st.permutations(range(K)),
)
def test_reordering_the_domains_reorders_the_weights(
    mixer: Mixer, prior: Any, losses: Any, reference: Any, permutation: list[int]
) -> None:
    def reorder(values: Any) -> tuple[Any, ...]:
        return tuple(values[j] for j in permutation)

    domains = domains_with(prior, reference=reference)
    other = Domains(
        names=reorder(NAMES), prior=reorder(domains.prior), active=domains.active, reference_loss=reorder(reference)
    )
    mixed = run(mixer, domains, Guards(), losses)[-1].weights
    assert np.allclose(
        run(mixer, other, Guards(), [reorder(loss) for loss in losses])[-1].weights, reorder(mixed), atol=1e-12
    )


@given(loss=loss_vectors, previous=loss_vectors, reference=loss_vectors, scale=st.floats(0.01, 100.0))
def test_potential_and_forgetting_do_not_depend_on_the_unit(
    loss: Any, previous: Any, reference: Any, scale: float
) -> None:
    loss, previous, reference = np.array(loss), np.array(previous), np.array(reference)
    gamma = learnable_potential(loss, reference)
    assert ((gamma >= 0.0) & (gamma <= 1.0)).all()
    assert np.allclose(learnable_potential(loss * scale, reference * scale), gamma, atol=1e-12)
    phi = forgetting_degree(loss, previous)
    assert np.allclose(forgetting_degree(loss * scale, previous * scale), phi, rtol=1e-9, atol=1e-12)


@given(prior=priors, gamma=st.lists(st.floats(0.0, 1.0), min_size=K, max_size=K), sigma=st.floats(0.0, 3.0))
def test_fostering_changes_a_ratio_by_at_most_one_plus_sigma_and_keeps_zeros(
    prior: Any, gamma: Any, sigma: float
) -> None:
    new = foster(prior, gamma, sigma)
    assert (new[prior == 0.0] == 0.0).all()
    kept = prior > 0.0
    change = new[kept] / prior[kept]
    assert change.max() / change.min() <= (1.0 + sigma) * (1.0 + 1e-9)


@given(prior=priors, gamma=st.floats(0.0, 1.0))
def test_equal_potentials_leave_the_weights(prior: Any, gamma: float) -> None:
    assert np.allclose(foster(prior, [gamma] * K, 0.5), prior, atol=1e-15)


def test_fostering_approaches_the_exponential_update_for_small_steps() -> None:
    prior, gamma, sigma = normalize([1, 2, 3, 4, 5, 6]), np.linspace(0, 1, K), 1e-3
    assert np.allclose(foster(prior, gamma, sigma), normalize(prior * np.exp(sigma * gamma)), atol=sigma**2)


def test_constant_and_held_weights_are_the_same_bit_for_bit_under_a_floor() -> None:
    prior = normalize([1649, 3493, 2589, 2352, 6661, 21157])
    losses: list[Any] = [(2.0,) * K, (0.5,) * K, (0.4,) * K]  # below the reference: no potential, no expansion
    for name, params in (("constant", {}), ("versatune_expansion", {"target": "law"})):
        states = run(make_mixer(name, params), domains_with(prior), Guards(floor=0.01), losses)
        assert len({state.weights for state in states}) == 1
        assert states[0].weights != states[0].carried


def test_a_decision_holds_the_numbers_from_which_it_follows() -> None:
    mixer, guards = make_mixer("versatune_expansion", {"target": "law"}), Guards(floor=0.01, step_limit=2.0)
    domains = domains_with([1 / K] * K)
    state = start(mixer, domains, guards, base_loss=(2.0,) * K)
    after, decision = advance(mixer, state, Observation(checkpoint=1, eval_loss=(1.5, *(2.02,) * 5)), guards)
    assert decision.prev_eval_loss == (2.0,) * K
    assert decision.phi is not None
    assert decision.gamma == tuple(learnable_potential((1.5, *(2.02,) * 5), (1.0,) * K).tolist())
    assert decision.condition == Condition(float(np.mean(decision.phi[1:])), 0.05 * decision.gamma[0], True)
    assert decision.weights_before == state.weights
    assert decision.weights_unguarded[0] == pytest.approx(1 / K + 0.1)
    assert decision.weights == after.weights
    assert after.weights[0] == pytest.approx((1 - 6 * 0.01) * decision.weights_unguarded[0] + 0.01)
    assert json.loads(json.dumps(decision.to_dict()))["condition"]["expanded"] is True


def test_expansion_without_other_domains_trains_on_the_target_alone() -> None:
    mixer = make_mixer("versatune_expansion", {"target": "law"})
    domains = domains_with([0.5, 0.5, 0, 0, 0, 0], active=(True, False, False, False, False, False))
    loss = (2.0, None, None, None, None, None)
    state = start(mixer, domains, Guards(), base_loss=loss)
    after, decision = advance(mixer, state, Observation(checkpoint=1, eval_loss=loss), Guards())
    assert after.weights == (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert decision.condition is None


def test_guards_come_in_order_whatever_a_mixer_proposes() -> None:
    class Jump:
        name: ClassVar[str] = "jump"
        requires: ClassVar[frozenset[str]] = frozenset()

        def check(self, domains: Domains) -> None: ...

        def update(self, domains: Domains, weights: FloatArray, signals: Signals) -> Proposal:
            return Proposal(np.array([0.1, 0.4, 0.0, 0.0, 0.0, 0.5]))

    guards = Guards(step_limit=2.0, floor=0.1)
    domains = domains_with([0.5, 0.5, 0, 0, 0, 0], active=(True, True, False, False, False, False))
    after, _ = advance(Jump(), start(Jump(), domains, guards), Observation(checkpoint=1), guards)
    # (.2, .8) without the inactive domain, (.25, .8) limited, normalised, then floored.
    limited = [0.25 / 1.05, 0.8 / 1.05]
    assert after.carried[:2] == pytest.approx(limited)
    assert after.weights[:2] == pytest.approx([0.8 * w + 0.1 for w in limited])
    assert after.weights[2:] == after.carried[2:] == (0.0,) * 4


def test_backoff_shrinks_the_target_down_to_its_prior() -> None:
    mixer = make_mixer("versatune_expansion", {"target": "law", "otherwise": "backoff"})
    domains = domains_with([0.25, 0.15, 0.15, 0.15, 0.15, 0.15])
    state = start(mixer, domains, Guards(), initial=[0.4, 0.12, 0.12, 0.12, 0.12, 0.12], base_loss=(1.0,) * K)
    targets = []
    for t in (1, 2, 3):
        state, _ = advance(mixer, state, Observation(checkpoint=t, eval_loss=(0.9,) * K), Guards())
        targets.append(state.weights[0])
    assert targets == pytest.approx([0.3, 0.25, 0.25])


def test_noise_in_forgetting_is_ignored_below_its_threshold() -> None:
    mixer, domains = make_mixer("versatune_expansion", {"target": "law"}), domains_with([1 / K] * K)
    rise = (2.0, *(2.4,) * 5)
    expanded = {}
    for z in (1.0, 3.0):
        guards = Guards(phi_min_z=2.0)
        state = start(mixer, domains, guards, base_loss=(2.0,) * K, observes={"eval_loss", "loss_change_z"})
        seen = Observation(checkpoint=1, eval_loss=rise, loss_change_z=(0.0, *(z,) * 5))
        condition = advance(mixer, state, seen, guards)[1].condition
        assert condition is not None
        expanded[z] = condition.expanded
    assert expanded == {1.0: True, 3.0: False}


def test_weights_may_be_updated_from_the_base_model_before_the_first_segment() -> None:
    mixer, domains, loss = make_mixer("versatune_dynamic"), domains_with([1 / K] * K), (4.0, *(1.0,) * 5)
    state = start(mixer, domains, Guards(), base_loss=loss)
    after, decision = advance(mixer, state, Observation(checkpoint=0, eval_loss=loss), Guards())
    assert decision.phi == (0.0,) * K
    assert after.weights[0] > state.weights[0]


def test_uninformative_references_are_reported_at_the_first_checkpoint_only_and_not_for_constant() -> None:
    domains, flags = domains_with([1 / K] * K, reference=(0.0,) * K), {}
    for name in ("constant", "versatune_dynamic"):
        mixer = make_mixer(name)
        state = start(mixer, domains, Guards())
        for t in (1, 2):
            state, decision = advance(mixer, state, Observation(checkpoint=t, eval_loss=(2.0,) * K), Guards())
            flags[name, t] = decision.uninformative_reference
    assert [key for key, flag in flags.items() if flag] == [("versatune_dynamic", 1)]


def test_what_a_mixer_lacks_is_said_before_training() -> None:
    dynamic, expansion = make_mixer("versatune_dynamic"), make_mixer("versatune_expansion", {"target": "law"})
    domains = domains_with([1 / K] * K)
    with pytest.raises(ConfigError, match="'versatune_dynamic' needs reference_loss; measure or give"):
        start(dynamic, replace(domains, reference_loss=None), Guards())
    with pytest.raises(
        ConfigError, match="'versatune_dynamic' needs eval_loss; give every active domain held-out rows"
    ):
        start(dynamic, domains, Guards(), observes=set())
    with pytest.raises(ConfigError, match="needs prev_eval_loss; evaluate the base model"):
        start(expansion, domains, Guards())
    with pytest.raises(ConfigError, match="needs loss_change_z"):
        start(expansion, domains, Guards(phi_min_z=2.0), base_loss=(1.0,) * K)
    with pytest.raises(ConfigError, match="target domain 'law' has no rows"):
        start(expansion, replace(domains, active=(False, *(True,) * 5)), Guards(), base_loss=(1.0,) * K)
    with pytest.raises(ConfigError, match="reference loss of domain 'code' is None"):
        domains_with([1 / K] * K, reference=(1.0, 1.0, 1.0, 1.0, None, 1.0))
    start(make_mixer("constant"), replace(domains, reference_loss=None), Guards(), observes=set())


def test_what_cannot_be_measured_during_training_names_domain_and_value() -> None:
    mixer, domains = make_mixer("versatune_dynamic"), domains_with([1 / K] * K)
    state = start(mixer, domains, Guards())
    bad = Observation(checkpoint=2, eval_loss=(1.0, float("nan"), 1.0, 1.0, 1.0, 1.0))
    with pytest.raises(RunError, match="held-out loss at checkpoint 2 of domain 'medicine' is nan"):
        advance(mixer, state, bad, Guards())
    after, _ = advance(mixer, state, Observation(checkpoint=2, eval_loss=(1.0,) * K), Guards())
    with pytest.raises(RunError, match="each checkpoint updates once"):
        advance(mixer, after, Observation(checkpoint=2, eval_loss=(1.0,) * K), Guards())
    with pytest.raises(RunError, match="has no eval_loss"):
        advance(mixer, after, Observation(checkpoint=3), Guards())


def test_unknown_mixers_and_parameters_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="unknown mixer 'versatune_dynamc'; did you mean 'versatune_dynamic'"):
        make_mixer("versatune_dynamc")
    with pytest.raises(ConfigError, match="no parameter 'sigm'; did you mean 'sigma'"):
        make_mixer("versatune_dynamic", {"sigm": 1.0})
    with pytest.raises(ConfigError, match="no parameter 'sigma'; it takes none"):
        make_mixer("constant", {"sigma": 1.0})
    with pytest.raises(ConfigError, match="sigma is -1"):
        make_mixer("versatune_dynamic", {"sigma": -1.0})
    with pytest.raises(ConfigError, match="needs a target"):
        make_mixer("versatune_expansion")
    with pytest.raises(ConfigError, match="otherwise is 'holt'; did you mean 'hold'"):
        make_mixer("versatune_expansion", {"target": "law", "otherwise": "holt"})
    mixer = make_mixer("versatune_expansion", {"target": "lawx"})
    with pytest.raises(ConfigError, match="unknown domain 'lawx'; did you mean 'law'"):
        start(mixer, domains_with([1 / K] * K), Guards(), base_loss=(1.0,) * K)


def test_a_configuration_gives_each_mixer_its_own_parameters() -> None:
    assert mixer_from_config(MixerConfig(name="constant", sigma=2.0)) == make_mixer("constant")
    assert mixer_from_config(MixerConfig(sigma=2.0)) == make_mixer("versatune_dynamic", {"sigma": 2.0})
    config = MixerConfig(name="versatune_expansion", target="law", otherwise="multi")
    assert mixer_from_config(config) == make_mixer("versatune_expansion", {"target": "law", "otherwise": "multi"})


def test_a_state_of_another_version_is_refused() -> None:
    state = state_to_dict(start(make_mixer("constant"), domains_with([1 / K] * K), Guards()))
    del state["carried"]
    with pytest.raises(DataError, match="carried"):
        state_from_dict(state)


def test_paired_change_without_noise_has_no_finite_z() -> None:
    assert paired_loss_change([0.1, 0.1], [10, 20]).z == float("inf")
    assert paired_loss_change([0.0, 0.0], [10, 20]).z == 0.0
    with pytest.raises(DataError, match="two or more rows"):
        paired_loss_change([0.1], [10])
