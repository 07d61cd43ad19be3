"""Optimism: the provider whose upper confidence bound is highest."""

from __future__ import annotations

from fairlead.optimizer.errors import finite
from fairlead.optimizer.policies.base import best_utility, equal_shares
from fairlead.optimizer.types import FloatArray


class LinUCB:
    """argmax of utility + alpha × spread (Li et al. 2010, algorithm 1); equal bounds share equally.

    Deterministic, so no other policy can be evaluated from its log unless a floor is put under it.

    >>> import numpy as np
    >>> utility, spread = np.array([[0.7, 0.6, 0.2]]), np.array([[0.05, 0.15, 0.1]])
    >>> LinUCB(alpha=2).probabilities(utility, spread).round(3)
    array([[0., 1., 0.]])
    """

    takes_floor = False

    def __init__(self, *, alpha: float = 1.0) -> None:
        remedy = "give the number of standard deviations of optimism, at least 0"
        self.alpha = finite("alpha", alpha, low=0, high=1e3, remedy=remedy)

    @property
    def name(self) -> str:
        """``linucb:ALPHA``."""
        return f"linucb:{self.alpha:.12g}"

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """One for the highest bound, zero for the rest; shapes as in `Policy`."""
        best_utility(utility, spread)
        bound = utility + self.alpha * spread
        return equal_shares(bound == bound.max(axis=1, keepdims=True))
