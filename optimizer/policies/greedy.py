"""The provider of highest utility, always."""

from __future__ import annotations

from fairlead.optimizer.policies.base import best_utility, equal_shares
from fairlead.optimizer.types import FloatArray


class Greedy:
    """Never explores; providers of exactly equal utility share equally.

    >>> import numpy as np
    >>> utility, spread = np.array([[0.7, 0.6, 0.2]]), np.full((1, 3), 0.1)
    >>> Greedy().probabilities(utility, spread).round(3)
    array([[1., 0., 0.]])
    """

    name = "greedy"
    takes_floor = False

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """One for the best, zero for the rest; shapes as in `Policy`."""
        return equal_shares(utility == best_utility(utility, spread))
