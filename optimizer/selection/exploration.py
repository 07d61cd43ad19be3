"""A provider that is added to a running route gets known within a capped share of traffic and money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

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

    def learned(self, counts: Mapping[str, int]) -> bool:
        """Those that have been judged often enough are no longer new; whether there were any."""
        known = {name for name in self.names if counts.get(name, 0) >= ENOUGH_FEEDBACK}
        self.names -= known
        return bool(known)

    def capped(
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
