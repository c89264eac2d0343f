"""Worked numbers, computed independently of this code: every case is checked here or named as not built yet."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from versatune.mixing.advance import Guards, Observation, advance, start
from versatune.mixing.allocation import allocate_capped, largest_remainder, row_caps
from versatune.mixing.compare import g_test, total_variation
from versatune.mixing.correction import correction_covariances, solve_on_simplex
from versatune.mixing.estimators import hard_counts, hard_estimate, soft_estimate, unlabelled_bounds
from versatune.mixing.intervals import (
    bonferroni_z,
    hard_standard_errors,
    sample_size,
    soft_standard_errors,
    wilson_intervals,
)
from versatune.mixing.label_errors import Rates
from versatune.mixing.losses import mean_loss
from versatune.mixing.mixers import Domains, Signals, VersatuneExpansion, foster, make_mixer
from versatune.mixing.order import interleave
from versatune.mixing.potential import (
    forgetting_degree,
    learnable_potential,
    paired_loss_change,
    uninformative_reference,
)
from versatune.mixing.prior_shift import iterates, likelihood_ratios, prior_shift_estimate
from versatune.mixing.rate_covariances import multinomial_covariances
from versatune.mixing.selection import draw_rows, pass_order, row_key, take_token_budget
from versatune.mixing.stopping import decide, samples_that_suffice
from versatune.mixing.weights import (
    drop_empty_domains,
    floor,
    normalize,
    proportional,
    row_to_token_weights,
    step_limit,
    token_to_row_weights,
    uniform,
    versatune_constant,
)
from versatune.schemas.probe import Rounds

VECTORS = Path(__file__).parent.parent / "golden" / "vectors"
FILES = ("versatune", "allocation", "probe_estimators", "probe_intervals", "mixers", "losses")
TOLERANCE = 2e-6

NOT_BUILT_YET = {
    "static-temperature-2": "temperature mixer",
    "static-temperature-5": "temperature mixer",
    "static-capped-proportional": "temperature mixer",
    "unimax-60000-1": "UniMax mixer",
    "unimax-hand": "UniMax mixer",
    "unimax-exhausted": "UniMax mixer",
    "inverse-complement": "inverse mixer",
    "inverse-reciprocal": "inverse mixer",
    "official-exp-noref": "exponentiated mixers",
    "official-exp-ref": "exponentiated mixers",
    "exp-hand": "exponentiated mixers",
    "sheared-paper": "exponentiated mixers",
    "sheared-code": "exponentiated mixers",
    "doremi-token-clip": "DoReMi mixer",
    "doremi-domain-clip": "DoReMi mixer",
    "doremi-average": "DoReMi mixer",
    "odm-paper": "ODM mixer",
    "odm-early-uniform": "ODM mixer",
    "odm-paper-late": "ODM mixer",
    "odm-code-group": "ODM mixer",
    "skillit": "Skill-it mixer",
    "aioli": "Aioli mixer",
    "doge": "DoGE mixer",
    "cpt-wrapped": "continued pre-training",
    "bfd-packing": "packing",
    "bfd-packing-2": "packing",
    "dpo": "preference losses",
    "dpo-smoothed": "preference losses",
    "dpo-gradient": "preference losses",
    "orpo": "preference losses",
    "orpo-equal": "preference losses",
}
ELSEWHERE = {"sft-mask": "the loss mask is checked where rows are tokenized"}
PARTS_NOT_BUILT = {
    "sample-size": {"n_thompson": "another bound for the same question"},
    "tv-js": {"l_inf": "no user", "js_nats": "no user"},
    "vt-scale-invariance": {
        "exp_update_uniform_unit1": "exponentiated mixers",
        "exp_update_uniform_scaled": "exponentiated mixers",
    },
}

Case = dict[str, Any]
CASES: dict[str, Case] = {
    case["id"]: case for name in FILES for case in json.loads((VECTORS / f"{name}.json").read_text())["cases"]
}
BUILT = set(CASES) - set(NOT_BUILT_YET) - set(ELSEWHERE)
CHECKS: dict[str, Callable[[Case], dict[str, Any]]] = {}


def computes(*ids: str) -> Callable[[Callable[[Case], dict[str, Any]]], Callable[[Case], dict[str, Any]]]:
    """Register a function from a case's inputs to the values it must expect."""

    def register(function: Callable[[Case], dict[str, Any]]) -> Callable[[Case], dict[str, Any]]:
        CHECKS.update(dict.fromkeys(ids, function))
        return function

    return register


