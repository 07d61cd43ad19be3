"""Thompson sampling by its exact probabilities, integrated instead of drawn."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from optimizer.policies.base import best_utility
from optimizer.policies.thompson_row import (
    HOPELESS,
    LEAST_SD,
    REACH,
    TINY,
    integrate,
    one_row,
    panels_for,
)
from optimizer.types import FloatArray

_BoolArray = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
_IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Thompson:
    """P(the provider's draw from N(utility, spread²) is the highest), each draw independent.

    Thompson 1933. The probabilities are those that sampling would have in the long run, to within 5e-4,
    so that the logged propensity is that of the policy and a replay gives the same numbers. A provider
    that would win less than once in ten million times gets 0; so spreads of 0 make it greedy. Spreads
    below a billionth of the range of the beliefs count as that much.

    A request that comes alone takes another path through the same arithmetic, where arrays of three
    numbers would cost more than they save; the results are equal bit by bit.
    """

    name = "thompson"

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """Probability of being the best; shapes as in `Policy`."""
        if len(utility) == 1:
            return one_row(utility, spread)
        # Relative to the best, so that a narrow belief keeps its digits next to a large utility.
        mean = utility - best_utility(utility, spread)
        reach = REACH * spread
        low = mean - reach
        leader = low.argmax(axis=1)
        range_ = np.maximum.reduce(mean + reach, axis=1) - np.maximum.reduce(low, axis=1)
        sd = np.maximum(spread, (LEAST_SD * range_ + TINY)[:, None])
        contends = _contenders(mean, sd, leader)
        count = np.count_nonzero(contends, axis=1)
        result = contends.astype(np.float64)
        for rows, solve in ((count == 2, _best_of_two), (count > 2, _best_of_many)):
            if rows.any():
                result[rows] = solve(mean[rows], sd[rows], contends[rows])
        return result


def _contenders(mean: FloatArray, sd: FloatArray, leader: _IntArray) -> _BoolArray:
    """Which providers may win, (n, k): those not hopelessly behind the one whose lower bound is highest."""
    own = leader + np.arange(len(mean)) * mean.shape[1]
    top, top_sd = mean.take(own)[:, None], sd.take(own)[:, None]
    contends: _BoolArray = top - mean < HOPELESS * np.sqrt(sd * sd + top_sd * top_sd)
    return contends


def _best_of_two(mean: FloatArray, sd: FloatArray, contends: _BoolArray) -> FloatArray:
    """Closed form for rows with two contenders: the normal cdf of gap / sd of the difference."""
    base = np.arange(len(mean)) * mean.shape[1]
    first = base + contends.argmax(axis=1)
    second = base + (mean.shape[1] - 1) - contends[:, ::-1].argmax(axis=1)
    z = (mean.take(first) - mean.take(second)) / np.sqrt(sd.take(first) ** 2 + sd.take(second) ** 2)
    result = np.zeros_like(mean)
    result.put(first, ndtr(z))
    result.put(second, ndtr(-z))
    return result


def _best_of_many(mean: FloatArray, sd: FloatArray, contends: _BoolArray) -> FloatArray:
    """Rows with three contenders or more: the sum over providers of density × the others' cdf, integrated."""
    columns = np.flatnonzero(np.logical_or.reduce(contends, axis=0))
    mean = np.where(contends, mean, -np.inf)[:, columns]
    sd = np.where(contends, sd, 1.0)[:, columns]
    low, step, until = _segments(mean, sd)
    # A row's number of panels depends on that row alone, so that it comes out the same in any company.
    panels = np.array([panels_for(total) for total in until[:, -1].tolist()])
    result = np.zeros(contends.shape)
    for number in set(panels.tolist()):
        rows = (panels == number).nonzero()[0]
        edges = _edges(low[rows], step[rows], until[rows], panels=number)
        result[rows[:, None], columns] = integrate(mean[rows], sd[rows], edges)
    normal: FloatArray = result / np.add.reduce(result, axis=1, keepdims=True)
    return normal


def _segments(mean: FloatArray, sd: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Where the highest draw lies, cut where a contender drops out, with the scale that each part needs.

    Returns the lower end (n, 1), and per part the smallest sd of those still in it and the length up
    to the part's end, each part in units of its own sd, both (n, m). Every contender overlaps the lower
    end, so a belief matters only from there to its own upper end, and all parts together are few sd
    long however much the sds differ.
    """
    low = np.maximum.reduce(mean - REACH * sd, axis=1, keepdims=True)
    end = np.maximum(mean + REACH * sd, low)
    order = end.argsort(axis=1, kind="stable") + np.arange(len(mean))[:, None] * mean.shape[1]
    end = end.take(order)
    step = np.minimum.accumulate(sd.take(order)[:, ::-1], axis=1)[:, ::-1]
    length = end.copy()
    length[:, 1:] -= end[:, :-1]
    length[:, :1] -= low
    return low, step, np.add.accumulate(length / step, axis=1)


def _edges(low: FloatArray, step: FloatArray, until: FloatArray, *, panels: int) -> FloatArray:
    """Edges of the panels, (n, panels + 1): equally long in the units of `_segments`."""
    since = np.zeros_like(until)
    since[:, 1:] = until[:, :-1]
    at = (until[:, -1:] * (np.arange(panels + 1) / panels))[:, None, :]
    within = np.minimum(np.maximum(at, since[:, :, None]), until[:, :, None])
    within -= since[:, :, None]
    within *= step[:, :, None]
    edges: FloatArray = low + np.add.reduce(within, axis=1)
    return edges
