"""A Gaussian belief about weights: what it predicts, and how one observation changes it; compiled loops."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.compiled import compiled, compiled_aside

FloatArray = NDArray[np.float64]

_LEAST_LEFT: Final = 0.05
"""An observation is taken back by computing anew where it leaves less of its noise than this."""


@compiled
def condition(
    mean: FloatArray,
    cov: FloatArray,
    x: FloatArray,
    target: float,
    noise: float,
    centre: FloatArray,
    level_variance: FloatArray,
    place: int,
) -> bool:
    """Condition a Gaussian belief about weights, in place, on one observation; False where it cannot.

    Bishop (2006), eqs. 2.113-2.117 for a scalar observation of variance ``noise``. A negative ``noise``
    takes an observation back.
    """
    d = len(x)
    turned = np.zeros(d)
    for i in range(d):
        # cov is symmetric: columns are read as rows, in the order of memory.
        row, at = cov[i], x[i]
        for j in range(d):
            turned[j] += at * row[j]
    variance, expected, level = 0.0, 0.0, 0.0
    for i in range(d):
        variance += turned[i] * x[i]
        expected += mean[i] * x[i]
        level += turned[i] * centre[i]
    total = noise + variance
    if noise < 0.0 and total > _LEAST_LEFT * noise:
        return False
    for i in range(d):
        gain = turned[i] / total
        mean[i] += gain * (target - expected)
        row = cov[i]
        for j in range(d):
            row[j] -= gain * turned[j]
    level_variance[place] -= level * level / total
    return True


@compiled
def predict(
    rows: FloatArray, weights: FloatArray, cov: FloatArray, mean: FloatArray, variance: FloatArray
) -> None:
    """Mean and variance of x·w for rows (n, d), weights (k, d) and cov (k, d, d); each result (n, k)."""
    d = rows.shape[1]
    turned = np.empty(d)
    for k in range(len(weights)):
        for n in range(len(rows)):
            # Of the symmetric cov only the upper half is read: reading it is what takes the time. Slices
            # of rows let the compiler work on several numbers at once.
            expected, total = 0.0, 0.0
            turned[:] = 0.0
            for i in range(d):
                x, row = rows[n, i], cov[k, i]
                expected += x * weights[k, i]
                turned[i] += 0.5 * x * row[i]
                right, rest = turned[i + 1 :], row[i + 1 :]
                for j in range(len(right)):
                    right[j] += x * rest[j]
            for i in range(d):
                total += turned[i] * rows[n, i]
            mean[n, k] = expected
            variance[n, k] = max(2.0 * total, 1e-12)


@compiled_aside
def predict_many(
    rows: FloatArray, weights: FloatArray, cov: FloatArray, mean: FloatArray, variance: FloatArray
) -> None:
    """As `predict`; other threads go on meanwhile, which for a single row costs more than it is worth."""
    predict(rows, weights, cov, mean, variance)
