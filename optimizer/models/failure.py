"""How often a provider fails, counted so that the order of arrival does not matter."""

from __future__ import annotations

from bisect import insort
from typing import Final

import numpy as np

from fairlead.optimizer.types.arrays import State

_RECENT: Final = 64
# More are kept than count, so that one which is taken back makes room for the one before.
_KEPT: Final = 256


class FailureBelief:
    """Share of failures among the provider's last 64 served decisions, by seq.

    A provider that never failed is expected to go on so. Once it fails, a prior of one failure in fifty
    softens that: a single failure costs little, and an outage is noticed within a few calls.
    """

    def __init__(self) -> None:
        self._recent: list[tuple[int, bool]] = []
        self._failures = 0

    def add(self, seq: int, failed: bool) -> None:
        """Count one outcome of the decision at ``seq``."""
        insort(self._recent, (seq, failed))
        self._failures += failed
        if len(self._recent) > _KEPT:
            self._failures -= self._recent.pop(0)[1]

    def remove(self, seq: int, failed: bool) -> None:
        """Take one outcome back, if it is still among those kept."""
        if (seq, failed) in self._recent:
            self._recent.remove((seq, failed))
            self._failures -= failed

    @property
    def any(self) -> bool:
        """Whether one of the outcomes that are kept was a failure."""
        return self._failures > 0

    def probability(self) -> float:
        """Predict the share of failures, weighing recent outcomes more (halved every 16)."""
        recent = [failed for _, failed in self._recent[-_RECENT:]]
        if not any(recent):
            return 0.0
        weights = 0.5 ** (np.arange(len(recent))[::-1] / 16.0)
        failed = np.array(recent, dtype=float)
        return float((weights @ failed + 0.02) / (weights.sum() + 1.0))

    def state(self) -> State:
        """Return the outcomes that are kept, oldest first: shape (n, 2), seq and failed."""
        return {"recent": np.array(self._recent, dtype=np.int64).reshape(-1, 2)}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._recent = [(seq, bool(failed)) for seq, failed in state["recent"].tolist()]
        self._failures = sum(failed for _, failed in self._recent)
