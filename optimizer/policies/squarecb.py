"""Inverse gap weighting: the further behind the best, the less likely."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.errors import finite
from fairlead.optimizer.policies.base import best_utility
from fairlead.optimizer.types import FloatArray


class SquareCB:
    """Inverse gap weighting: p = 1 / (k + gamma × gap) for all but the best, which takes the rest.

    Foster & Rakhlin 2020, algorithm 1. k counts the eligible providers and gap is in units of utility, so
    ``gamma`` is in its inverse: a provider 1/gamma × k behind the best gets half of a uniform share.
    Providers that tie for the best share the rest equally. The spread is not used.

    >>> import numpy as np
    >>> utility, spread = np.array([[0.7, 0.6, 0.2]]), np.full((1, 3), 0.1)
    >>> SquareCB(gamma=10).probabilities(utility, spread).round(3)
    array([[0.625, 0.25 , 0.125]])
    """

    takes_floor = False

    def __init__(self, *, gamma: float = 100.0) -> None:
        remedy = "give the weight of a gap in utility, at least 0 (0 explores uniformly)"
        self.gamma = finite("gamma", gamma, low=0, high=1e12, remedy=remedy)

    @property
    def name(self) -> str:
        """``squarecb:GAMMA``."""
        return f"squarecb:{self.gamma:.12g}"

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """Inverse-gap weights; shapes as in `Policy`."""
        best = best_utility(utility, spread)
        eligible = np.count_nonzero(utility > -np.inf, axis=1)[:, None]
        tied = utility == best
        gap = np.where(utility > -np.inf, best - utility, 0.0)
        weight = np.where((utility > -np.inf) & ~tied, 1.0 / (eligible + self.gamma * gap), 0.0)
        rest = 1.0 - weight.sum(axis=1, keepdims=True)
        shared: FloatArray = np.where(tied, rest / np.count_nonzero(tied, axis=1)[:, None], weight)
        return shared
