"""One provider for everything: what a team has before it routes."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.policies.base import best_utility, equal_shares
from fairlead.optimizer.types import FloatArray


class Fixed:
    """Always the provider in column ``index``; where it is ruled out, the best of the others.

    ``provider`` is its name, for reports; the index stands in where it is left out.
    """

    takes_floor = False

    def __init__(self, *, index: int, provider: str | None = None) -> None:
        if index < 0:
            raise InvalidInput(f"index of the fixed provider is {index}: give its place on the route, from 0")
        self.index = index
        self.name = f"fixed:{index if provider is None else provider}"

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """One for the fixed provider, zero for the rest; shapes as in `Policy`."""
        best = best_utility(utility, spread)
        if self.index >= utility.shape[1]:
            raise InvalidInput(
                f"{self.name} is in column {self.index}, but there are {utility.shape[1]} providers: "
                "make the policy from the route's own list"
            )
        chosen = utility == best
        open_to_it = utility[:, self.index] > -np.inf
        chosen[open_to_it] = False
        chosen[open_to_it, self.index] = True
        return equal_shares(chosen)
