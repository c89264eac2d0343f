"""Which mixture is meant, what it is, and how it differs from what a configuration asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from versatune.mixing.compose import resolved_mixer
from versatune.schemas.config import Config
from versatune.schemas.errors import DataError, VersatuneError
from versatune.schemas.inside import inside
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.pointer import read_pointer

_OF_A_MIXTURE = ("mix", "seed")
_COMPARED = ("policy", "unit", "budget", "segments", "max_passes", "on_shortfall", "redraw", "order")
_NAME = "mixture.json"
_SHOWN = 5


def is_trial(config: Config) -> bool:
    """Say whether settings of a mixture were changed for one call: what they make is tried, and is not the newest mixture."""
    return any(override.partition("=")[0].split(".")[0] in _OF_A_MIXTURE for override in config.overrides)


def newest_mixture(home: Path) -> Path:
    """Return the mixture that ``home/latest.json`` names.

    Raises:
        DataError: there is none; mixtures that were made with --set are named.
    """
    pointer = home / "latest.json"
    if not pointer.exists() and (trials := list(_mixtures(home))):
        raise DataError(
            f"{pointer}: there is no newest mixture, only some that were made with --set ({_named(trials)}); train on one with"
            " `versatune train CONFIG --mixture DIGEST`, or run `versatune mix CONFIG` first"
        )
    return read_pointer(pointer, what="mixture", command=MixtureManifest.MADE_BY)


def is_newest(home: Path, mixture: MixtureManifest) -> bool:
    """Say whether the newest mixture is the same, made from the same settings."""
    try:
        return MixtureManifest.load(newest_mixture(home)).digest == mixture.digest
    except VersatuneError:
        return False


def find_mixture(home: Path, wanted: str) -> Path:
    """Return a mixture's file.

    Args:
        home: where a configuration's mixtures are.
        wanted: the file, its directory, or the first digits of its digest.

    Raises:
        DataError: there is no such mixture, or several.
    """
    path = Path(wanted).expanduser()
    file = path / _NAME if path.is_dir() else path
    if file.is_file():
        return file.resolve()
    fitting = [
        (other, mixture) for other, mixture in _mixtures(home) if wanted and mixture.digest.startswith(wanted.lower())
    ]
    if len(fitting) == 1:
        return fitting[0][0]
    if fitting:
        raise DataError(f"--mixture {wanted}: these digests begin so: {_named(fitting)}; give more digits")
    known = list(_mixtures(home))
    have = f"{home} has {_named(known)}" if known else f"there is none in {home}; `versatune mix CONFIG` makes one"
    raise DataError(f"--mixture {wanted}: no such file, and no mixture whose digest begins so; {have}")


def describe(mixture: MixtureManifest) -> str:
    """Name a mixture: digest, age, policy, size, and the dataset that it draws from."""
    segments = "1 segment" if mixture.segments == 1 else f"{mixture.segments} segments"
    return (
        f"mixture {mixture.digest[:12]}, made {mixture.created_at}: policy {mixture.policy}, {segments} of"
        f" {mixture.budget:,} {mixture.unit}, of dataset {mixture.dataset.name} {mixture.dataset.version}, digest"
        f" {mixture.dataset_digest[:12]}"
    )


def differences(config: Config, mixture: MixtureManifest) -> list[str]:
    """Say, key by key, what a mixture has and its configuration asks for."""
    mix = config.mix
    ours: dict[str, Any] = {f"mix.{name}": getattr(mix, name) for name in _COMPARED}
    theirs: dict[str, Any] = {f"mix.{name}": getattr(mixture, name) for name in _COMPARED}
    ours["seed"], theirs["seed"] = config.seed, mixture.seed
    asked, made = resolved_mixer(mix), mixture.mixer
    for name in type(asked).model_fields:
        ours[f"mix.mixer.{name}"], theirs[f"mix.mixer.{name}"] = getattr(asked, name), getattr(made, name)
    if mix.policy == mixture.policy == "explicit":
        ours["mix.weights"] = config.taxonomy.vector(mix.weights or {})
        theirs["mix.weights"] = mixture.decision.get("given")
    return [f"{key} is {theirs[key]} there and {ours[key]} here" for key in ours if ours[key] != theirs[key]]


def _mixtures(home: Path) -> Iterator[tuple[Path, MixtureManifest]]:
    """Yield every mixture that can be read."""
    for file in sorted(home.glob(f"*/{_NAME}")):
        try:
            yield file, MixtureManifest.load(inside(home, f"{file.parent.name}/{_NAME}"))
        except VersatuneError:
            continue


def _named(mixtures: list[tuple[Path, MixtureManifest]]) -> str:
    shown = ", ".join(
        f"{mixture.digest[:12]} (policy {mixture.policy}, {mixture.budget:,} {mixture.unit})"
        for _, mixture in mixtures[:_SHOWN]
    )
    return shown + (f" and {len(mixtures) - _SHOWN} more" if len(mixtures) > _SHOWN else "")
