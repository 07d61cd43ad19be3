"""Thompson sampling by its exact probabilities, integrated instead of drawn."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fairlead.optimizer.compiled import compiled, compiled_aside
from fairlead.optimizer.policies.base import LARGEST, best_utility
from fairlead.optimizer.types import FloatArray

# A provider this many standard deviations of the difference behind a rival wins with less than 1e-7.
_HOPELESS: Final = 5.2
# The integral covers this many standard deviations around each contender; beyond lies 1.3e-6.
_REACH: Final = 4.7
# The least spread, as a part of the range of the beliefs; and one for certainty, whose square is not 0.
_LEAST_SD: Final = 1e-9
_TINY: Final = 1e-150

_PANELS: Final = 6
_PANEL_WIDTH: Final = 2.0
_GAUSS = np.polynomial.legendre.leggauss(4)
_NODES: Final[FloatArray] = (1.0 + _GAUSS[0]) / 2.0
_WEIGHTS: Final[FloatArray] = _GAUSS[1] / 2.0

# The normal cdf and density at every 1/16, between which they are interpolated by cubics: error 6e-8.
_PER_UNIT: Final = 16.0
_TABLE_END: Final = 5.0
_AT = np.linspace(-_TABLE_END, _TABLE_END, int(2 * _TABLE_END * _PER_UNIT) + 1)
_CDF: Final[FloatArray] = ndtr(_AT)
_DENSITY: Final[FloatArray] = np.exp(-0.5 * _AT * _AT) / math.sqrt(2.0 * math.pi)


class Thompson:
    """Thompson sampling: P(the provider's draw from N(utility, spread²) is the highest), draws independent.

    Thompson 1933. The probabilities are those that sampling would have in the long run, to within 5e-5,
    so that the logged propensity is that of the policy and a replay gives the same numbers. A provider
    that would win less than once in ten million times gets 0; so spreads of 0 make it greedy. Spreads
    below a billionth of the range of the beliefs count as that much.

    >>> import numpy as np
    >>> utility, spread = np.array([[0.7, 0.6, 0.2]]), np.full((1, 3), 0.1)
    >>> Thompson().probabilities(utility, spread).round(3)
    array([[0.76, 0.24, 0.  ]])
    """

    name = "thompson"
    takes_floor = True

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """Probability of being the best; shapes as in `Policy`."""
        result = np.zeros(utility.shape)
        filled = _each_row if len(utility) == 1 else _many_rows
        if utility.ndim != 2 or utility.shape != spread.shape or not filled(utility, spread, result):
            best_utility(utility, spread)
        return result


@compiled_aside
def _many_rows(utility: FloatArray, spread: FloatArray, result: FloatArray) -> bool:
    """Do as `_each_row` while other threads go on, which for a single row costs more than it is worth."""
    return _each_row(utility, spread, result)


@compiled
def _each_row(utility: FloatArray, spread: FloatArray, result: FloatArray) -> bool:
    """Fill in the probabilities; False, with nothing promised, if `best_utility` would raise."""
    n, k = utility.shape
    which = np.empty(k, dtype=np.int64)
    mean, m, sd, shares = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    for row in range(n):
        best = -np.inf
        for i in range(k):
            # Said so that a NaN is refused too.
            if not (utility[row, i] < LARGEST and 0.0 <= spread[row, i] < LARGEST):
                return False
            best = max(best, utility[row, i])
        if best == -np.inf:
            return False
        # Relative to the best, so that a narrow belief keeps its digits next to a large utility.
        for i in range(k):
            mean[i] = utility[row, i] - best
        count = _contenders(mean, spread[row], which, m, sd)
        if count == 1:
            shares[0] = 1.0
        elif count == 2:
            z = (m[0] - m[1]) / math.sqrt(2.0 * (sd[0] * sd[0] + sd[1] * sd[1]))
            shares[0], shares[1] = 0.5 * math.erfc(-z), 0.5 * math.erfc(z)
        else:
            _best_of_many(m[:count], sd[:count], shares[:count])
        total = 0.0
        for i in range(count):
            total += shares[i]
        for i in range(count):
            result[row, which[i]] = shares[i] / total
    return bool(k > 0)


@compiled
def _contenders(
    mean: FloatArray, spread: FloatArray, which: NDArray[np.int64], m: FloatArray, sd: FloatArray
) -> int:
    """Fill in the contenders, those not hopelessly behind the highest lower bound, and count them."""
    low, high, leader = -np.inf, -np.inf, 0
    for i in range(len(mean)):
        if mean[i] - _REACH * spread[i] > low:
            low, leader = mean[i] - _REACH * spread[i], i
        high = max(high, mean[i] + _REACH * spread[i])
    least = _LEAST_SD * (high - low) + _TINY
    top, top_sd = mean[leader], max(spread[leader], least)
    count = 0
    for i in range(len(mean)):
        s = max(spread[i], least)
        if top - mean[i] < _HOPELESS * math.sqrt(s * s + top_sd * top_sd):
            which[count], m[count], sd[count] = i, mean[i], s
            count += 1
    return count


@compiled
def _best_of_many(mean: FloatArray, sd: FloatArray, shares: FloatArray) -> None:
    """Each contender's density × the others' cdf, by Gauss-Legendre on panels, up to a common factor.

    The range in which the highest draw lies is cut where a contender drops out: a part needs panels only
    as fine as the smallest sd of those still in it, so that all parts together are few sd long however
    much the sds differ.
    """
    k = len(mean)
    low = -np.inf
    for i in range(k):
        low = max(low, mean[i] - _REACH * sd[i])
    end = np.maximum(mean + _REACH * sd, low)
    order = np.argsort(end, kind="mergesort")
    end, step = end[order], sd[order]
    for i in range(k - 2, -1, -1):
        step[i] = min(step[i], step[i + 1])
    panels, width = _divide(low, end, step)
    shares[:] = 0.0
    cdf, density = np.empty(k), np.empty(k)
    part, left = 0, low
    for _ in range(panels):
        # Walk `width` units on, each unit as long as the step of the part that it lies in.
        right, rest = left, width
        while part < k - 1 and (end[part] - right) / step[part] < rest:
            rest -= (end[part] - right) / step[part]
            right = end[part]
            part += 1
        right += rest * step[part]
        for node in range(len(_NODES)):
            at = left + (right - left) * _NODES[node]
            product = (right - left) * _WEIGHTS[node]
            for i in range(k):
                _normal((at - mean[i]) / sd[i], i, cdf, density)
                product *= cdf[i]
            for i in range(k):
                if density[i] > 0.0:
                    shares[i] += product / cdf[i] * density[i] / sd[i]
        left = right


@compiled
def _divide(low: float, end: FloatArray, step: FloatArray) -> tuple[int, float]:
    """Return the number of panels for parts with these ends and steps, and their width in units of step."""
    length, start = 0.0, low
    for i in range(len(end)):
        length += (end[i] - start) / step[i]
        start = end[i]
    panels = _PANELS
    while length > panels * _PANEL_WIDTH:
        panels *= 2
    return panels, length / panels


@compiled
def _normal(z: float, i: int, cdf: FloatArray, density: FloatArray) -> None:
    """Write the standard normal cdf and density at z to index i; no node lies far below a contender."""
    if z >= _TABLE_END:
        cdf[i], density[i] = 1.0, 0.0
        return
    position = (z + _TABLE_END) * _PER_UNIT
    left = max(int(position), 0)
    t = position - left
    h = 1.0 / _PER_UNIT
    rise = _CDF[left + 1] - _CDF[left]
    a = h * _DENSITY[left] - rise
    b = rise - h * _DENSITY[left + 1]
    # Hermite's cubic through both values with both slopes, and its derivative.
    cdf[i] = (1.0 - t) * _CDF[left] + t * _CDF[left + 1] + t * (1.0 - t) * ((1.0 - t) * a + t * b)
    density[i] = (rise + (1.0 - 2.0 * t) * ((1.0 - t) * a + t * b) + t * (1.0 - t) * (b - a)) * _PER_UNIT