def assert_close(actual: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert set(actual) == set(expected), where
        for key, value in expected.items():
            assert_close(actual[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for index, value in enumerate(expected):
            assert_close(actual[index], value, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert float(actual) == pytest.approx(expected, abs=TOLERANCE, rel=0.0), where
    else:
        assert actual == expected, where


@pytest.mark.parametrize("case_id", sorted(BUILT))
def test_worked_numbers(case_id: str) -> None:
    case = CASES[case_id]
    expected = {k: v for k, v in case["expected"].items() if k not in PARTS_NOT_BUILT.get(case_id, {})}
    assert_close(CHECKS[case_id](case["inputs"]), expected, case_id)


def test_every_case_is_checked_or_named_as_not_built() -> None:
    assert set(CHECKS) == BUILT
    assert set(NOT_BUILT_YET) | set(ELSEWHERE) <= set(CASES)
    for case_id, parts in PARTS_NOT_BUILT.items():
        assert set(parts) < set(CASES[case_id]["expected"])


# Losses, potentials and mixers.


@computes("vt-gamma-phi")
def gamma_and_phi(i: Case) -> Case:
    losses = i["loss_by_checkpoint"]
    previous = [losses[0], *losses[:-1]]
    return {
        "gamma": [learnable_potential(loss, i["reference_loss"]) for loss in losses],
        "phi": [forgetting_degree(loss, before) for loss, before in zip(losses, previous, strict=True)],
    }


@computes("vt-scale-invariance")
def gamma_and_phi_in_another_unit(i: Case) -> Case:
    loss, previous, reference = (np.array(i[key]) * i["factor"] for key in ("loss", "previous_loss", "reference_loss"))
    return {"gamma": learnable_potential(loss, reference), "phi": forgetting_degree(loss, previous)}


def domains_of(i: Case) -> Domains:
    reference = tuple(i["reference_loss"])
    if "prior_counts" in i or "weights_from_counts" in i:
        prior = normalize(i.get("prior_counts") or i["weights_from_counts"])
    else:
        prior = np.array(i["weights"])
    return Domains(
        names=tuple(i.get("domains") or [f"d{j}" for j in range(len(prior))]),
        prior=tuple(prior.tolist()),
        active=tuple(i.get("active", [True] * len(prior))),
        reference_loss=reference,
    )


@computes("vt-dynamic-trajectory")
def dynamic_trajectory(i: Case) -> Case:
    mixer = make_mixer("versatune_dynamic", {"sigma": i["sigma"]})
    state = start(mixer, domains_of(i), Guards(), base_loss=tuple(i["loss_by_checkpoint"][0]))
    weights = [state.weights]
    for t, loss in enumerate(i["loss_by_checkpoint"][1:], start=1):
        state, _ = advance(mixer, state, Observation(checkpoint=t, eval_loss=tuple(loss)), Guards())
        weights.append(state.weights)
    return {"weights": weights}


@computes("vt-dynamic-hand", "vt-dynamic-zero", "vt-dynamic-saturated", "vt-dynamic-inactive")
def dynamic_step(i: Case) -> Case:
    mixer = make_mixer("versatune_dynamic", {"sigma": i["sigma"]})
    before = start(mixer, domains_of(i), Guards())
    after, decision = advance(mixer, before, Observation(checkpoint=1, eval_loss=tuple(i["loss"])), Guards())
    if "active" in i:
        return {"weights": after.weights}
    out: Case = {"gamma": decision.gamma, "weights": after.weights}
    if i["reference_loss"][0] == 0.0006:
        out["max_abs_change"] = np.abs(np.subtract(after.weights, before.weights)).max()
    return out


def test_degenerate_references_are_reported_and_good_ones_are_not() -> None:
    for case_id, expected in (("vt-dynamic-zero", True), ("vt-dynamic-saturated", True), ("vt-dynamic-hand", False)):
        gamma = CASES[case_id]["expected"]["gamma"]
        assert uninformative_reference(gamma) is expected


@computes("vt-expansion-proportional", "vt-expansion-tilted", "vt-expansion-fallback-multi")
def expansion_trajectory(i: Case) -> Case:
    params: Case = {key: i[key] for key in ("delta", "epsilon", "sigma", "others", "otherwise") if key in i}
    mixer = make_mixer("versatune_expansion", {"target": i["domains"][i["target"]], **params})
    state = start(mixer, domains_of(i), Guards(), base_loss=tuple(i["loss_by_checkpoint"][0]))
    steps = []
    for t, loss in enumerate(i["loss_by_checkpoint"][1:], start=1):
        state, decision = advance(mixer, state, Observation(checkpoint=t, eval_loss=tuple(loss)), Guards())
        assert decision.condition is not None
        lhs, rhs, expanded = decision.condition.lhs, decision.condition.rhs, decision.condition.expanded
        steps.append({"checkpoint": t, "lhs": lhs, "rhs": rhs, "expanded": expanded, "weights": state.weights})
    return {"steps": steps}


@computes("vt-expansion-cap", "vt-expansion-no-potential")
def expansion_step(i: Case) -> Case:
    params = {key: i[key] for key in ("delta", "epsilon", "w_max", "otherwise") if key in i}
    weights = np.array(i["weights"])
    domains = Domains(names=("a", "b", "c"), prior=tuple(i["weights"]), active=(True, True, True))
    signals = Signals(np.array(i["gamma"], dtype=float), np.array(i["phi"], dtype=float))
    proposal = VersatuneExpansion(target="a", **params).update(domains, weights, signals)
    condition = proposal.condition
    assert condition is not None
    return {"weights": proposal.weights, "lhs": condition.lhs, "rhs": condition.rhs, "expanded": condition.expanded}


@computes("paired-loss-change")
def paired_change(i: Case) -> Case:
    return paired_loss_change(i["row_loss_change"], i["row_loss_tokens"])._asdict()


@computes("domain-loss-aggregation")
def domain_loss_aggregation(i: Case) -> Case:
    rows, names = i["rows"], ("law", "code")
    per_domain = {name: [row["nll"] for row in rows if row["domain"] == name] for name in names}
    sums = [sum(map(sum, per_domain[name])) for name in names]
    tokens = [sum(map(len, per_domain[name])) for name in names]
    row_means = {name: float(np.mean([np.mean(nll) for nll in per_domain[name]])) for name in names}
    return {
        "token_mean": dict(zip(names, mean_loss(sums, tokens), strict=True)),
        "row_mean_of_means": row_means,
        "all_tokens_mean": mean_loss([sum(sums)], [sum(tokens)])[0],
    }


@computes("nats-per-byte")
def nats_per_byte(i: Case) -> Case:
    per_token, per_byte = mean_loss([i["sum_nll_nats"]] * 2, [i["tokens"], i["utf8_bytes"]])
    return {"nats_per_token": per_token, "nats_per_byte": per_byte, "bits_per_byte": per_byte / np.log(2)}


@computes("grad-accumulation")
def gradient_accumulation(i: Case) -> Case:
    sums, tokens = i["microbatch_sum_nll"], i["microbatch_tokens"]
    return {
        "global_token_mean": mean_loss([sum(sums)], [sum(tokens)])[0],
        "mean_of_means": mean_loss(sums, tokens).mean(),
    }


# Static weights and guards.


@computes("static-uniform")
def static_uniform(i: Case) -> Case:
    return {"weights": uniform(i["active"])}


@computes("static-proportional")
def static_proportional(i: Case) -> Case:
    return {"weights": proportional(i["rows"])}


@computes("versatune-constant")
def static_versatune(i: Case) -> Case:
    return {"weights": versatune_constant(normalize(i["prior_counts"]))}


@computes("guard-floor")
def guard_floor(i: Case) -> Case:
    return {"weights": floor(i["weights"], i["floor"])}


@computes("guard-step-limit")
def guard_step_limit(i: Case) -> Case:
    return {"weights": step_limit(i["proposed"], i["previous"], i["rho"])}


@computes("row-token-weights")
def row_token_weights(i: Case) -> Case:
    tokens = row_to_token_weights(i["row_weights"], i["mean_loss_tokens"])
    return {"token_weights": tokens, "row_weights_back": token_to_row_weights(tokens, i["mean_loss_tokens"])}


@computes("empty-domain-drop")
def empty_domain(i: Case) -> Case:
    weights, mass = drop_empty_domains(i["weights"], i["rows"], ("a", "b", "c", "d"), "drop")
    return {"weights": weights, "dropped_mass": mass}


# Composition.


def weights_of(i: Case) -> Any:
    if "uniform_weights" in i:
        return uniform([True] * i["uniform_weights"])
    return normalize(i.get("weights") or i["weights_from_counts"])


@computes("largest-remainder-60000", "largest-remainder-ties", "largest-remainder-hand")
def whole_rows(i: Case) -> Case:
    weights = weights_of(i)
    quotas = weights * i["budget"]
    out: Case = {"counts": largest_remainder(weights, i["budget"]).tolist()}
    if "uniform_weights" not in i:
        out["quotas"] = quotas
    if i["budget"] == 60000:
        out["floor_counts_sum"] = int(np.floor(quotas).sum())
    return out


@computes("capped-uniform-r1", "capped-uniform-r4", "capped-prior-r1", "capped-codeheavy-r1", "capped-shortfall")
def capped(i: Case) -> Case:
    caps = i["row_caps"] if "row_caps" in i else row_caps(i["rows"], i["max_passes"])
    counts, shortfall = allocate_capped(weights_of(i), i["budget"], caps)
    out: Case = {"counts": counts.tolist(), "shortfall": shortfall}
    if "rows" in i:
        out["passes"] = counts / np.array(i["rows"])
    return out


@computes("hash-keys")
def hash_keys(i: Case) -> Case:
    ids = i["row_ids"]
    order = pass_order(i["seed"], i["domain"], i["pass"], ids)
    return {
        "keys_hex": {row: f"{row_key(i['seed'], i['domain'], i['pass'], row):016x}" for row in ids},
        "order": [ids[j] for j in order],
    }


@computes("balanced-oversample")
def balanced_oversample(i: Case) -> Case:
    ids = i["row_ids"]
    rows, passes = draw_rows(i["seed"], i["domain"], ids, i["count"])
    drawn = [ids[j] for j in rows]
    return {
        "draws": [list(pair) for pair in zip(drawn, passes.tolist(), strict=True)],
        "copies": {row: drawn.count(row) for row in ids},
    }


@computes("interleave-2-3-5", "interleave-1-1-6")
def turns(i: Case) -> Case:
    counts = np.array(i["counts"])
    sequence = interleave(counts)
    out: Case = {"sequence": sequence.tolist()}
    if i["counts"] == [2, 3, 5]:
        emitted = np.cumsum(sequence[:, None] == np.arange(3), axis=0)
        out["max_prefix_deviation"] = np.abs(emitted - np.outer(np.arange(1, 11), counts) / 10).max()
    return out


@computes("token-budget")
def token_budget(i: Case) -> Case:
    return {"rows_and_tokens": [list(take_token_budget(i["row_tokens"], target)) for target in i["targets"]]}


# Estimates and intervals.


@computes("soft-hard")
def soft_and_hard(i: Case) -> Case:
    p = i["probabilities"]
    errors = soft_standard_errors(p)
    return {
        "soft": soft_estimate(p),
        "hard_counts": hard_counts(p).tolist(),
        "hard": hard_estimate(p),
        "soft_std": errors * np.sqrt(len(p)),
        "soft_halfwidth_95": errors * bonferroni_z(0.05, 1),
    }


@computes("released-counts")
def released_counts(i: Case) -> Case:
    counts, missing = i["counts"], i["generated"] - sum(i["counts"])
    return {
        "total": sum(counts),
        "shares": normalize(counts),
        "unlabelled": missing,
        "unlabelled_share": missing / i["generated"],
    }


@computes("unlabelled-bounds")
def bounds(i: Case) -> Case:
    lower, upper = unlabelled_bounds(i["counts"], i["generated"])
    return {"lower": lower, "upper": upper}


@computes("sample-size")
def sample_sizes(i: Case) -> Case:
    z, z_all = bonferroni_z(i["alpha"], 1), bonferroni_z(i["alpha"], i["k"])
    return {
        "z": z,
        "z_bonferroni": z_all,
        "n_worst_single": sample_size(i["epsilon"], z),
        "n_p005_single": sample_size(i["epsilon"], z, 0.05),
        "n_p020_single": sample_size(i["epsilon"], z, 0.20),
        "n_worst_bonferroni": sample_size(i["epsilon"], z_all),
        "n_p056_bonferroni": sample_size(i["epsilon"], z_all, 0.56),
    }


@computes("halfwidth-40000")
def half_widths(i: Case) -> Case:
    errors = hard_standard_errors(i["p"], i["n"])
    return {"halfwidth": errors * bonferroni_z(0.05, 1), "halfwidth_bonferroni6": errors * bonferroni_z(0.05, 6)}


@computes("wilson")
def wilson(i: Case) -> Case:
    lower, upper = wilson_intervals(i["successes"], i["n"], i["z"])
    return {"lower": lower, "upper": upper}


@computes("wilson-simultaneous")
def wilson_simultaneous(i: Case) -> Case:
    n = sum(i["counts"])
    z = bonferroni_z(i["alpha"], len(i["counts"]))
    lower, upper = wilson_intervals(i["counts"], n, z)
    return {"z": z, "share": normalize(i["counts"]), "lower": lower, "upper": upper}


@computes("sequential-guarantee")
def sequential_guarantee(i: Case) -> Case:
    plan = {"k": i["k"], "max_rounds": i["max_rounds"], "alpha": i["alpha"]}
    return {"n_eps002": samples_that_suffice(0.02, **plan), "n_eps001": samples_that_suffice(0.01, **plan)}


@computes("sequential-stop")
def sequential_stop(i: Case) -> Case:
    plan = Rounds(
        samples_per_round=i["samples_per_round"],
        min_rounds=i["min_rounds"],
        max_rounds=i["max_rounds"],
        half_width=i["epsilon"],
        max_change=i["change_tolerance"],
    )
    totals = np.cumsum(i["round_counts"], axis=0)
    rounds: list[Case] = []
    for number, counts in enumerate(totals, start=1):
        n = int(counts.sum())
        shares = counts / n
        previous = rounds[-1]["shares"] if rounds else None
        errors = hard_standard_errors(shares, n)
        look = decide(shares, errors, previous=previous, number=number, plan=plan, alpha=i["alpha"])
        rounds.append(
            {
                "round": number,
                "n": n,
                "shares": shares.tolist(),
                "halfwidth": look.half_widths.tolist(),
                "max_halfwidth": look.half_widths.max(),
                "max_change": look.change,
                "stop": look.stop,
            }
        )
    return {
        "z": bonferroni_z(i["alpha"], totals.shape[1], i["max_rounds"]),
        "rounds": rounds,
        "stopping_round": next(r["round"] for r in rounds if r["stop"]),
    }


@computes("acc-exact")
def corrected_shares(i: Case) -> Case:
    return {"pi": solve_on_simplex(i["confusion"], i["observed"])}


@computes("acc-constrained", "acc-constrained-2")
def constrained_shares(i: Case) -> Case:
    pi = solve_on_simplex(i["confusion"], i["observed"])
    return {
        "unconstrained": np.linalg.solve(i["confusion"], i["observed"]),
        "pi": pi,
        "residual_sq": float(((np.array(i["confusion"]) @ pi - i["observed"]) ** 2).sum()),
    }


@computes("acc-variance")
def corrected_errors(i: Case) -> Case:
    pi, of_probe, of_labels = _corrected_variances(i, i["n"])
    return {
        "pi": pi,
        "se_probe_only": np.sqrt(of_probe),
        "se_total": np.sqrt(of_probe + of_labels),
        "se_naive": hard_standard_errors(i["observed"], i["n"]),
    }


@computes("acc-calibration-floor")
def calibration_floor(i: Case) -> Case:
    half = bonferroni_z(0.05, 1) * np.sqrt(_corrected_variances(i, 1)[2])
    wanted = np.array(i["calibration_rows"]) * (half / 0.01) ** 2
    return {"halfwidth_calibration_only": half, "rows_per_class_for_001": [math.ceil(m) for m in wanted]}


def _corrected_variances(i: Case, n: int) -> tuple[Any, Any, Any]:
    q = np.array(i["observed"])
    rates = Rates(
        matrix=np.array(i["confusion"]), covariances=multinomial_covariances(i["confusion"], i["calibration_rows"])
    )
    pi = solve_on_simplex(rates.matrix, q)
    of_probe, of_labels = correction_covariances(pi, rates, (np.diag(q) - np.outer(q, q)) / n)
    return pi, np.diagonal(of_probe), np.diagonal(of_labels.sum(axis=0))


@computes("em-prior-shift")
def prior_shift(i: Case) -> Case:
    ratios = likelihood_ratios(i["posteriors"], i["training_prior"])
    found = prior_shift_estimate(i["posteriors"], i["training_prior"])
    return {
        "iterates": [shares.tolist() for shares in islice(iterates(ratios, i["training_prior"]), 3)],
        "pi": found.shares,
        "iterations": found.iterations,
    }


@computes("token-to-document-share")
def document_shares(i: Case) -> Case:
    documents = token_to_row_weights(i["token_share"], i["mean_doc_tokens"])
    return {
        "document_share": documents,
        "token_share_back": row_to_token_weights(documents, i["mean_doc_tokens"]),
    }


@computes("g-test")
def likelihood_ratio_test(i: Case) -> Case:
    found = g_test(i["counts"], i["mixture"])
    return {"G": found.statistic, "critical_95": found.critical, "reject": found.reject}


@computes("tv-js")
def distances(i: Case) -> Case:
    return {"total_variation": total_variation(i["a"], i["b"])}


def test_fostering_by_hand() -> None:
    assert foster([0.5, 0.5], [0.5, 0.0], 1.0).tolist() == [0.6, 0.4]


def test_inactive_domain_leaves_the_mixture_whatever_weight_it_was_given() -> None:
    domains = Domains(names=("a", "b"), prior=(0.5, 0.5), active=(True, False))
    assert start(make_mixer("constant"), domains, Guards()).weights == (1.0, 0.0)
