"""Exploration and its price: quotas for newcomers, and a floor under every propensity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput, finite
from fairlead.optimizer.selection.pacer import TOLERANCE
from fairlead.optimizer.types import FloatArray

ENOUGH_FEEDBACK: Final = 8
"""Feedback values after which a provider is no longer a newcomer."""


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
