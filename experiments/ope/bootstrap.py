"""Bootstrap intervals: every resample reweights the decisions and renormalises by its own weights.

A decision's count in a resample is drawn from one random byte through a table whose 256 entries are counts
0 to 5 with the mean, the variance and (to 2 %) the skewness of a Poisson count with mean 1, the limit of
resampling with replacement (Hanley and MacGibbon 2006; Chamandy et al. 2012; that any such weights serve:
Præstgaard and Wellner 1993). Counts of different decisions are independent, so partitions are resampled apart
and their sums added. Sums over a block of decisions are one matrix product for all resamples and estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.ope.intervals import LEVEL, Estimate, check_level
from fairlead.experiments.ope.moments import (
    WIDTH,
    Contrast,
    blocks_of,
    check_names,
    name_estimates,
    resolve,
)
from fairlead.experiments.ope.terms import Terms, positive
from fairlead.experiments.ope.validation import Matrix, Vector
from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.errors import InvalidInput

RESAMPLES: Final = 2_000
_FEWEST: Final = 100
# How many of the 256 bytes stand for each count: Σ count = 256, Σ count (count − 1) = 256.
_SHARES: Final = (94, 95, 46, 16, 4, 1)
_COUNTS: Final = np.repeat(np.arange(len(_SHARES), dtype=np.float64), _SHARES)
_ROWS: Final = (
    64  # decisions of one block: their counts in 2,000 resamples (1 MB) stay in the second-level cache
)
_LINE: Final = 64  # bytes of a cache line


@dataclass(frozen=True, kw_only=True, eq=False)
class Resamples:
    """Sums of the terms of m named estimates over each of b resamples.

    `sums` (b, 3 m) has the columns of `Moments`, `counts` (b,) is how many decisions each resample holds, and
    `total` (3 m,) has the sums over the n decisions themselves.

    >>> resamples = resample(Terms(plain=np.array([0.0, 0.5, 1.0, 0.5])), seed=0)
    >>> resamples.value(), len(resamples.values())
    (0.5, 2000)
    """

    names: tuple[str, ...]
    n: int
    sums: Matrix
    counts: Vector
    total: Vector

    def merge(self, other: Resamples) -> Resamples:
        """Return the resamples of both sets of decisions together."""
        check_names(self.names, other.names)
        self._check_count(other)
        return Resamples(
            names=self.names,
            n=self.n + other.n,
            sums=self.sums + other.sums,
            counts=self.counts + other.counts,
            total=self.total + other.total,
        )

    def join(self, other: Resamples) -> Resamples:
        """Return the estimates of both, side by side.

        Both must be of the same decisions, resampled with equal seeds and partitions: then the counts are the
        same, and estimates of one can be compared with those of the other.
        """
        self._check_count(other)
        return replace(
            self,
            names=self.names + other.names,
            sums=np.hstack([self.sums, other.sums]),
            total=np.concatenate([self.total, other.total]),
        )

    def _check_count(self, other: Resamples) -> None:
        if len(self.sums) != len(other.sums):
            raise InvalidInput(
                f"{len(self.sums)} and {len(other.sums)} resamples do not merge: draw as many in every part"
            )

    def values(self, contrast: Contrast | None = None) -> Vector:
        """Return the contrast's value in every resample, shape (b,); NaN if a resample has no weight."""
        values = np.zeros(len(self.sums))
        with np.errstate(invalid="ignore", divide="ignore"):
            for i, factor in resolve(self.names, contrast):
                plain, weighted, weight = self.sums[:, WIDTH * i : WIDTH * (i + 1)].T
                ratio = np.where(weight > 0.0, weighted / weight, np.nan)
                values += factor * (plain / self.counts + ratio)
        return values

    def value(self, contrast: Contrast | None = None) -> float:
        """Return the contrast's value on the decisions themselves."""
        total = 0.0
        for i, factor in resolve(self.names, contrast):
            plain, weighted, weight = self.total[WIDTH * i : WIDTH * (i + 1)].tolist()
            total += factor * (plain / self.n + weighted / positive(weight))
        return total


