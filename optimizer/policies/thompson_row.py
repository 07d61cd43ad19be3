"""Thompson probabilities of a single request, and the integral that rows alone and in batches share."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.special import ndtr

from optimizer.policies.base import LARGEST, best_utility
from optimizer.types import FloatArray

# A provider this many standard deviations of the difference behind a rival wins with less than 1e-7.
HOPELESS: Final = 5.2
# The integral covers this many standard deviations around each contender; beyond lies 1.3e-6.
REACH: Final = 4.7
# The least spread, as a part of the range of the beliefs; and one for certainty, whose square is not 0.
LEAST_SD: Final = 1e-9
TINY: Final = 1e-150

_PANELS: Final = 6
_PANEL_WIDTH: Final = 2.0
_GAUSS = np.polynomial.legendre.leggauss(4)
_NODES: Final[FloatArray] = (1.0 + _GAUSS[0]) / 2.0
_WEIGHTS: Final[FloatArray] = _GAUSS[1] / 2.0


def panels_for(length: float) -> int:
    """How many panels a range of ``length`` standard deviations is cut into: 6, doubled as needed."""
    panels = _PANELS
    while length > panels * _PANEL_WIDTH:
        panels *= 2
    return panels


def integrate(mean: FloatArray, sd: FloatArray, edges: FloatArray) -> FloatArray:
    """Each contender's density × the others' cdf, by Gauss-Legendre on every panel; (n, m), up to scale."""
    n = len(mean)
    left = edges[:, :-1, None]
    panel = edges[:, 1:, None] - left
    z = (left + panel * _NODES).reshape(n, 1, -1) - mean[:, :, None]
    z /= sd[:, :, None]
    # Never 0: no node lies more than REACH below a contender.
    cdf = ndtr(z)
    z *= z
    z *= -0.5
    density = np.exp(z, out=z)
    density /= cdf
    density *= np.multiply.reduce(cdf, axis=1, keepdims=True) * (panel * _WEIGHTS).reshape(n, 1, -1)
    shares: FloatArray = np.add.reduce(density, axis=2)
    shares /= sd
    return shares


def one_row(utility: FloatArray, spread: FloatArray) -> FloatArray:
    """Probability of being the best for one request, (1, k), by the steps of `Thompson.probabilities`."""
    columns, mean, sd = _contenders(utility, spread)
    result = np.zeros(utility.shape)
    if len(columns) == 1:
        result[0, columns[0]] = 1.0
    elif len(columns) == 2:
        z = (mean[0] - mean[1]) / math.sqrt(sd[0] * sd[0] + sd[1] * sd[1])
        result[0, columns[0]], result[0, columns[1]] = ndtr(z), ndtr(-z)
    else:
        result[0, columns] = integrate(np.array([mean]), np.array([sd]), np.array([_edges(mean, sd)]))[0]
        result /= np.add.reduce(result, axis=1, keepdims=True)
    return result


def _contenders(utility: FloatArray, spread: FloatArray) -> tuple[list[int], list[float], list[float]]:
    """Columns of the providers that may win, their utility below the best one's, and their spread."""
    if utility.ndim != 2 or utility.shape != spread.shape or not utility.size:
        best_utility(utility, spread)
    utilities: list[float] = utility[0].tolist()
    spreads: list[float] = spread[0].tolist()
    best = max(utilities)
    # A sum is NaN or infinite as soon as one term is; best_utility then says which, or that all is well.
    if not (sum(utilities) < LARGEST and -math.inf < best and min(spreads) >= 0 and sum(spreads) < LARGEST):
        best = best_utility(utility, spread).item()
    means = [u - best for u in utilities]
    lows = [m - REACH * s for m, s in zip(means, spreads, strict=True)]
    low = max(lows)
    least = LEAST_SD * (max([m + REACH * s for m, s in zip(means, spreads, strict=True)]) - low) + TINY
    leader = lows.index(low)
    top, top_sd = means[leader], max(spreads[leader], least)
    columns, mean, sd = [], [], []
    for i, m in enumerate(means):
        s = spreads[i] if spreads[i] > least else least
        if top - m < HOPELESS * math.sqrt(s * s + top_sd * top_sd):
            columns.append(i)
            mean.append(m)
            sd.append(s)
    return columns, mean, sd


def _edges(mean: list[float], sd: list[float]) -> list[float]:
    """Edges of the panels for one request; `optimizer.policies.thompson` explains where they lie."""
    low = max([m - REACH * s for m, s in zip(mean, sd, strict=True)])
    ends = [max(m + REACH * s, low) for m, s in zip(mean, sd, strict=True)]
    order = sorted(range(len(ends)), key=ends.__getitem__)
    step = [sd[i] for i in order]
    for i in range(len(step) - 2, -1, -1):
        if step[i + 1] < step[i]:
            step[i] = step[i + 1]
    until, total, start = [], 0.0, low
    for i, scale in zip(order, step, strict=True):
        total += (ends[i] - start) / scale
        start = ends[i]
        until.append(total)
    panels = panels_for(total)
    edges, part, since, passed = [low], 0, 0.0, 0.0
    for number in range(1, panels + 1):
        at = total * (number / panels)
        while at > until[part]:
            passed += (until[part] - since) * step[part]
            since = until[part]
            part += 1
        edges.append(low + (passed + (at - since) * step[part]))
    return edges
