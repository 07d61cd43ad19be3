"""What is believed of each provider for some requests, as arrays, and what it is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.compiled import compiled

FloatArray = NDArray[np.float64]

CONTEXT_WIDTH: Final = 0.3
"""Share of the posterior's width that Thompson sampling explores of what the context adds."""

SMOOTHING: Final = 0.002
"""Least spread of a utility, in points of quality: keeps the distribution continuous in the shadow price."""

_MOST_VARIANCE: Final = 0.09


@dataclass(slots=True)
class Judgement:
    """What is believed of each provider for n requests: arrays of shape (n, k), latency and failure (k,)."""

    quality: FloatArray
    quality_variance: FloatArray
    width_variance: FloatArray
    """Variance that exploration uses: the context's and the level's, each by its share."""
    cost_usd: FloatArray
    cost_sd: FloatArray
    latency_s: FloatArray
    failure: FloatArray

    def expected(self) -> FloatArray:
        """What a `Decision` for the first request says is expected, shape (6, k)."""
        found = np.empty((6, len(self.failure)))
        found[0], found[2], found[3] = self.quality[0], self.cost_usd[0], self.cost_sd[0]
        np.sqrt(self.quality_variance[0], out=found[1])
        found[4], found[5] = self.latency_s, self.failure
        return found

    def utility(self, shadow_price: float, latency_weight: float) -> tuple[FloatArray, FloatArray]:
        """Mean utility and its spread, quality − λ cost − weight · latency, each of shape (n, k)."""
        mean, spread = self.quality.copy(), self.width_variance.copy()
        _weigh(mean, spread, self.cost_usd, self.cost_sd, shadow_price)
        if latency_weight:
            # Who has no history is taken to be as quick as the others are on average.
            known = np.isfinite(self.latency_s)
            typical = float(self.latency_s[known].mean()) if known.any() else 0.0
            mean -= latency_weight * np.where(known, self.latency_s, typical)
        return mean, spread


@compiled
def assess(
    quality: FloatArray,
    variance: FloatArray,
    width: FloatArray,
    cost: FloatArray,
    cost_sd: FloatArray,
    base: FloatArray,
    unit: FloatArray,
    failure: FloatArray,
    least_units: FloatArray,
    quality_level: FloatArray,
    cost_level: FloatArray,
    context_share: float,
    level_shares: FloatArray,
) -> None:
    """From predictions to beliefs within what is possible; ``cost`` comes in units of the price list."""
    for k in range(len(failure)):
        level = min(max(quality_level[k], 0.0), _MOST_VARIANCE)
        relative_sd = math.sqrt(max(cost_level[k], 0.0))
        for n in range(len(quality)):
            quality[n, k] = min(max(quality[n, k], -0.2), 1.2) * (1.0 - failure[k])
            added = max(min(variance[n, k], _MOST_VARIANCE) - level, 0.0)
            width[n, k] = context_share * added + level_shares[k] * level
            cost[n, k] = base[n, k] + max(cost[n, k], least_units[k]) * unit[n, k]
            cost_sd[n, k] = min(relative_sd * unit[n, k], 0.5 * cost[n, k])


@compiled
def _weigh(
    mean: FloatArray, spread: FloatArray, cost: FloatArray, cost_sd: FloatArray, shadow_price: float
) -> None:
    """Turn quality into utility and its variance into the spread that is explored, in place."""
    money = CONTEXT_WIDTH * shadow_price
    for n in range(mean.shape[0]):
        for k in range(mean.shape[1]):
            mean[n, k] -= shadow_price * cost[n, k]
            own = money * cost_sd[n, k]
            spread[n, k] = math.sqrt(spread[n, k] + own * own + SMOOTHING * SMOOTHING)
