"""A floor under every propensity, priced: what exploring a provider costs decides how often it is done."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.errors import InvalidInput, finite
from fairlead.optimizer.types import FloatArray


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
