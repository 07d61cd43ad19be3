"""The linear algebra of posteriors as compiled loops: inversion, and pooling of what providers share.

`invert` is the one place of the algorithm that inverts matrices.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from fairlead.optimizer.compiled import IS_COMPILED, compiled, compiled_aside
from fairlead.optimizer.types.arrays import FloatArray

_LEAST_LEFT: Final = 0.05
"""If removing an observation leaves less of its noise than this share, the belief is recomputed."""

WIDEST: Final = 96
"""Wider matrices leave the processor's first cache, and LAPACK, which works in blocks, is quicker."""


def invert(stack: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Invert symmetric positive definite matrices (..., d, d); their inverses and log-determinants (...).

    Raises `numpy.linalg.LinAlgError` if one is not positive definite. Other threads of the process go on
    meanwhile, so that a service answers while it fits.
    """
    d = stack.shape[-1]
    if not IS_COMPILED or d > WIDEST:
        diagonal = np.diagonal(np.linalg.cholesky(stack), axis1=-2, axis2=-1)
        if not np.isfinite(diagonal).all():
            raise np.linalg.LinAlgError("a matrix holds NaN or infinity")
        inverse = np.linalg.inv(stack)
        return (inverse + np.swapaxes(inverse, -1, -2)) / 2, 2.0 * np.log(diagonal).sum(axis=-1)
    inverse, log_determinant = np.empty(stack.shape), np.empty(stack.shape[:-2])
    bad = _invert(
        np.ascontiguousarray(stack).reshape(-1, d, d), inverse.reshape(-1, d, d), log_determinant.reshape(-1)
    )
    if bad >= 0:
        raise np.linalg.LinAlgError(f"matrix {bad} is not positive definite")
    return inverse, log_determinant


@compiled_aside
def _invert(stack: FloatArray, inverse: FloatArray, log_determinant: FloatArray) -> int:
    """Fill in both, by A = UᵀU and A⁻¹ = U⁻¹U⁻ᵀ; the index of a matrix that has none, or -1."""
    d = stack.shape[1]
    upper, work = np.zeros((d, d)), np.zeros((d, d))
    for m in range(len(stack)):
        if _is_diagonal(stack[m]):
            # As it is for a provider that nothing was learned of.
            log_determinant[m] = _invert_diagonal(stack[m], inverse[m])
        else:
            upper[:] = stack[m]
            log_determinant[m] = _factorise(upper)
            if log_determinant[m] == log_determinant[m]:
                _invert_factor(upper, inverse[m])
                _multiply_with_itself(inverse[m], work)
        if log_determinant[m] != log_determinant[m]:
            return m
    return -1


@compiled_aside
def _is_diagonal(a: FloatArray) -> bool:
    for i in range(len(a)):
        for j in range(i):
            if a[i, j] != 0.0:
                return False
    return True


@compiled_aside
def _invert_diagonal(a: FloatArray, inverse: FloatArray) -> float:
    """Fill in the inverse of a diagonal matrix; its log-determinant, NaN if it is not positive definite."""
    inverse[:] = 0.0
    log_determinant = 0.0
    for i in range(len(a)):
        if not a[i, i] > 0.0:
            return math.nan
        inverse[i, i] = 1.0 / a[i, i]
        log_determinant += math.log(a[i, i])
    return log_determinant


@compiled_aside
def _factorise(a: FloatArray) -> float:
    """Turn the upper half of A into U of A = UᵀU; log det A, NaN if it is not positive definite."""
    d = len(a)
    total = 0.0
    # U row by row, so that the compiler can work on several numbers of a row at once.
    for i in range(d):
        row = a[i]
        if not row[i] > 0.0:
            return math.nan
        pivot = math.sqrt(row[i])
        total += math.log(pivot)
        for j in range(i, d):
            row[j] /= pivot
        for r in range(i + 1, d):
            factor, below = row[r], a[r]
            for j in range(r, d):
                below[j] -= factor * row[j]
    return 2.0 * total


@compiled_aside
def _invert_factor(upper: FloatArray, inverse: FloatArray) -> None:
    """Fill in U⁻ᵀ, row by row."""
    inverse[:] = 0.0
    for i in range(len(upper)):
        row, scale = inverse[i], 1.0 / upper[i, i]
        for r in range(i):
            factor, above = upper[r, i], inverse[r]
            for j in range(r + 1):
                row[j] -= factor * above[j]
        for j in range(i):
            row[j] *= scale
        row[i] = scale


@compiled_aside
def _multiply_with_itself(lower: FloatArray, work: FloatArray) -> None:
    """Replace L by LᵀL, a sum over rows of which only the lower half is computed."""
    d = len(lower)
    work[:] = 0.0
    for r in range(d):
        row = lower[r]
        for i in range(r + 1):
            factor, target = row[i], work[i]
            for j in range(i + 1):
                target[j] += factor * row[j]
    for i in range(d):
        for j in range(i + 1):
            lower[i, j] = work[i, j]
            lower[j, i] = work[i, j]


@compiled_aside
def pool_information(
    members: tuple[FloatArray, FloatArray, FloatArray], moment: FloatArray, information: FloatArray
) -> FloatArray:
    """Sum up the evidence of all providers about their common part w_0.

    Adds Σ_k (Λ − Λ A_k⁻¹ Λ) / σ² to ``information`` (p, d, d), and returns Σ_k Λ A_k⁻¹ m_k / σ², (p, d).
    ``members`` holds precisions Λ (p, d), inverses A⁻¹ (p, k, d, d) and noise σ² (p, k) of p patterns;
    ``moment`` is m (k, d).
    """
    precision, inverse, noise = members
    patterns, providers, d, _ = inverse.shape
    pull = np.zeros((patterns, d))
    for p in range(patterns):
        for k in range(providers):
            share = 1.0 / noise[p, k]
            for i in range(d):
                own = precision[p, i] * share
                row, target, along = inverse[p, k, i], information[p, i], precision[p]
                applied = 0.0
                for j in range(d):
                    target[j] -= own * row[j] * along[j]
                    applied += row[j] * moment[k, j]
                target[i] += own
                pull[p, i] += own * applied
    return pull


@compiled
def condition(
    belief: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    index: int,
    x: FloatArray,
    target: float,
    noise: float,
) -> bool:
    """Condition one provider's Gaussian belief, in place, on one observation; False if it cannot.

    Bishop (2006), eqs. 2.113-2.117 for a scalar observation of variance ``noise``. A negative ``noise``
    takes an observation back. ``belief`` holds the mean of the weights (k, d), their covariance (k, d, d),
    the average context (d,), and the variance of each expectation there (k,).
    """
    mean, cov, centre, level_variance = belief[0][index], belief[1][index], belief[2], belief[3]
    d = len(x)
    turned = np.zeros(d)
    for i in range(d):
        # cov is symmetric: columns are read as rows, in the order of memory.
        row, at = cov[i], x[i]
        if at != 0.0:
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
    level_variance[index] -= level * level / total
    return True
