"""The mixer of a mixture manifest, wired to what a run measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from versatune.mixing.advance import Guards, State, start
from versatune.mixing.mixers import Domains, Mixer, mixer_from_config
from versatune.mixing.potential import UNINFORMATIVE_SPREAD
from versatune.schemas.errors import DataError
from versatune.schemas.mixture import MixtureManifest
from versatune.sft_runner.dataset import Pool


def mixer_of(mixture: MixtureManifest) -> tuple[Mixer, Guards]:
    """Return the update rule of a mixture and the bounds on its weights."""
    config = mixture.mixer
    return mixer_from_config(config), Guards(
        step_limit=config.step_limit, floor=config.floor, phi_min_z=config.phi_min_z
    )


def check_held_out(mixer: Mixer, pool: Pool) -> None:
    """Refuse a mixer that follows held-out losses where a domain with training rows has no held-out ones."""
    rows = {train.domain: (len(train), len(held)) for train, held in zip(pool.train, pool.validation, strict=True)}
    refuse_unmeasured(mixer, rows)


def refuse_unmeasured(mixer: Mixer, rows: Mapping[str, tuple[int, int]]) -> None:
    """:func:`check_held_out` of numbers: by domain, the rows to train on and those held out.

    Raises:
        DataError: naming every domain that cannot be measured.
    """
    unmeasured = [f"'{domain}' ({train:,})" for domain, (train, held_out) in rows.items() if train and not held_out]
    if unmeasured and "eval_loss" in mixer.requires:
        raise DataError(
            f"domains with training rows but no held-out rows: {', '.join(unmeasured)}; mixer '{mixer.name}' follows held-out losses."
            " Raise build.validation_fraction and run build and mix again, or set mix.mixer.name to 'constant'"
        )


def start_state(
    mixture: MixtureManifest,
    mixer: Mixer,
    guards: Guards,
    pool: Pool,
    base_loss: Sequence[float | None],
    reference: Sequence[float],
) -> State:
    """Return the mixer's state before the first segment: the weights that the policy asks for, within the guards."""
    weights = tuple(plan.requested_weight for plan in mixture.plan)
    domains = Domains(
        names=tuple(mixture.domains),
        prior=weights,
        active=tuple(len(rows) > 0 for rows in pool.train),
        reference_loss=tuple(reference) if "reference_loss" in mixer.requires else None,
    )
    observes = {"eval_loss", "loss_change_z"}
    return start(mixer, domains, guards, base_loss=tuple(base_loss), observes=observes)


def uninformative_warning(gamma: Sequence[float], active: Sequence[bool]) -> str:
    """Say that the references leave the weights where they are."""
    values = np.array(gamma)[np.array(active)]
    return (
        f"uninformative_reference: the learnable potentials lie between {values.min():.4f} and {values.max():.4f}, closer"
        f" than {UNINFORMATIVE_SPREAD}, so the weights hardly move. References near zero, or above the losses, do that:"
        " see train.reference"
    )
