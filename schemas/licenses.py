"""The licence gate: which licences a dataset may hold, and what to say when it holds others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from versatune.schemas.config import LicensePolicy
from versatune.schemas.dataset import InputFile, Shard
from versatune.schemas.errors import LicenseError
from versatune.schemas.spdx import satisfies, spdx

UNKNOWN = "unknown"
"""Stands for a licence that nothing states."""
_SHOWN = 5


def is_allowed(policy: LicensePolicy, name: str) -> bool:
    """Say whether a policy lets a licence pass; patterns ignore case.

    A name is compared in its SPDX form, see :func:`versatune.schemas.spdx.spdx`, and as it is written. Of licences that
    are joined by AND all have to pass, of those joined by OR one.
    """
    expression = spdx(name)
    if expression is None:
        return _passes(policy, name)
    return satisfies(expression, lambda one: _passes(policy, *((one,) if " " in expression else (one, name))))


def say_unknown_licenses(inputs: Sequence[InputFile]) -> Iterator[str]:
    """Yield a line for each licence of a source that is no SPDX identifier."""
    for source, name in sorted({(file.source, file.license) for file in inputs}):
        if name != UNKNOWN and spdx(name) is None:
            yield f"source '{source}': its licence '{name}' is no SPDX identifier; build.licenses compares it as it is written"


def check_licenses(policy: LicensePolicy, inputs: Sequence[InputFile], shards: Sequence[Shard]) -> None:
    """Stop a dataset that holds a licence its policy forbids.

    Args:
        policy: what may pass.
        inputs: every file that was read, with its licence.
        shards: every shard, with the set of its rows' licences.

    Raises:
        LicenseError: names each licence, its sources with their rows, and the shards that hold it.
    """
    emitted = {name for shard in shards for name in shard.licenses}
    forbidden = sorted(name for name in emitted if not is_allowed(policy, name))
    if not forbidden:
        return
    lines = [_finding(name, inputs, shards) for name in forbidden]
    raise LicenseError(
        "build.licenses forbids what the sources hold; nothing was emitted.\n"
        + "\n".join(lines)
        + f"\nTake these sources out, or change the policy ({_policy(policy)})."
    )


def _finding(name: str, inputs: Sequence[InputFile], shards: Sequence[Shard]) -> str:
    rows: dict[str, int] = {}
    for file in inputs:
        if file.license == name:
            rows[file.source] = rows.get(file.source, 0) + file.rows
    holding = [shard for shard in shards if name in shard.licenses]
    listed = ", ".join(shard.path for shard in holding[:_SHOWN]) + (", ..." if len(holding) > _SHOWN else "")
    sources = ", ".join(f"source '{source}' ({count:,} rows read)" for source, count in sorted(rows.items()))
    return f"{name}: {sources}; in {len(holding)} shards of {sum(shard.rows for shard in holding):,} rows ({listed})"


def _policy(policy: LicensePolicy) -> str:
    allow = "any" if policy.allow is None else ", ".join(policy.allow)
    return f"allow: {allow}; deny: {', '.join(policy.deny) or 'none'}"


def _passes(policy: LicensePolicy, *names: str) -> bool:
    return not _fits(names, policy.deny) and (policy.allow is None or _fits(names, policy.allow))


def _fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Say whether a name fits a pattern as it is written, or in its SPDX form."""
    return any(
        fnmatchcase(name.lower(), form.lower())
        for name in names
        for pattern in patterns
        for form in (pattern, spdx(pattern) or pattern)
    )
