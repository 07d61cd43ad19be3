"""A provider that is added to a running route gets known within a with_quotas share of traffic and money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput, finite
from fairlead.optimizer.types import FloatArray

ENOUGH_FEEDBACK: Final = 8
"""Judgements after which a provider is no newcomer."""


class Newcomers:
    """Which providers are new, and what they may take until they are known."""

    def __init__(self, *, share: float) -> None:
        self.share = share
        self.names: set[str] = set()

    def configure(self, before: Sequence[str], after: Sequence[str], *, share: float) -> None:
        """Providers that are in ``after`` alone are new."""
        self.share = share
        self.names = (self.names | (set(after) - set(before))) & set(after)

    def graduate(self, counts: Mapping[str, int]) -> bool:
        """Those that have been judged often enough are no longer new; whether there were any."""
        known = {name for name in self.names if counts.get(name, 0) >= ENOUGH_FEEDBACK}
        self.names -= known
        return bool(known)

    def with_quotas(
        self,
        probabilities: FloatArray,
        names: Sequence[str],
        cost_usd: FloatArray,
        ruled_out: Mapping[str, str],
        target_usd: float | None,
    ) -> FloatArray:
        """Give each newcomer its quota: at most the share of requests, and of the budget."""
        new = np.array([name in self.names and name not in ruled_out for name in names])
        if not new.any() or new.all() or not probabilities[~new].sum() > 0:
            return probabilities
        quota = np.where(new, self.share / new.sum(), 0.0)
        if target_usd is not None:
            quota = np.minimum(quota, self.share * target_usd / np.maximum(cost_usd, 1e-12))
        known = np.where(new, 0.0, probabilities)
        result: FloatArray = known / known.sum() * (1.0 - quota.sum()) + quota * new
        return result


def priced_floor(
    expected_cost_usd: FloatArray,
    budget_usd: float | None,
    *,
    share: float,
    eligible: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None = None,
) -> FloatArray:
    """The least probability of each provider, shape as ``expected_cost_usd``: (k,) or (n, k).

    floor = share / k × min(1, budget / extra), where k counts the eligible providers and extra is the
    USD by which a provider is dearer than the cheapest of them. So all floors together spend at most
    share × budget more than the cheapest would. ``budget_usd`` is per request; None prices against the
    cheapest provider's own cost, and infinity does not price at all. A cost that is unknown (NaN) has
    floor 0, and so has a provider that is not ``eligible`` (None: all are).
    """
    finite("share", share, low=0, high=1, remedy="give the share of requests to explore with, in [0, 1]")
    if budget_usd is not None and not budget_usd >= 0:
        raise InvalidInput(f"budget_usd is {budget_usd:g}: give USD per request of at least 0, or None")
    known = expected_cost_usd == expected_cost_usd
    count: int | np.ndarray[tuple[int, ...], np.dtype[np.int64]] = expected_cost_usd.shape[-1]
    if eligible is not None:
        known = known & eligible
        count = np.maximum(eligible.sum(axis=-1, keepdims=True), 1)
    cost = np.where(known, expected_cost_usd, np.inf)
    cheapest = cost.min(axis=-1, keepdims=True)
    limit = cheapest if budget_usd is None else budget_usd
    affordable = known & (cost < np.inf)
    extra = np.where(affordable, cost, 0.0) - np.where(cheapest < np.inf, cheapest, 0.0)
    dear = affordable & (extra > limit)
    part = np.divide(limit, extra, out=affordable.astype(np.float64), where=dear)
    floor: FloatArray = share / count * part
    return floor
