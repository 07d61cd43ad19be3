"""Utility: quality less what cost and latency weigh, and how uncertain it is."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.models.prediction import CONTEXT_WIDTH, Prediction
from fairlead.optimizer.types import FloatArray

SMOOTHING: Final = 0.002
"""Least spread of a utility, in points of quality: keeps the distribution continuous in the shadow price."""


def utility(
    prediction: Prediction, *, shadow_price: float, latency_weight: float
) -> tuple[FloatArray, FloatArray]:
    """Return mean utility and its spread, quality − λ cost − weight × latency, each of shape (n, k).

    A provider without a latency history is taken to be as quick as the others are on average.
    """
    mean, spread = np.empty(prediction.quality.shape), np.empty(prediction.quality.shape)
    _weigh(prediction.expected, prediction.explored_variance, shadow_price, mean, spread)
    if latency_weight:
        latency_s, has_history = prediction.latency_s, np.isfinite(prediction.latency_s)
        typical = float(latency_s[has_history].mean()) if has_history.any() else 0.0
        mean -= latency_weight * np.where(has_history, latency_s, typical)
    return mean, spread


@compiled
def _weigh(
    expected: FloatArray,
    explored_variance: FloatArray,
    shadow_price: float,
    mean: FloatArray,
    spread: FloatArray,
) -> None:
    """Fill in the mean of the utility without latency, and the spread that is explored."""
    quality, cost, cost_sd = expected[0], expected[2], expected[3]
    money = CONTEXT_WIDTH * shadow_price
    for n in range(mean.shape[0]):
        for k in range(mean.shape[1]):
            mean[n, k] = quality[n, k] - shadow_price * cost[n, k]
            own = money * cost_sd[n, k]
            spread[n, k] = math.sqrt(explored_variance[n, k] + own * own + SMOOTHING * SMOOTHING)
