"""Bootstrap intervals: every resample weights the decisions anew and renormalises by its own weights.

A decision's count in a resample is drawn from one random byte through a table whose 256 entries are counts
0 to 5 with the mean, the variance and (to 2 %) the skewness of a Poisson count with mean 1, the limit of
resampling with replacement (Hanley and MacGibbon 2006; Chamandy et al. 2012; that any such weights serve:
Præstgaard and Wellner 1993). Counts of different decisions are independent, so partitions are resampled apart
and their sums added. Sums over a block of decisions are one matrix product for all resamples and estimates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.ope.intervals import FIRST, LEVEL, Contrast, Estimate, checked_level, factors
from fairlead.experiments.ope.moments import WIDTH, rows_of
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
    """Sums of the terms over every resample: `sums` (b, 3 m), of `moments.WIDTH` columns per estimate.

    `counts` (b,) is how many decisions each resample holds, `total` (3 m,) the sums over the n decisions
    themselves.
    """

    n: int
    sums: Matrix
    counts: Vector
    total: Vector

    def __len__(self) -> int:
        """The number of estimates m."""
        return len(self.total) // WIDTH

    def merge(self, other: Resamples) -> Resamples:
        """The resamples of both parts together."""
        if self.sums.shape != other.sums.shape:
            raise InvalidInput(
                f"resamples of shapes {self.sums.shape} and {other.sums.shape} do not merge: "
                "draw and estimate the same in every part"
            )
        return Resamples(
            n=self.n + other.n,
            sums=self.sums + other.sums,
            counts=self.counts + other.counts,
            total=self.total + other.total,
        )

    def values(self, contrast: Contrast = FIRST) -> Vector:
        """The contrast's value in every resample, shape (b,); NaN where a resample has no weight."""
        found = np.zeros(len(self.sums))
        with np.errstate(invalid="ignore", divide="ignore"):
            for i, factor in factors(self, contrast):
                plain, weighted, weight = self.sums[:, WIDTH * i : WIDTH * (i + 1)].T
                ratio = np.where(weight > 0.0, weighted / weight, np.nan)
                found += factor * (plain / self.counts + ratio)
        return found

    def value(self, contrast: Contrast = FIRST) -> float:
        """The contrast's value on the decisions themselves."""
        parts = ((f, *self.total[WIDTH * i : WIDTH * (i + 1)].tolist()) for i, f in factors(self, contrast))
        return float(sum(f * (plain / self.n + top / positive(bottom)) for f, plain, top, bottom in parts))


def resample(
    terms: Sequence[Terms], *, seed: int, partition: int = 0, resamples: int = RESAMPLES
) -> Resamples:
    """Resample the decisions of one partition; equal seeds and partitions draw equal counts."""
    if resamples < _FEWEST:
        raise InvalidInput(f"resamples is {resamples}: a quantile takes at least {_FEWEST}")
    if seed < 0 or partition < 0:
        raise InvalidInput(f"seed {seed} and partition {partition} must not be negative: give 0 or more")
    source = np.random.SFC64([seed, partition])
    # Absent columns are 0 or 1 throughout; only the others are multiplied, beside ones that count decisions.
    columns = [column for part in terms for column in (part.plain, part.weighted, part.weight)]
    present = [j for j, column in enumerate(columns) if column is not None]
    drawn_sums = np.zeros((len(present) + 1, resamples))
    total, n = np.zeros(len(columns)), 0
    space = _aligned(resamples * _ROWS)
    for rows in rows_of(terms):
        beside = np.vstack([rows[:, present].T, np.ones(len(rows))])
        for start in range(0, len(rows), _ROWS):
            block = beside[:, start : start + _ROWS]
            drawn = space[: resamples * block.shape[1]]
            words = source.random_raw(-(-len(drawn) // 8))  # an eighth of the time of `Generator.bytes`
            _look_up(words.astype("<u8", copy=False).view(np.uint8), _COUNTS, drawn)
            drawn_sums += block @ drawn.reshape(-1, resamples)
        total += rows.sum(axis=0)
        n += len(rows)
    counts = drawn_sums[-1]
    sums = np.zeros((resamples, len(columns)))
    sums[:, WIDTH - 1 :: WIDTH] = counts[:, None]
    sums[:, present] = drawn_sums[:-1].T
    return Resamples(n=n, sums=sums, counts=counts, total=total)


def merged_resamples(parts: Iterable[Resamples]) -> Resamples:
    """The partitions' resamples added from first to last."""
    found = list(parts)
    if not found:
        raise InvalidInput("there are 0 parts to merge: widen the selection of decisions")
    return reduce(Resamples.merge, found)


def percentile(resamples: Resamples, contrast: Contrast = FIRST, *, level: float = LEVEL) -> Estimate:
    """The value with the interval between the outer percentiles of the resamples.

    Resamples without weight, where a self-normalised value does not exist, count as beyond both ends; one
    decision has no spread to resample, and its interval is the whole line.
    """
    return percentile_of(
        resamples.values(contrast), value=resamples.value(contrast), n=resamples.n, level=level
    )


def percentile_of(values: Vector, *, value: float, n: int, level: float = LEVEL) -> Estimate:
    """The percentile interval of any statistic, given its value in every resample, shape (b,)."""
    tail = 0.5 * (1.0 - checked_level(level))
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
    """Room for numbers that begins with a cache line: a thin matrix product then takes half of the time."""
    room = np.empty(8 * length + _LINE, dtype=np.uint8)
    start = -room.ctypes.data % _LINE
    found: Vector = room[start : start + 8 * length].view(np.float64)
    return found


@compiled
def _look_up(drawn: NDArray[np.uint8], table: Vector, found: Vector) -> None:
    """found = table[drawn] without a copy of the indices, which is what numpy spends most of its time on."""
    for i in range(len(found)):
        found[i] = table[drawn[i]]
