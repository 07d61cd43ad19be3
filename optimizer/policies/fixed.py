"""One provider for everything: what a team has before it routes."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.policies.base import best_utility, equal_shares
from fairlead.optimizer.types import FloatArray


class Fixed:
    """Always the provider in column ``index``; if it is ruled out, the best of the others.

    ``provider`` is its name, for reports; without it, the index is shown.

    >>> import numpy as np
    >>> utility, spread = np.array([[0.7, 0.6, 0.2]]), np.full((1, 3), 0.1)
    >>> Fixed(index=1).probabilities(utility, spread).round(3)
    array([[0., 1., 0.]])
    """

    takes_floor = False

    def __init__(self, *, index: int, provider: str | None = None) -> None:
        if index < 0:
            raise InvalidInput(
                f"index of the fixed provider is {index}: give its position on the route, from 0"
            )
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
