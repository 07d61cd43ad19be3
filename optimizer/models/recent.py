"""The latest calls of a provider, by seq: what it did last, whatever it did before."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

import numpy as np

from fairlead.optimizer.types.arrays import State

RECENT: Final = 32
"""Calls that count as the latest."""

# More are kept than count, so that one which is taken back makes room for the one before.
_KEPT: Final = 256


class RecentValues:
    """One number of each of a provider's latest calls, whatever the order in which they were reported."""

    def __init__(self) -> None:
        self._calls: list[tuple[int, float]] = []

    def add(self, seq: int, value: float) -> None:
        """Keep the value of the decision at ``seq``."""
        insort(self._calls, (seq, value))
        if len(self._calls) > _KEPT:
            del self._calls[0]

    def remove(self, seq: int, value: float) -> None:
        """Take one value back, if it is still among those kept."""
        at = bisect_left(self._calls, (seq, value))
        if at < len(self._calls) and self._calls[at] == (seq, value):
            del self._calls[at]

    def in_a_row(self, most: float) -> int:
        """Return how many of the latest values in a row are at most this; at most `RECENT`."""
        count = 0
        for _, value in reversed(self._calls[-RECENT:]):
            if value > most:
                break
            count += 1
        return count

    def state(self) -> State:
        """Return the values that are kept, oldest first."""
        return {
            "seqs": np.array([seq for seq, _ in self._calls], dtype=np.int64),
            "values": np.array([value for _, value in self._calls], dtype=np.float64),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._calls = list(zip(state["seqs"].tolist(), state["values"].tolist(), strict=True))
