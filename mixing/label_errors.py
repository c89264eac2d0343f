"""What is known of how a labeller errs: how often each domain is taken for each, and how well that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from versatune.mixing.arrays import FloatArray, IntArray
from versatune.mixing.rate_covariances import multinomial_covariances
from versatune.schemas.errors import DataError

_SUM_TOLERANCE = 1e-3
_PER_CELL = 0.5


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Confusion rates, and how far they may be from the truth.

    Attributes:
        matrix: (k, k), [predicted][true]; a column sums to one, or is zero where the domain has no calibration rows.
        covariances: (k, k, k), [true] is the covariance matrix of that column's estimate.
    """

    matrix: FloatArray
    covariances: FloatArray


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """How a labeller errs, from rows of known domains that it did not learn from.

    Attributes:
        rows: (k,) calibration rows of each true domain.
        sources: (k,) independent groups that those rows come from. Rows of one source resemble each other, so the sources say
            how well a rate's own error is known; rows that were drawn one by one are a source each.
        hard: share of a domain's rows whose most probable domain is a, for each a.
        soft: mean probability that a domain's rows get for a.
        names: what messages call the domains.
    """

    rows: IntArray
    sources: IntArray
    hard: Rates
    soft: Rates
    names: tuple[str, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any], names: Sequence[str] | None = None) -> Self:
        """Read ``{"rows": [k], "sources": [k], "hard": {"rates": [a][b], "covariances": [b][a][a']}, "soft": {...}}``.

        ``sources`` may be missing: rows then count as drawn one by one. Raises DataError that names the part that is wrong.
        """
        rows = _counts(value, "rows")
        sources = _counts(value, "sources") if "sources" in value else rows
        k = len(rows)
        if len(sources) != k or (sources > rows).any():
            raise DataError(
                f"label errors: sources {sources.tolist()} do not fit rows {rows.tolist()}; expected one count per domain, at most its rows"
            )
        return cls(
            rows=rows,
            sources=sources,
            hard=_rates(value, "hard", rows),
            soft=_rates(value, "soft", rows),
            names=_names(names, k),
        )

    @classmethod
    def from_counts(cls, counts: npt.ArrayLike, names: Sequence[str] | None = None) -> Self:
        """Take the errors of a labeller that names one domain and gives no probabilities: hard and soft rates are the same.

        counts: (k, k) rows drawn one by one, [predicted][true]. Every cell gets half a row more (Laplace), so that no error counts
        as impossible for not having been seen; covariances are multinomial.
        """
        table = _array(counts, "counts")
        if table.ndim != 2 or table.shape[0] != table.shape[1] or (table < 0.0).any():
            raise DataError(
                f"label errors: counts have shape {table.shape}; expected (k, k) numbers of zero or more, [predicted][true]"
            )
        rows = table.sum(axis=0)
        smoothed = table + _PER_CELL
        matrix = smoothed / smoothed.sum(axis=0)
        rates = Rates(matrix=matrix, covariances=multinomial_covariances(matrix, smoothed.sum(axis=0)))
        whole = rows.astype(np.int64)
        return cls(rows=whole, sources=whole, hard=rates, soft=rates, names=_names(names, len(rows)))

    def training_prior(self) -> FloatArray:
        """Mean probability of each domain (k,) over calibration rows among which domains count alike.

        It is the prior under which the labeller's probabilities were calibrated; uniform where a domain has no rows, or is given
        no probability.
        """
        prior: FloatArray = self.soft.matrix.mean(axis=1)
        unknown = (self.rows == 0).any() or (prior == 0.0).any()
        return np.full(len(prior), 1.0 / len(prior)) if unknown else prior


def _counts(value: Mapping[str, Any], key: str) -> IntArray:
    array = _array(value.get(key), key)
    if array.ndim != 1 or not array.size or (array < 0.0).any() or (array != np.round(array)).any():
        raise DataError(f"label errors: '{key}' is {value.get(key)!r}; expected one whole number per domain")
    return array.astype(np.int64)


def _rates(value: Mapping[str, Any], key: str, rows: IntArray) -> Rates:
    part, k = value.get(key), len(rows)
    if not isinstance(part, Mapping):
        raise DataError(f"label errors: '{key}' is missing; expected its 'rates' and 'covariances'")
    matrix = _array(part.get("rates"), f"{key}.rates")
    covariances = _array(part.get("covariances"), f"{key}.covariances")
    if matrix.shape != (k, k) or covariances.shape != (k, k, k):
        raise DataError(
            f"label errors: '{key}' has rates of shape {matrix.shape} and covariances of shape {covariances.shape}; "
            f"expected {(k, k)} and {(k, k, k)} for {k} domains"
        )
    sums = matrix.sum(axis=0)
    wrong = (np.abs(sums - (rows > 0)) > _SUM_TOLERANCE) | (matrix < 0.0).any(axis=0)
    if wrong.any():
        b = int(np.argmax(wrong))
        raise DataError(
            f"label errors: the '{key}' rates of domain {b} sum to {sums[b]:g} over its {rows[b]} rows; "
            "expected non-negative rates that sum to one, [predicted][true], or zeros where there are no rows"
        )
    if (np.diagonal(covariances, axis1=1, axis2=2) < 0.0).any():
        raise DataError(f"label errors: '{key}.covariances' has a negative variance; expected covariance matrices")
    return Rates(matrix=matrix / np.where(rows > 0, sums, 1.0), covariances=covariances)


def _names(names: Sequence[str] | None, k: int) -> tuple[str, ...]:
    found = tuple(names) if names is not None else tuple(f"domain {b}" for b in range(k))
    if len(found) != k:
        raise DataError(f"label errors: of {k} domains, where {len(found)} are expected ({', '.join(found)})")
    return found


def _array(value: Any, what: str) -> FloatArray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"label errors: '{what}' is no table of numbers ({error})") from error
    if not np.isfinite(array).all():
        raise DataError(f"label errors: '{what}' is missing or holds a value that is no finite number")
    return array
