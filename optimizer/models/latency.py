"""How long a provider takes, counted so that no order of arrival matters, and no single value much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.models.plausibility import CONFIRMED_IN, LEAST_CONFIRMED
from fairlead.optimizer.models.recent import RECENT, RecentValues
from fairlead.optimizer.types.arrays import FloatArray, State, joined, part

BUCKET: Final = 512
"""Length of a run of decisions whose latencies count alike; each run counts half as much as the next."""

_BINS: Final = 144
_MOST_BUCKETS: Final = 32
_LOWEST_S: Final = 1e-3
_PER_DECADE: Final = 16
_MIDDLES_US: Final[FloatArray] = np.array(
    [round(1e6 * _LOWEST_S * 10 ** ((bin_ + 0.5) / _PER_DECADE)) for bin_ in range(_BINS)], dtype=np.float64
)
_WHOLE: Final = 5
"""Bins above the k-th longest latency, a factor of 2, up to which one counts whole, beyond as just that."""

_PLAUSIBLE: Final = 24
"""Bins above the k-th longest latency, a factor of 32, beyond which one is not learned from."""

_HOUR: Final = 104
_NEAR_AN_HOUR: Final = 16
"""The bin of an hour: longer calls are not learned from, unless a tenth of it (16 bins) is usual."""

_USUAL: Final = 64
_USUAL_S: Final = 10.0
_USUAL_COUNT: Final = 1.5
"""Before a provider has a history, so many imagined calls lie in the bin of 10 s: a single first value cannot
confirm itself, and two can."""

_TURNED: Final = 10
"""Bins, a factor of 4, by which the median of the latest calls is far from that of the history. If latencies
are lognormal with sigma 1, the median of 32 strays by a factor of 1.25, and 4 is six times that."""

_NAN: Final = math.nan


class LatencyBelief:
    """Counts of latencies in logarithmic bins (16 a decade, from 1 ms): mean and tail, additive.

    Counts are kept by the bucket of `BUCKET` decisions that the decision fell into, and those of a bucket
    count for half as much with each bucket since: a provider that became slower is noticed within some
    hundred decisions, and no arrival, late or repeated, changes what counts. A quantile is exact to the
    width of a bin, 15 %.

    Of all latencies in force, outliers included, the k-th longest with k = 3 + n / 24 is what a call usually
    takes at most. Latencies beyond 32 times that, or beyond an hour, are outliers and not learned from; those
    beyond twice that count as that much. So 2 % of false ones next to nothing change, and what looks like an
    outlier is learned as soon as k calls agree, as for costs (`plausibility`).

    If the median of the latest 32 calls is a factor of 4 from that of the history, the provider has become
    another, and these calls alone count.
    """

    def __init__(self) -> None:
        self._buckets: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        """Ascending."""
        self._counts: NDArray[np.int64] = np.zeros((0, 2, _BINS), dtype=np.int64)
        """Of each bucket the number of latencies by bin, and their sum in microseconds."""
        self._set_span((_BINS, 0))
        self._summary: FloatArray | None = None
        self._in_force = self._buckets, self._counts
        """Buckets and counts that were summed up: of the history, or of the latest calls."""
        self.latest = RecentValues()
        """Seconds of the latest calls."""
        self._since = 0
        """Seq of the provider's last change: earlier calls do not count."""

    def _set_span(self, span: tuple[int, int]) -> None:
        self._span = span
        """The lowest and the highest bin that were ever filled: what is summed lies between them."""
        self._least_most_s = _end_s(min(span[0], _USUAL) + _PLAUSIBLE - 1)
        """What `most_s` exceeds whatever the counts are, since no call is usual below the shortest."""

    def add(self, latency_s: float, seq: int, *, sign: int = 1) -> None:
        """Count the latency of the decision at ``seq``, or take it back."""
        if seq < self._since:
            return
        if sign > 0:
            self.latest.add(seq, latency_s)
        else:
            self.latest.remove(seq, latency_s)
        row = self._row(seq // BUCKET)
        if row is None:
            return  # earlier than all that are kept
        counts, bin_ = self._counts[row], _bin_of(latency_s)
        if not self._span[0] <= bin_ <= self._span[1]:
            self._set_span((min(self._span[0], bin_), max(self._span[1], bin_)))
        counts[0, bin_] += sign
        counts[1, bin_] += sign * round(latency_s * 1e6)
        self._summary = None
        if sign < 0 and counts[0, bin_] == 0 and not counts[0].any():
            self._buckets = np.delete(self._buckets, row)
            self._counts = np.delete(self._counts, row, axis=0)

    def forget_before(self, seq: int, later: Sequence[tuple[int, float]]) -> None:
        """Go by decisions from ``seq`` on alone; ``later`` are the seqs and latencies of those so far."""
        if seq <= self._since:
            return
        self.restore(LatencyBelief().state())
        self._since = seq
        for later_seq, latency_s in later:
            self.add(latency_s, later_seq)

    def _row(self, bucket: int) -> int | None:
        """Return the row of a bucket, after making one if that is not too early; None if it is."""
        buckets = self._buckets
        if len(buckets) and buckets[-1] == bucket:
            return len(buckets) - 1
        row = int(np.searchsorted(buckets, bucket))
        if row == len(buckets) or buckets[row] != bucket:
            if len(buckets) == _MOST_BUCKETS:
                if row == 0:
                    return None
                self._buckets, self._counts, row = buckets[1:], self._counts[1:], row - 1
            self._buckets = np.insert(self._buckets, row, bucket)
            self._counts = np.insert(self._counts, row, 0, axis=0)
        return row

    @property
    def count(self) -> int:
        """Latencies in force, outliers included."""
        return int(self._counts[:, 0].sum())

    def mean_s(self) -> float:
        """Return the mean in seconds; NaN if nothing is known."""
        return float(self._summarised()[0])

    def expected_s(self) -> float:
        """Return what a latency in doubt is compared with: the mean in seconds, at least 1 ms.

        Of a provider of which nothing is known, the 10 s of the imagined calls.
        """
        mean_s = self.mean_s()
        return _USUAL_S if math.isnan(mean_s) else max(mean_s, _LOWEST_S)

    def sd_s(self) -> float:
        """Return the standard deviation in seconds, by the middles of bins; NaN for fewer than two."""
        return float(self._summarised()[1])

    def most_s(self) -> float:
        """Return the latency in seconds beyond which a call is an outlier, as of now."""
        return float(self._summarised()[2])

    def is_beyond(self, latency_s: float, *, share: float = 1.0) -> bool:
        """Whether a latency is greater than this share of `most_s`."""
        # Most calls are so far from the limit that it need not be computed anew for each.
        return latency_s > share * self._least_most_s and latency_s > share * self.most_s()

    def _summarised(self) -> FloatArray:
        if self._summary is None:
            self._summary = np.empty(5)
            self._in_force = self._buckets, self._counts
            _summarise(self._buckets, self._counts, self._span, self._summary)
            latest = self.latest.latest()
            if len(latest) == RECENT:
                self._follow(latest)
        return self._summary

    def _follow(self, latest: list[float]) -> None:
        """Sum up the latest calls alone, if they are far from the history that was summed up."""
        history = self._summary
        assert history is not None, "the history is summed up first"
        if abs(_bin_of(sorted(latest)[RECENT // 2]) - history[4]) < _TURNED:
            return
        counts = np.zeros((1, 2, _BINS), dtype=np.int64)
        for latency_s in latest:
            counts[0, :, _bin_of(latency_s)] += 1, round(latency_s * 1e6)
        self._in_force = np.zeros(1, dtype=np.int64), counts
        self._summary = np.empty(5)
        _summarise(*self._in_force, (0, _BINS - 1), self._summary)
        # What was usual before is no error now.
        self._summary[2] = max(self._summary[2], history[2])

    def quantile_s(self, share: float = 0.95) -> float:
        """Return the upper end of the bin that holds the quantile, in seconds; NaN if nothing is known.

        Outliers are left out, as from the mean.
        """
        end = int(self._summarised()[3]) + 1
        buckets, counts = self._in_force
        if not len(buckets):
            return math.nan
        weights = 0.5 ** (buckets[-1] - buckets)
        cumulated = np.cumsum(weights @ counts[:, 0, :end])
        if not cumulated[-1] > 0:
            return math.nan
        return _end_s(int(np.searchsorted(cumulated, share * cumulated[-1])))

    def state(self) -> State:
        """Return the counts and sums of each bucket, as whole numbers, and the latest calls."""
        own = {
            "buckets": self._buckets.copy(),
            "counts": self._counts.copy(),
            "since": np.array(self._since, dtype=np.int64),
        }
        return {**own, **joined(latest=self.latest.state())}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._buckets, self._counts = state["buckets"].copy(), state["counts"].copy()
        self._since = int(state["since"]) if "since" in state else 0
        filled = np.flatnonzero(self._counts[:, 0].any(axis=0)).tolist()
        self._set_span((filled[0], filled[-1]) if filled else (_BINS, 0))
        self._summary = None
        self.latest.restore(part(state, "latest"))


def by_bin(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return counts and sums by bin of counts by bin with one sum per bucket in the last column (0.1.0)."""
    result = np.zeros((len(counts), 2, _BINS), dtype=np.int64)
    result[:, 0, : counts.shape[1] - 1] = counts[:, :-1]
    # Bins share the sum as their middles do, and the highest takes what rounding leaves.
    for total, bins in zip(counts[:, -1].tolist(), result, strict=True):
        parts = bins[0] * _MIDDLES_US
        bins[1] = parts * (total / max(float(parts.sum()), 1.0))
        bins[1, np.flatnonzero(bins[0])[-1]] += total - int(bins[1].sum())
    return result


def _bin_of(latency_s: float) -> int:
    return min(int(_PER_DECADE * math.log10(max(latency_s, _LOWEST_S) / _LOWEST_S)), _BINS - 1)


def _end_s(bin_: int) -> float:
    return float(_LOWEST_S * 10 ** ((bin_ + 1) / _PER_DECADE))


@compiled
def _summarise(
    buckets: NDArray[np.int64], counts: NDArray[np.int64], span: tuple[int, int], result: FloatArray
) -> None:
    """Fill in mean, standard deviation and most plausible latency in seconds, its bin and the median's."""
    n, bins, middles = len(buckets), counts.shape[2], _MIDDLES_US
    weights, by_bin, everything = np.empty(n), np.zeros(bins), _USUAL_COUNT
    for i in range(n):
        weights[i] = 0.5 ** (buckets[n - 1] - buckets[i])
        for b in range(span[0], span[1] + 1):
            by_bin[b] += weights[i] * counts[i, 0, b]
            everything += weights[i] * counts[i, 0, b]
    median, below = 0, by_bin[0]
    while below < everything / 2.0 and median < bins - 1:
        median += 1
        below += by_bin[median] + (_USUAL_COUNT if median == _USUAL else 0.0)
    usual, above = bins - 1, by_bin[bins - 1]
    while above < min(LEAST_CONFIRMED + everything / CONFIRMED_IN, everything / 2.0) and usual > 0:
        usual -= 1
        above += by_bin[usual] + (_USUAL_COUNT if usual == _USUAL else 0.0)
    last = min(usual + _PLAUSIBLE, bins - 1, max(_HOUR, usual + _NEAR_AN_HOUR))
    whole = min(usual + _WHOLE, last)
    sum_us = seen = total = first = second = 0.0
    for i in range(n):
        bucket_us, bucket_n, bucket_first, bucket_second = 0.0, 0.0, 0.0, 0.0
        for b in range(span[0], min(last, span[1]) + 1):
            count = counts[i, 0, b]
            if count:
                middle = middles[min(b, whole)]
                bucket_us += counts[i, 1, b] if b <= whole else count * middle
                bucket_n += count
                bucket_first += count * middle
                bucket_second += count * middle * middle
        sum_us, seen, total = sum_us + weights[i] * bucket_us, seen + weights[i] * bucket_n, total + bucket_n
        first, second = first + weights[i] * bucket_first, second + weights[i] * bucket_second
    # Not above 0 if something was taken back whose bucket had been dropped.
    result[0] = sum_us / 1e6 / seen if seen > 0 else _NAN
    variance = second / seen - (first / seen) * (first / seen) if seen > 0 and total >= 2 else _NAN
    result[1] = math.sqrt(max(variance, 0.0)) / 1e6 if variance == variance else _NAN
    result[2] = _LOWEST_S * 10 ** ((last + 1) / _PER_DECADE)
    result[3], result[4] = last, median
