"""Predictions for some requests, as arrays: what each provider is expected to bring and to cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.types import FloatArray

CONTEXT_WIDTH: Final = 0.3
"""Share of the posterior's width that Thompson sampling explores of what the context adds."""

_CONTEXT_SHARE: Final = CONTEXT_WIDTH**2
_MOST_VARIANCE: Final = 0.09


@dataclass(slots=True, kw_only=True)
class Prediction:
    """What is predicted of k providers for n requests."""

    expected: FloatArray
    """Shape (6, n, k), with the rows of `Decision.expected`."""
    quality: FloatArray
    """A row of ``expected``, shape (n, k), as are ``cost_usd`` and ``cost_sd``."""
    cost_usd: FloatArray
    cost_sd: FloatArray
    explored_variance: FloatArray
    """Variance of the quality that exploration uses, shape (n, k): the context's and the level's, each by its
    share."""
    latency_s: FloatArray
    """Shape (k,), NaN if a provider has no history."""
    version: int
    """Version of the beliefs that predicted."""


@compiled
def combine(
    quality: FloatArray,
    cost_units: FloatArray,
    prices: tuple[FloatArray, FloatArray],
    terms: tuple[FloatArray, ...],
    result: FloatArray,
) -> None:
    """Fill in ``expected`` and ``explored_variance`` of a `Prediction`, stacked to (7, n, k).

    ``quality`` (2, n, k) holds mean and variance, ``cost_units`` (n, k) the cost in units of the price list,
    and ``prices`` the USD that are known before the call and the USD of one unit, each (n, k). ``terms`` (k,)
    do not depend on the request: latency, share of failures, least cost in units, the variances of quality
    and cost at the average context, and the share of the former that is explored.
    """
    latency_s, failure, least_units, quality_level, cost_level, level_share = terms
    base, unit = prices
    for k in range(len(failure)):
        level = min(max(quality_level[k], 0.0), _MOST_VARIANCE)
        relative_sd = math.sqrt(max(cost_level[k], 0.0))
        for n in range(len(cost_units)):
            variance = min(quality[1, n, k], _MOST_VARIANCE)
            result[0, n, k] = min(max(quality[0, n, k], -0.2), 1.2) * (1.0 - failure[k])
            result[1, n, k] = math.sqrt(quality[1, n, k])
            cost = base[n, k] + max(cost_units[n, k], least_units[k]) * unit[n, k]
            result[2, n, k] = cost
            result[3, n, k] = min(relative_sd * unit[n, k], 0.5 * cost)
            result[4, n, k] = latency_s[k]
            result[5, n, k] = failure[k]
            result[6, n, k] = _CONTEXT_SHARE * max(variance - level, 0.0) + level_share[k] * level