def resample(
    estimates: Terms | Mapping[str, Terms], *, seed: int, partition: int = 0, resamples: int = RESAMPLES
) -> Resamples:
    """Resample the decisions of one partition; equal seeds and partitions draw equal counts.

    >>> resample({"a": Terms(plain=np.array([0.0, 1.0]))}, seed=0, resamples=100).names
    ('a',)
    """
    if resamples < _FEWEST:
        raise InvalidInput(f"resamples is {resamples}: a quantile takes at least {_FEWEST}")
    if seed < 0 or partition < 0:
        raise InvalidInput(f"seed {seed} and partition {partition} must not be negative: give 0 or more")
    source = np.random.SFC64([seed, partition])
    named = name_estimates(estimates)
    terms = list(named.values())
    # Absent columns are 0 or 1 throughout; only the others are multiplied, next to ones that count decisions.
    columns = [column for part in terms for column in (part.plain, part.weighted, part.weight)]
    present = [j for j, column in enumerate(columns) if column is not None]
    products = np.zeros((len(present) + 1, resamples))
    total, n = np.zeros(len(columns)), 0
    space = _aligned(resamples * _ROWS)
    for rows in blocks_of(terms):
        factors = np.vstack([rows[:, present].T, np.ones(len(rows))])
        for start in range(0, len(rows), _ROWS):
            block = factors[:, start : start + _ROWS]
            weights = space[: resamples * block.shape[1]]
            words = source.random_raw(-(-len(weights) // 8))  # an eighth of the time of `Generator.bytes`
            _look_up(words.astype("<u8", copy=False).view(np.uint8), _COUNTS, weights)
            products += block @ weights.reshape(-1, resamples)
        total += rows.sum(axis=0)
        n += len(rows)
    counts = products[-1]
    sums = np.zeros((resamples, len(columns)))
    sums[:, WIDTH - 1 :: WIDTH] = counts[:, None]
    sums[:, present] = products[:-1].T
    return Resamples(names=tuple(named), n=n, sums=sums, counts=counts, total=total)


def percentile(resamples: Resamples, contrast: Contrast | None = None, *, level: float = LEVEL) -> Estimate:
    """Return the value with the interval between the outer percentiles of the resamples.

    Resamples without weight, for which a self-normalised value does not exist, count as beyond both ends; one
    decision has no spread to resample, and its interval is the whole line.

    >>> resamples = resample(Terms(plain=np.array([0.0, 0.5, 1.0, 0.5] * 25)), seed=0)
    >>> estimate = percentile(resamples)
    >>> f"{estimate.value:.2f} in [{estimate.low:.2f}, {estimate.high:.2f}]"
    '0.50 in [0.43, 0.57]'
    """
    return percentile_of(
        resamples.values(contrast), value=resamples.value(contrast), n=resamples.n, level=level
    )


def percentile_of(values: Vector, *, value: float, n: int, level: float = LEVEL) -> Estimate:
    """Return the percentile interval of any statistic, out of its value in every resample, shape (b,)."""
    tail = 0.5 * (1.0 - check_level(level))
    absent = np.isnan(values) | (n < 2)
    return Estimate(
        value=value,
        low=float(np.quantile(np.where(absent, -np.inf, values), tail, method="lower")),
        high=float(np.quantile(np.where(absent, np.inf, values), 1.0 - tail, method="higher")),
        standard_error=float("nan") if absent.any() else float(values.std(ddof=1)),
        n=n,
        level=level,
        method="bootstrap",
    )


def _aligned(length: int) -> Vector:
    """Memory for numbers that starts at a cache line: a thin matrix product then takes half of the time."""
    memory = np.empty(8 * length + _LINE, dtype=np.uint8)
    start = -memory.ctypes.data % _LINE
    numbers: Vector = memory[start : start + 8 * length].view(np.float64)
    return numbers


@compiled
def _look_up(indices: NDArray[np.uint8], table: Vector, out: Vector) -> None:
    """out = table[indices] without a copy of the indices, which is what numpy spends most of its time on."""
    for i in range(len(out)):
        out[i] = table[indices[i]]
