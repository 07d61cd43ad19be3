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

from experiments.ope.columns import Matrix, Vector
from experiments.ope.estimates import FIRST, LEVEL, Contrast, Estimate, checked_level, factors
from experiments.ope.moments import WIDTH, rows_of
from experiments.ope.terms import Terms, positive
from optimizer.compiled import compiled
from optimizer.errors import InvalidInput

RESAMPLES: Final = 2_000
_FEWEST: Final = 100
# How many of the 256 bytes stand for each count: Σ count = 256, Σ count (count − 1) = 256.
_SHARES: Final = (94, 95, 46, 16, 4, 1)
_COUNTS: Final = np.repeat(np.arange(len(_SHARES), dtype=np.float64), _SHARES)
_FEW: Final = 8  # columns up to which adding row by row beats a matrix product, which many share better
_STRIP: Final = 500
_ROWS: Final = 128  # decisions of one block: their counts in 2,000 resamples fill the second-level cache


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
    beside, drawn_sums = np.ones((_ROWS, len(present) + 1)), np.zeros((resamples, len(present) + 1))
    total, n = np.zeros(len(columns)), 0
    few, running = len(present) < _FEW, np.zeros((len(present) + 1, resamples))
    space = np.empty(0 if few else resamples * _ROWS)
    for rows in rows_of(terms, _ROWS):
        # `random_raw` takes an eighth of the time of `Generator.bytes`.
        words = source.random_raw(-(-resamples * len(rows) // 8)).astype("<u8", copy=False)
        beside[: len(rows), :-1] = rows[:, present]
        if few:
            _add_up(words.view(np.uint8), _COUNTS, beside[: len(rows)], running)
        else:
            drawn = space[: resamples * len(rows)]
            _look_up(words.view(np.uint8), _COUNTS, drawn)
            drawn_sums += drawn.reshape(len(rows), resamples).T @ beside[: len(rows)]
        total += rows.sum(axis=0)
        n += len(rows)
    drawn_sums = running.T if few else drawn_sums
    counts = drawn_sums[:, -1]
    sums = np.zeros((resamples, len(columns)))
    sums[:, WIDTH - 1 :: WIDTH] = counts[:, None]
    sums[:, present] = drawn_sums[:, :-1]
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


@compiled
def _look_up(drawn: NDArray[np.uint8], table: Vector, found: Vector) -> None:
    """found = table[drawn] without a copy of the indices, which is what numpy spends most of its time on."""
    for i in range(len(found)):
        found[i] = table[drawn[i]]


@compiled
def _add_up(drawn: NDArray[np.uint8], table: Vector, rows: Matrix, running: Matrix) -> None:
    """Add the rows (n, m), each times its count in every resample (b,), to the running sums (m, b)."""
    resamples = running.shape[1]
    counts = np.empty(_STRIP)
    # Strip by strip, so that the sums of one stay in the first-level cache.
    for start in range(0, resamples, _STRIP):
        size = min(_STRIP, resamples - start)
        for i in range(len(rows)):
            some = drawn[i * resamples + start : i * resamples + start + size]
            for b in range(size):
                counts[b] = table[some[b]]
            for j in range(rows.shape[1]):
                factor, sums = rows[i, j], running[j, start : start + size]
                for b in range(size):
                    sums[b] += factor * counts[b]
