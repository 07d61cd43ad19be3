"""Sums over decisions from which every value, interval and difference follows; partitions merge them.

Means and centred cross products are kept apart and merged as Chan, Golub and LeVeque (1983, *Algorithms for
computing the sample variance*) do, so nothing is lost where values are large and spreads small. The same
partitions merged in the same order give the same bits on one machine as on many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np

from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Matrix, Vector, same_length
from fairlead.optimizer.errors import InvalidInput

# Per entry: plain, weighted, weight.
WIDTH: Final = 3
_ROWS: Final = 16_384  # of one block: its columns stay in the processor's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """First and second moments of the terms of m estimates over n decisions.

    Three columns per estimate, in the order of the terms: plain (0 where absent), weighted (0) and weight
    (1). `mean`, `low` and `high` have shape (3 m,), `scatter`, the sum of products of deviations from the
    mean, (3 m, 3 m). `low` and `high` are the smallest and largest terms seen.
    """

    n: int
    mean: Vector
    scatter: Matrix
    low: Vector
    high: Vector

    @classmethod
    def of(cls, terms: Sequence[Terms]) -> Moments:
        """Of one or several estimates on the same decisions; together, so that they can be compared
        paired.
        """
        blocks = (_block(rows) for rows in rows_of(terms))
        return merged(blocks)

    def __len__(self) -> int:
        """The number of estimates m."""
        return len(self.mean) // WIDTH

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of decisions together."""
        if len(self.mean) != len(other.mean):
            raise InvalidInput(
                f"moments of {len(self)} and of {len(other)} estimates do not merge: "
                "estimate the same in every part"
            )
        n = self.n + other.n
        step = other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + step * (other.n / n),
            scatter=self.scatter + other.scatter + np.outer(step, step) * (self.n * other.n / n),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
        )


def merged(parts: Iterable[Moments]) -> Moments:
    """The parts merged from first to last."""
    found = list(parts)
    if not found:
        raise InvalidInput("there are 0 parts to merge: widen the selection of decisions")
    return reduce(Moments.merge, found)


def rows_of(terms: Sequence[Terms], rows: int = _ROWS) -> Iterable[Matrix]:
    """Blocks of at most `rows` decisions by 3 m columns, one after the other in the same memory."""
    if not terms:
        raise InvalidInput("there are 0 estimates: name at least one")
    n = same_length(
        {f"estimate {i}": part.plain if part.weight is None else part.weight for i, part in enumerate(terms)}
    )
    block = np.zeros((min(n, rows), WIDTH * len(terms)))
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        here = block[: stop - start]
        for i, part in enumerate(terms):
            for j, (column, absent) in enumerate(
                ((part.plain, 0.0), (part.weighted, 0.0), (part.weight, 1.0))
            ):
                here[:, WIDTH * i + j] = absent if column is None else column[start:stop]
        yield here


def _block(rows: Matrix) -> Moments:
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Moments(
        n=len(rows), mean=mean, scatter=centred.T @ centred, low=rows.min(axis=0), high=rows.max(axis=0)
    )
