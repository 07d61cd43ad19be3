"""How long a provider takes and how often it fails, counted so that the order of arrival does not matter."""

from __future__ import annotations

import math
from bisect import insort
from typing import Final

import numpy as np

from optimizer.state import State

_BINS: Final = 96
_LOWEST_S: Final = 1e-3
_PER_DECADE: Final = 16.0
_RECENT: Final = 64
# More are kept than count, so that one which is taken back makes room for the one before.
_KEPT: Final = 256


class LatencyBelief:
    """Counts of latencies in logarithmic bins (16 a decade, from 1 ms): mean and tail, additive.

    A quantile is exact to the width of a bin, 15 %.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._sum_us = 0

    def add(self, latency_s: float, *, sign: int = 1) -> None:
        """Count a latency, or take it back."""
        place = int(_PER_DECADE * math.log10(max(latency_s, _LOWEST_S) / _LOWEST_S))
        self._counts[min(place, _BINS - 1)] += sign
        self._sum_us += sign * round(latency_s * 1e6)

    @property
    def count(self) -> int:
        """Latencies in force."""
        return int(self._counts.sum())

    def mean_s(self) -> float:
        """Mean in seconds; NaN where nothing is known."""
        count = self.count
        return self._sum_us / 1e6 / count if count else math.nan

    def quantile_s(self, share: float = 0.95) -> float:
        """Upper end of the bin that holds the quantile, in seconds; NaN where nothing is known."""
        count = self.count
        if not count:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self._counts), share * count))
        return float(_LOWEST_S * 10 ** ((place + 1) / _PER_DECADE))

    def state(self) -> State:
        """The counts and the sum, as whole numbers."""
        return {"counts": self._counts.copy(), "sum_us": np.array(self._sum_us, dtype=np.int64)}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._counts, self._sum_us = state["counts"].copy(), int(state["sum_us"])


class FailureBelief:
    """Share of failures among the provider's last 64 served decisions, by place in the order.

    None is expected of a provider that never failed. Once there is one, a prior of one failure in fifty
    softens it: one alone costs little, and a provider that goes on failing is noticed within a few calls.
    """

    def __init__(self) -> None:
        self._recent: list[tuple[int, bool]] = []

    def add(self, order: int, failed: bool) -> None:
        """Count one outcome of the decision at ``order``."""
        insort(self._recent, (order, failed))
        del self._recent[:-_KEPT]

    def remove(self, order: int, failed: bool) -> None:
        """Take one outcome back, where it is still among those counted."""
        if (order, failed) in self._recent:
            self._recent.remove((order, failed))

    def probability(self) -> float:
        """Expected share of failures, weighing recent outcomes more (halved every 16)."""
        recent = [failed for _, failed in self._recent[-_RECENT:]]
        if not any(recent):
            return 0.0
        weights = 0.5 ** (np.arange(len(recent))[::-1] / 16.0)
        failed = np.array(recent, dtype=float)
        return float((weights @ failed + 0.02) / (weights.sum() + 1.0))

    def state(self) -> State:
        """The outcomes that are kept, oldest first: shape (n, 2), place in the order and failed."""
        return {"recent": np.array(self._recent, dtype=np.int64).reshape(-1, 2)}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._recent = [(order, bool(failed)) for order, failed in state["recent"].tolist()]
