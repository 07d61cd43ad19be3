"""Exploration and its price: quotas of newcomers, a floor under every propensity, trials of unseen costs.

A price list is a prior, and only an invoice is the truth. What a list claims to be too dear for the budget
has hardly a floor, so that no invoice would ever come; such a provider is tried, by a floor of its own, a
bounded number of times within a bounded amount of money. The first cost that is believed ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput, finite
from fairlead.optimizer.models.plausibility import LEAST_CONFIRMED, REACH
from fairlead.optimizer.selection.pacer import TOLERANCE
from fairlead.optimizer.types import FloatArray
from fairlead.optimizer.types.arrays import State

BoolArray = NDArray[np.bool_]

ENOUGH_FEEDBACK: Final = 8
"""Feedback values after which a provider is no longer a newcomer."""

MOST_CALLS: Final = 2 * LEAST_CONFIRMED
"""Decisions for one provider after which it is no longer tried: twice as many as confirm a cost that its list
contradicts, since some calls fail, or their costs come late."""

_BELIEVABLE: Final = 90.0
"""How much dearer than the others a provider is believed to be: a little less than 100, the mildest of usual
errors of unit, since honest lists of a cheap and a strong model are nearly as far apart."""

_BELIEVABLE_IN_NEED: Final = 2.0**REACH
"""The same where none of the known keeps the budget: whoever set it knows of somebody cheaper, so that a list
is probably wrong."""


class Newcomers:
    """The providers added to a running route, and their quota until they have enough feedback."""

    def __init__(self, *, share: float) -> None:
        self.share = share
        self.names: set[str] = set()

    def configure(self, before: Sequence[str], after: Sequence[str], *, share: float) -> None:
        """Make providers that are only in ``after`` newcomers, and forget those that have left."""
        self.share = share
        self.names = (self.names | (set(after) - set(before))) & set(after)

    def graduate(self, counts: Mapping[str, int]) -> bool:
        """Drop newcomers that have enough feedback by ``counts``; returns whether there were any."""
        graduates = {name for name in self.names if counts.get(name, 0) >= ENOUGH_FEEDBACK}
        self.names -= graduates
        return bool(graduates)

    def with_quotas(
        self,
        probabilities: FloatArray,
        *,
        names: Sequence[str],
        cost_usd: FloatArray,
        ineligible: Mapping[str, str],
        target_usd: float | None,
    ) -> FloatArray:
        """Give each newcomer its quota, by `newcomer_quota`, if a request may cost ``target_usd`` on average.

        The others keep the proportions of ``probabilities`` (k,).
        """
        new = np.array([name in self.names and name not in ineligible for name in names])
        if not new.any() or new.all() or not probabilities[~new].sum() > 0:
            return probabilities
        quota = newcomer_quota(new, cost_usd, target_usd, share=self.share)
        others = np.where(new, 0.0, probabilities)
        result: FloatArray = others / others.sum() * (1.0 - quota.sum()) + quota
        return result


def spare_usd(cost_usd: FloatArray, target_usd: float) -> float:
    """Return what of ``target_usd`` per request may go to exploring, for expected costs (k,) of providers.

    It is what the cheapest leaves over, and at least `TOLERANCE` of the target.
    """
    return max(target_usd - float(cost_usd.min()), TOLERANCE * target_usd)


def newcomer_quota(
    new: NDArray[np.bool_], cost_usd: FloatArray, target_usd: float | None, *, share: float
) -> FloatArray:
    """Return the share of requests of each ``new`` provider and 0 for the others, shape (k,).

    Newcomers divide one ``share`` of requests among them. By how much they are dearer than the cheapest of
    the others comes to no more than that share of what these leave over of the target; None does not price.
    """
    quota: FloatArray = np.where(new, share / max(int(new.sum()), 1), 0.0)
    if target_usd is None or new.all():
        return quota
    others_usd = cost_usd[~new]
    extra = cost_usd - others_usd.min()
    spare = spare_usd(others_usd, target_usd)
    priced: FloatArray = quota * np.divide(spare, extra, out=np.ones(len(extra)), where=extra > spare)
    return priced


def priced_floor(expected_cost_usd: FloatArray, spare_usd: float, *, share: float) -> FloatArray:
    """Return the least probability of each provider, shape (k,), for expected costs (k,) without NaN.

    floor = share / k × min(1, spare / extra), where extra is the USD by which a provider is dearer than the
    cheapest. So all floors together spend at most share × spare more than the cheapest provider would.
    ``spare_usd`` is what a request may cost beyond the cheapest; infinity does not price at all.
    """
    finite("share", share, low=0, high=1, remedy="give the share of requests to explore with, in [0, 1]")
    if not spare_usd >= 0:
        raise InvalidInput(f"spare_usd is {spare_usd:g}: give USD per request of at least 0")
    extra = expected_cost_usd - expected_cost_usd.min()
    part = np.divide(spare_usd, extra, out=np.ones(len(extra)), where=extra > spare_usd)
    floor: FloatArray = share / len(extra) * part
    return floor


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Who is tried for its cost, and how: arrays have shape (k,)."""

    floor: FloatArray
    """Least probability of each provider that is tried, 0 for the others."""
    usd: FloatArray
    """What the calls of each may cost together at most, as its cost is believed; 0 for the others."""
    calls: NDArray[np.int64]
    """How many more calls each may get."""

    def reasons(self, names: Sequence[str]) -> Mapping[str, str]:
        """Say of those that are tried, by name, how much may be spent on it."""
        return {
            names[i]: "its real cost was never seen: it is tried in "
            f"{self.floor[i]:.2g} of requests, {self.calls[i]} times at most, for up to ${self.usd[i]:.3g}"
            for i in np.flatnonzero(self.floor).tolist()
        }

    def state(self) -> State:
        """Return the arrays."""
        return {"floor": self.floor, "usd": self.usd, "calls": self.calls}


