"""How long a provider takes, counted so that the order of arrival does not matter."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.types.arrays import State

BUCKET: Final = 512
"""Length of a run of decisions whose latencies count alike; each run counts half as much as the next."""

_BINS: Final = 96
_MOST_BUCKETS: Final = 32
_LOWEST_S: Final = 1e-3
_PER_DECADE: Final = 16.0
_MIDDLES_US: Final = tuple(
    round(1e6 * _LOWEST_S * 10 ** ((bin_ + 0.5) / _PER_DECADE)) for bin_ in range(_BINS)
)


def _sums(counts: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return the number of latencies, and Σ and Σ² of the middles of their bins in microseconds."""
    filled = [(count, _MIDDLES_US[i]) for i, count in enumerate(counts[:_BINS].tolist()) if count]
    return (
        sum(count for count, _ in filled),
        sum(count * middle for count, middle in filled),
        sum(count * middle * middle for count, middle in filled),
    )


class LatencyBelief:
    """Counts of latencies in logarithmic bins (16 a decade, from 1 ms): mean and tail, additive.

    Counts are kept by the bucket of `BUCKET` decisions that the decision fell into, and those of a bucket
    count for half as much with each bucket since: a provider that became slower is noticed within some
    hundred decisions, and no arrival, late or repeated, changes what counts. A quantile is exact to the
    width of a bin, 15 %.
    """

    def __init__(self) -> None:
        # Per bucket the counts of all bins, then the sum in microseconds.
        self._buckets: dict[int, NDArray[np.int64]] = {}
        self._seen: dict[int, tuple[int, int, int]] = {}
        """`_sums` of each bucket, earliest first; whole numbers, so that their order leaves no trace."""

    def add(self, latency_s: float, seq: int, *, sign: int = 1) -> None:
        """Count the latency of the decision at ``seq``, or take it back."""
        bin_ = min(int(_PER_DECADE * math.log10(max(latency_s, _LOWEST_S) / _LOWEST_S)), _BINS - 1)
        bucket = seq // BUCKET
        if bucket not in self._buckets:
            self._buckets[bucket], self._seen[bucket] = np.zeros(_BINS + 1, dtype=np.int64), (0, 0, 0)
            latest = sorted(self._buckets)[-_MOST_BUCKETS:]
            self._buckets = {each: self._buckets[each] for each in latest}
            self._seen = {each: self._seen[each] for each in latest}
            if bucket not in latest:
                return  # earlier than all that are kept
        kept = self._buckets[bucket]
        kept[bin_] += sign
        kept[_BINS] += sign * round(latency_s * 1e6)
        count, first, second = self._seen[bucket]
        middle = sign * _MIDDLES_US[bin_]
        self._seen[bucket] = (count + sign, first + middle, second + sign * middle * middle)
        if kept[bin_] == 0 and not kept[:_BINS].any():
            del self._buckets[bucket], self._seen[bucket]

    @property
    def count(self) -> int:
        """Latencies in force."""
        return sum(count for count, _, _ in self._seen.values())

    def mean_s(self) -> float:
        """Return the mean in seconds; NaN if nothing is known."""
        if not self._buckets:
            return math.nan
        newest = next(reversed(self._seen))
        total_us = count = 0.0
        for bucket, (seen, _, _) in self._seen.items():
            weight = 0.5 ** (newest - bucket)
            total_us += weight * int(self._buckets[bucket][_BINS])
            count += weight * seen
        # Not above 0 if something was taken back whose bucket had been dropped.
        return total_us / 1e6 / count if count > 0 else math.nan

    def sd_s(self) -> float:
        """Return the standard deviation in seconds, by the middles of bins; NaN for fewer than two."""
        if self.count < 2:
            return math.nan
        newest = next(reversed(self._seen))
        total = mean = square = 0.0
        for bucket, (count, first, second) in self._seen.items():
            weight = 0.5 ** (newest - bucket)
            total, mean, square = total + weight * count, mean + weight * first, square + weight * second
        if total <= 0:
            return math.nan
        return math.sqrt(max(square / total - (mean / total) ** 2, 0.0)) / 1e6

    def quantile_s(self, share: float = 0.95) -> float:
        """Return the upper end of the bin that holds the quantile, in seconds; NaN if nothing is known."""
        if not self._buckets:
            return math.nan
        newest, total = max(self._buckets), np.zeros(_BINS)
        for bucket, counts in sorted(self._buckets.items()):
            total += 0.5 ** (newest - bucket) * counts[:_BINS]
        cumulated = np.cumsum(total)
        bin_ = int(np.searchsorted(cumulated, share * cumulated[-1]))
        return float(_LOWEST_S * 10 ** ((bin_ + 1) / _PER_DECADE))

    def state(self) -> State:
        """Return the counts and sums of each bucket, as whole numbers: shape (buckets, bins + 1)."""
        buckets = sorted(self._buckets)
        counts = [self._buckets[bucket] for bucket in buckets]
        return {
            "buckets": np.array(buckets, dtype=np.int64),
            "counts": np.array(counts, dtype=np.int64).reshape(len(buckets), _BINS + 1),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        pairs = zip(state["buckets"].tolist(), state["counts"], strict=True)
        self._buckets = {bucket: counts.copy() for bucket, counts in pairs}
        self._seen = {bucket: _sums(counts) for bucket, counts in self._buckets.items()}
