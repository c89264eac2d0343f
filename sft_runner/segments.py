"""Which rows one segment trains on, and in which order: a pure function of manifest, segment, weights and rows drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from versatune.mixing.allocation import allocate_capped, row_caps
from versatune.mixing.arrays import Floats, IntArray
from versatune.mixing.order import interleave
from versatune.mixing.selection import Draws, draw_rows, first_draw, shuffle_order, take_token_budget
from versatune.schemas.errors import DataError
from versatune.schemas.mixture import MixtureManifest
from versatune.sft_runner.dataset import Rows


class Segment(NamedTuple):
    """The rows of a segment in training order, and the units of the budget that the repeat caps left unspent."""

    domains: IntArray  # (N,) index of each row's domain
    rows: IntArray  # (N,) position among the training rows of that domain
    shortfall: int

    def __len__(self) -> int:
        return len(self.rows)


def compose_segment(
    mixture: MixtureManifest, pool: Sequence[Rows], segment: int, weights: Floats, drawn_before: Sequence[int]
) -> Segment:
    """Choose and order the rows of one segment.

    The budget is shared by the weights under the repeat caps (largest remainders), each domain draws its rows in the
    order of their hash, and the domains take turns so that any start of the segment has about the shares of the whole.
    Nothing depends on the order of rows in files, on their number, or on the machine.

    Args:
        mixture: unit, budget, caps, redraw and order policies, seed.
        pool: training rows of each domain.
        segment: 0 for the first.
        weights: (k,) shares of the budget, in the mixture's unit.
        drawn_before: rows drawn from each domain in earlier segments; only ``redraw: continue`` uses them.

    Raises:
        DataError: the caps are below the budget and the mixture says that this is an error, or nothing is left.
    """
    units = [_units(rows, mixture.unit) for rows in pool]
    caps = row_caps([int(u.sum()) for u in units], mixture.max_passes)
    counts, shortfall = allocate_capped(weights, mixture.budget, caps)
    if shortfall and mixture.on_shortfall == "error":
        raise DataError(
            f"segment {segment + 1} can take {mixture.budget - shortfall} of the {mixture.budget} {mixture.unit} it should:"
            f" no row may be used more than {mixture.max_passes:g} times. Lower mix.budget, raise mix.max_passes, or set"
            " mix.on_shortfall to 'shorten'"
        )
    draws = []
    for rows, unit, count, before in zip(pool, units, counts.tolist(), drawn_before, strict=True):
        draws.append(_draw(mixture, segment, rows, unit, count, before))
    domains, rows_ = _ordered(mixture, pool, segment, draws)
    if not len(rows_):
        raise DataError(f"segment {segment + 1} is empty: {mixture.budget} {mixture.unit} buy no row; raise mix.budget")
    return Segment(domains, rows_, shortfall)


def _units(rows: Rows, unit: str) -> IntArray:
    if unit == "rows":
        return np.ones(len(rows), dtype=np.int64)
    return rows.tokens if unit == "tokens" else rows.loss_tokens


def _draw(mixture: MixtureManifest, segment: int, rows: Rows, unit: IntArray, count: int, before: int) -> Draws:
    first_pass, offset = first_draw(mixture.redraw, segment, before, len(rows))
    if mixture.unit == "rows" or count == 0:
        return draw_rows(mixture.seed, rows.domain, rows.ids, count, first_pass, offset)
    # Enough whole passes that the token target is crossed wherever the first one starts.
    enough = (count // int(unit.sum()) + 2) * len(rows)
    draws = draw_rows(mixture.seed, rows.domain, rows.ids, enough, first_pass, offset)
    taken, _ = take_token_budget(unit[draws.rows], count)
    return Draws(draws.rows[:taken], draws.passes[:taken])


def _ordered(
    mixture: MixtureManifest, pool: Sequence[Rows], segment: int, draws: Sequence[Draws]
) -> tuple[IntArray, IntArray]:
    """Domain and row of every position."""
    counts = [len(d.rows) for d in draws]
    blocks = np.repeat(np.arange(len(draws)), counts)
    rows = np.concatenate([d.rows for d in draws])
    if mixture.order == "interleave":
        domains = interleave(counts)
        # The s-th turn of a domain takes its s-th row: a stable sort by domain lists the turns block by block.
        out = np.empty_like(rows)
        out[np.argsort(domains, kind="stable")] = rows
        return domains, out
    ids = [pool[d].ids[r] for d, r in zip(blocks, rows, strict=True)]
    copies = np.concatenate([d.passes - d.passes[:1] for d in draws])
    order = shuffle_order(mixture.seed, segment, ids, copies)
    return blocks[order], rows[order]
