"""Mean losses from sums: the only way a mean is taken over rows, micro-batches or ranks."""

from __future__ import annotations

import numpy as np

from versatune.mixing.arrays import FloatArray, Floats


def mean_loss(sum_nll: Floats, units: Floats) -> FloatArray:
    """Nats per unit of each domain: ``sum nll / sum units``, with units tokens or UTF-8 bytes of the target text.

    sum_nll, units: (k,), summed over everything that counts before dividing; a mean of means weights short rows and
    small batches too much. NaN where a domain has no units.
    """
    total, count = (np.asarray(sum_nll, dtype=np.float64), np.asarray(units, dtype=np.float64))
    mean: FloatArray = np.divide(total, count, out=np.full(np.broadcast(total, count).shape, np.nan), where=count > 0.0)
    return mean