NOBODY: Final = Trials(floor=np.zeros(0), usd=np.zeros(0), calls=np.zeros(0, dtype=np.int64))


def cost_trials(
    cost_usd: FloatArray,
    *,
    unknown: BoolArray,
    doubted: BoolArray,
    calls: NDArray[np.int64],
    spent_usd: FloatArray,
    fund_usd: FloatArray,
    share: float,
) -> Trials:
    """Return who of k providers is tried, by the costs (k,) that are believed of a call.

    All trials together may cost what ``fund_usd`` (k,) is for one of them. ``spent_usd`` (k,) is what those
    cost whose trial is over; with the rest one call more of the ``unknown`` is paid for beside their
    ``calls`` (k,), of the ``doubted`` first, whose list is probably wrong, and of the cheapest. Whom the fund
    suffices for has a part of the ``share`` of requests.
    """
    unknown = unknown & (calls < MOST_CALLS)
    need_usd = np.where(unknown, (calls + 1) * cost_usd, 0.0)
    order = np.lexsort((need_usd, ~doubted))
    total_usd = np.empty(len(need_usd))
    total_usd[order] = np.cumsum(need_usd[order])
    tried = unknown & (spent_usd.sum() + total_usd <= fund_usd)
    floor = np.where(tried, share / max(int(tried.sum()), 1), 0.0)
    left = np.where(tried, MOST_CALLS - calls, 0)
    return Trials(floor=floor, usd=np.where(tried, need_usd, 0.0), calls=left)


def believable(
    cost_usd: FloatArray,
    listed_usd: FloatArray,
    *,
    is_paid: BoolArray,
    list_factors: Sequence[float],
    in_need: bool = False,
) -> FloatArray:
    """Return what a call of each of k providers is believed to cost, for those that were never paid for.

    If the lists of others are wrong, by ``list_factors``, theirs are wrong by as much. Lists are compared
    with lists, by what a call costs by each, ``listed_usd`` (k,), since few invoices say little. One that
    claims more than 90 times the median, or lies beyond a wider gap above the median and the dearest that was
    paid, is taken for an error of unit, and its provider costs as much as that of the median, or as the last
    before the gap; ``in_need``, where nobody who was paid keeps the budget, if it claims 32 times as much.

    >>> lists = np.array([1.0, 20.0, 5_000.0])
    >>> believable(lists, lists, is_paid=np.array([True, False, False]), list_factors=[1.0])
    array([ 1., 20., 20.])
    """
    most_times = _BELIEVABLE_IN_NEED if in_need else _BELIEVABLE
    factors = sorted(list_factors)
    factor = min(factors[len(factors) // 2], 1.0) if factors else 1.0
    believed = np.where(is_paid, cost_usd, cost_usd * factor)
    listed = np.where(is_paid, listed_usd, listed_usd * factor)
    ascending = np.argsort(listed, kind="stable")
    at_median = ascending[(len(ascending) - 1) // 2]
    first = min(listed[at_median], listed[is_paid].max()) if is_paid.any() else listed[at_median]
    upper = ascending[listed[ascending] >= first]
    wide = np.flatnonzero(listed[upper][1:] > most_times * listed[upper][:-1])
    at_last = upper[wide[0]] if len(wide) else upper[-1]
    beyond = np.where(listed > listed[at_last], believed[at_last], believed)
    beyond = np.where(listed > most_times * listed[at_median], believed[at_median], beyond)
    return np.where(is_paid, cost_usd, np.minimum(believed, beyond))
