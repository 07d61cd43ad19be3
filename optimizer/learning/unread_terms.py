"""Whether the texts of a route have become others than those that its encoder was learned of.

The share of a text's terms that the encoder does not know is about the same for texts of the same kinds. A
Page-Hinkley test finds where it rises. Page (1954), Continuous Inspection Schemes, Biometrika 41, 100-115;
run by `river.drift`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fairlead.optimizer.types.arrays import FloatArray

LEAST_RISE: Final = 0.1
"""Rise of the mean share that is no other traffic: twice what the test allows for."""

_EVIDENCE: Final = 3.0
"""Sum of what goes beyond the allowance: ten texts none of whose terms are known, after texts that share two
thirds of theirs. With shares that vary by .15, chance reaches that once in about 10^5 texts."""

_MIN_TEXTS: Final = 64
_MEMORY: Final = 1_024


class UnreadTerms:
    """A test on the shares of texts since the latest fit, of which it remembers at most 1,024."""

    def __init__(self) -> None:
        # Imported here because river takes a second to import, which a router without texts is spared.
        from river.drift import PageHinkley

        self._test = PageHinkley(
            min_instances=_MIN_TEXTS, delta=LEAST_RISE / 2, threshold=_EVIDENCE, alpha=1.0, mode="up"
        )
        self._shares: list[float] = []

    def update(self, share: float) -> bool:
        """Add the share of the next text, in [0, 1]; returns whether the texts have become others."""
        if len(self._shares) == _MEMORY:
            self.restore(np.array(self._shares[_MEMORY // 2 :]))
        self._shares.append(share)
        self._test.update(share)
        return bool(self._test.drift_detected)

    def state(self) -> FloatArray:
        """Return the shares that are remembered, shape (n,)."""
        return np.array(self._shares, dtype=np.float64)

    def restore(self, shares: FloatArray) -> None:
        """Become what gave `state`."""
        self._test, self._shares = self._test.clone(), shares.tolist()
        for share in self._shares:
            self._test.update(share)
