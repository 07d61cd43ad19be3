"""The latest calls of a provider, by seq: what it did last, whatever it did before."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

import numpy as np

from fairlead.optimizer.types.arrays import State

RECENT: Final = 32
"""Calls that count as the latest."""

TURNED: Final = 8
"""Calls in a row beyond a limit after which a provider is beyond it, whatever its mean is. The fewest with
less than one false alarm in 50,000 calls, as for circuits, for a provider whose median is half the limit and
whose spread is wide: with values that are lognormal with sigma 1, a call is beyond the limit with p = 0.244,
and a run of n begins with (1 - p) p^n: 1 in 26,000 calls for 7, 1 in 105,000 for 8."""

TURNED_BACK: Final = 3
"""Calls in a row within the limit that end this, as they close a circuit."""

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

    def latest(self) -> list[float]:
        """Return the latest values, oldest first; at most `RECENT`."""
        return [value for _, value in self._calls[-RECENT:]]

    def median(self) -> float:
        """Return the upper median of the latest values; 1 if there are none."""
        latest = sorted(self.latest()) or [1.0]
        return latest[len(latest) // 2]

    def in_a_row(self, most: float) -> int:
        """Return how many of the latest values in a row are at most this; at most `RECENT`."""
        count = 0
        for _, value in reversed(self._calls[-RECENT:]):
            if value > most:
                break
            count += 1
        return count

    def turned(self, most: float) -> float | None:
        """Return the least of the latest `TURNED` values in a row that are all greater than this.

        None if there is no such run among the latest `RECENT` calls, or if `TURNED_BACK` calls in a row were
        within since. An absurd value counts as any other here, since it takes several.
        """
        beyond, within = 0, 0
        latest = self.latest()
        for at in range(len(latest) - 1, -1, -1):
            if latest[at] > most:
                beyond, within = beyond + 1, 0
                if beyond == TURNED:
                    return min(latest[at : at + TURNED])
            else:
                beyond, within = 0, within + 1
                if within == TURNED_BACK:
                    return None
        return None

    def state(self) -> State:
        """Return the values that are kept, oldest first."""
        return {
            "seqs": np.array([seq for seq, _ in self._calls], dtype=np.int64),
            "values": np.array([value for _, value in self._calls], dtype=np.float64),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._calls = list(zip(state["seqs"].tolist(), state["values"].tolist(), strict=True))
