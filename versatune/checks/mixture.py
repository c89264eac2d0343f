"""Whether the mixture can be composed, and whether its mixer can be followed."""

from __future__ import annotations

from versatune.checks.report import Findings, Problem, amount
from versatune.checks.subject import Subject
from versatune.mixing.compose import compose
from versatune.mixing.mixers import mixer_from_config
from versatune.sft_runner.reweight import refuse_unmeasured

_LIKELY = 0.05


def unit(subject: Subject) -> Findings:
    """A unit that the dataset will not have."""
    config = subject.config
    if "build" in subject.stages and config.mix.unit != "rows" and not subject.tokenizes:
        yield Problem(
            stage="mix",
            key="mix.unit",
            message=f"it is '{config.mix.unit}', and the dataset will have no token counts; set model and build.tokenize: true, or take"
            " mix.unit: rows",
        )


def composed(subject: Subject) -> Findings:
    """Budget, weights and domains that mix will refuse, where the dataset tells already."""
    config, dataset = subject.config, subject.dataset
    if dataset is None:
        return
    if (
        config.mix.policy == "versatune-constant" and subject.probe is None
    ):  # the probe is still to come: any weights show the rest
        config = config.model_copy(update={"mix": config.mix.model_copy(update={"policy": "uniform"})})
    compose(config, dataset, ".", subject.probe)
    yield from ()


def held_out(subject: Subject) -> Findings:
    """Domains without held-out rows, whose losses the mixer follows: exact where the dataset is built, else an estimate."""
    config, dataset = subject.config, subject.dataset
    mixer = mixer_from_config(config.mix.mixer)
    if dataset is not None:
        train, held = dataset.totals("train"), dataset.totals("validation")
        refuse_unmeasured(mixer, {domain: (train[domain]["rows"], held[domain]["rows"]) for domain in train})
        return
    if "build" not in subject.stages or "eval_loss" not in mixer.requires:
        return
    fraction = config.build.validation_fraction
    if fraction == 0.0:
        yield Problem(
            stage="train",
            key="build.validation_fraction",
            message=f"it is 0, so no row is held out, and mixer '{mixer.name}' follows held-out losses; raise it, or set mix.mixer.name to"
            " 'constant'",
        )
        return
    none = {domain: (1.0 - fraction) ** rows for domain, rows in subject.estimate.items() if rows >= 1.0}
    few = {domain: subject.estimate[domain] for domain, chance in none.items() if chance > _LIKELY}
    if few:
        listed = ", ".join(f"{domain} about {amount(rows, 'row')} ({none[domain]:.0%})" for domain, rows in few.items())
        yield Problem(
            stage="train",
            key="build.validation_fraction",
            message=f"it is {fraction:g}, which may hold out no row of some domains (an estimate from the first rows of each source, with"
            f" the probability): {listed}; then training refuses mixer '{mixer.name}'. Raise it to"
            f" {min(0.5, 1.0 - _LIKELY ** (1.0 / min(few.values()))):.2g} or more, add rows, or set mix.mixer.name to 'constant'",
            refused=False,
        )


def named_domains(subject: Subject) -> Findings:
    """A domain to expand, or with a given weight, that no source can have."""
    mix, taxonomy, have = subject.config.mix, subject.config.taxonomy, _pinned(subject)
    if have is None or subject.dataset is not None:
        return
    wanted = [
        (name, "mix.weights") for name, weight in (mix.weights or {}).items() if weight and mix.on_empty == "error"
    ]
    if mix.mixer.target is not None:
        wanted.append((mix.mixer.target, "mix.mixer.target"))
    for name, key in wanted:
        if taxonomy.index(name) not in have:
            pinned = ", ".join(taxonomy.domains[index] for index in sorted(have))
            message = (
                f"it names {name}, and every source is pinned to another domain ({pinned}), so there will be no such rows; add a source,"
                " or take the domain out"
            )
            yield Problem(stage="mix", key=key, message=message)


def empty_domains(subject: Subject) -> Findings:
    """Domains without rows, to which the probe that is still to come will very likely give a share."""
    mix, domains, dataset = subject.config.mix, subject.config.taxonomy.domains, subject.dataset
    if mix.policy != "versatune-constant" or mix.on_empty != "error" or subject.probe is not None:
        return
    how = "(an estimate from the first rows of each source)"
    if dataset is not None:
        how, empty = f"in dataset {dataset.version}", [d for d, n in dataset.totals("train").items() if not n["rows"]]
    elif (have := _pinned(subject)) is not None:
        how, empty = "because every source is pinned to another", [d for i, d in enumerate(domains) if i not in have]
    else:
        empty = [domain for domain in domains if domain not in subject.estimate] if subject.estimate else []
    if empty:
        message = (
            f"it is 'error', and there are no rows of {', '.join(empty)} {how}: if the probe gives them a share, mix refuses. Add a source,"
            " or take mix.on_empty: drop"
        )
        yield Problem(stage="mix", key="mix.on_empty", message=message, refused=False)


def _pinned(subject: Subject) -> set[int] | None:
    """Return the positions of the domains that sources are pinned to; None if one of them is not, or nothing will be built."""
    pinned = [source.domain for source in subject.config.sources]
    if "build" not in subject.stages or not pinned or None in pinned:
        return None
    return {subject.config.taxonomy.index(str(domain)) for domain in pinned}


def references(subject: Subject) -> Findings:
    """Given reference losses that leave out a domain with rows."""
    config, dataset = subject.config, subject.dataset
    given = config.train.reference.losses
    if given is None or dataset is None or "reference_loss" not in mixer_from_config(config.mix.mixer).requires:
        return
    named = {config.taxonomy.index(name) for name in given}
    for number, (domain, totals) in enumerate(dataset.totals("train").items()):
        if totals["rows"] and number not in named:
            yield Problem(
                stage="train",
                key="train.reference.losses",
                message=f"domain '{domain}' has {totals['rows']:,} training rows and no loss; expected nats per token for every domain with rows",
            )
