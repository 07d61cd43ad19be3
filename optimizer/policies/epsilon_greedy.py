"""The best provider, and with a fixed probability any."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.errors import finite
from fairlead.optimizer.policies.base import best_utility, equal_shares
from fairlead.optimizer.types import FloatArray


class EpsilonGreedy:
    """(1 − epsilon) × greedy + epsilon × uniform over the eligible providers; epsilon in [0, 1].

    >>> import numpy as np
    >>> utility, spread = np.array([[0.7, 0.6, 0.2]]), np.full((1, 3), 0.1)
    >>> EpsilonGreedy(epsilon=0.3).probabilities(utility, spread).round(3)
    array([[0.8, 0.1, 0.1]])
    """

    takes_floor = False

    def __init__(self, *, epsilon: float = 0.05) -> None:
        remedy = "give the share of requests to spread over all providers, in [0, 1]"
        self.epsilon = finite("epsilon", epsilon, low=0, high=1, remedy=remedy)

    @property
    def name(self) -> str:
        """``epsilon-greedy:EPSILON``."""
        return f"epsilon-greedy:{self.epsilon:.12g}"

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """Mix greedy and uniform; shapes as in `Policy`."""
        greedy = equal_shares(utility == best_utility(utility, spread))
        return (1.0 - self.epsilon) * greedy + self.epsilon * equal_shares(utility > -np.inf)
