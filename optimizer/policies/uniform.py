"""Every eligible provider equally likely."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.policies.base import best_utility, equal_shares
from fairlead.optimizer.types import FloatArray


class Uniform:
    """Blind to utility: any other policy can be evaluated from its log, at the price of the mean.

    >>> import numpy as np
    >>> utility, spread = np.array([[0.7, 0.6, 0.2]]), np.full((1, 3), 0.1)
    >>> Uniform().probabilities(utility, spread).round(3)
    array([[0.333, 0.333, 0.333]])
    """

    name = "uniform"
    takes_floor = False

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """Equal shares among the providers of finite utility; shapes as in `Policy`."""
        best_utility(utility, spread)
        return equal_shares(utility > -np.inf)
