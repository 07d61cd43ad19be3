"""Sums over decisions from which every value, interval and difference follows; partitions merge them.

Means and centred cross products are kept apart and merged as Chan, Golub and LeVeque (1983, *Algorithms for
computing the sample variance*) do, so nothing is lost when values are large and spreads small. The same
partitions merged in the same order give the same bits on one machine as on many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, Protocol, Self, TypeVar

import numpy as np

from fairlead.experiments.ope.terms import Terms, positive
from fairlead.experiments.ope.validation import Matrix, Vector, same_length
from fairlead.optimizer.errors import InvalidInput, finite

Contrast = str | Mapping[str, float]
"""An estimate by its name, or a weighted sum of several: a factor by name."""

ONLY: Final = "estimate"
"""The name of an estimate that is alone and was given none."""

# Per entry: plain, weighted, weight.
WIDTH: Final = 3
_ROWS: Final = 16_384  # of one block: its columns stay in the processor's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """First and second moments of the terms of m named estimates over n decisions.

    Three columns per estimate, in the order of `names`: plain (0 if absent), weighted (0) and weight (1).
    `mean`, `low` and `high` have shape (3 m,), `scatter`, the sum of products of deviations from the mean,
    (3 m, 3 m). `low` and `high` are the smallest and largest terms seen.

    >>> moments = Moments.of({
    ...     "new": Terms(plain=np.array([0.5, 1.0, 0.9])),
    ...     "old": Terms(plain=np.array([0.4, 0.6, 0.8])),
    ... })
    >>> round(moments.value("new"), 3), round(moments.value(difference("new", "old")), 3)
    (0.8, 0.2)
    """

    names: tuple[str, ...]
    n: int
    mean: Vector
    scatter: Matrix
    low: Vector
    high: Vector

    @classmethod
    def of(cls, estimates: Terms | Mapping[str, Terms]) -> Moments:
        """Sum the terms of one estimate, or of several on the same decisions, which can then be compared."""
        named = name_estimates(estimates)
        return merge(_block(tuple(named), rows) for rows in blocks_of(list(named.values())))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets of decisions together."""
        check_names(self.names, other.names)
        n = self.n + other.n
        step = other.mean - self.mean
        return Moments(
            names=self.names,
            n=n,
            mean=self.mean + step * (other.n / n),
            scatter=self.scatter + other.scatter + np.outer(step, step) * (self.n * other.n / n),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
        )

    def value(self, contrast: Contrast | None = None) -> float:
        """Return the value of a contrast; of the only estimate if none is named."""
        total = 0.0
        for i, factor in resolve(self.names, contrast):
            plain, weighted, weight = self.mean[WIDTH * i : WIDTH * (i + 1)].tolist()
            total += factor * (plain + weighted / positive(weight))
        return total

    def standard_error(self, contrast: Contrast | None = None) -> float:
        """Its standard error by the delta method; infinite for a single decision.

        With v = A + B / C, the deviation of one decision is (a − A) + (b − (B / C) c) / C (Owen 2013, *Monte
        Carlo theory, methods and examples*, section 9.2).
        """
        factors = resolve(self.names, contrast)
        if self.n < 2:
            return math.inf
        gradient = np.zeros(len(self.mean))
        for i, factor in factors:
            columns = slice(WIDTH * i, WIDTH * (i + 1))
            _, weighted, weight = self.mean[columns].tolist()
            weight = positive(weight)
            gradient[columns] += (factor, factor / weight, -factor * weighted / weight**2)
        variance = float(gradient @ self.scatter @ gradient) / (self.n - 1)
        return math.sqrt(max(variance, 0.0) / self.n)


def difference(target: str, incumbent: str) -> Mapping[str, float]:
    """Return the contrast of two estimates; an estimate compared with itself is 0 without spread.

    >>> difference("dr", "logged")
    {'dr': 1.0, 'logged': -1.0}
    """
    return {target: 1.0, incumbent: -1.0} if target != incumbent else {target: 0.0}


def resolve(names: Sequence[str], contrast: Contrast | None) -> list[tuple[int, float]]:
    """Return the index and the factor of every estimate in a contrast.

    None stands for the only estimate. A name that is not there raises `InvalidInput`.
    """
    if contrast is None:
        if len(names) != 1:
            raise InvalidInput(f"there are {len(names)} estimates, {', '.join(names)}: name one of them")
        return [(0, 1.0)]
    factors = {contrast: 1.0} if isinstance(contrast, str) else contrast
    for name, factor in factors.items():
        if name not in names:
            raise InvalidInput(f"there is no estimate {name!r}: choose among {', '.join(names)}")
        finite(f"the factor of estimate {name!r}", factor, remedy="give a finite factor")
    return [(names.index(name), factor) for name, factor in factors.items()]


def columns_of(names: Sequence[str], name: str | None) -> slice:
    """Return the three columns of an estimate; of the only one if none is named."""
    ((i, _),) = resolve(names, name)
    return slice(WIDTH * i, WIDTH * (i + 1))


class Mergeable(Protocol):
    """Sums over some decisions."""

    def merge(self, other: Self, /) -> Self:
        """Return the sums over both sets of decisions."""
        ...


_Sums = TypeVar("_Sums", bound=Mergeable)


def merge(parts: Iterable[_Sums]) -> _Sums:
    """Merge moments, resamples or counts of several partitions, from first to last.

    >>> parts = [np.array([0.2, 0.4]), np.array([0.9])]
    >>> merge(Moments.of(Terms(plain=part)) for part in parts).value()
    0.5
    """
    collected = list(parts)
    if not collected:
        raise InvalidInput("there are 0 parts to merge: widen the selection of decisions")
    return reduce(lambda first, second: first.merge(second), collected)


def name_estimates(estimates: Terms | Mapping[str, Terms]) -> Mapping[str, Terms]:
    """Return the estimates by name, at least one."""
    if isinstance(estimates, Terms):
        return {ONLY: estimates}
    if not estimates:
        raise InvalidInput("there are 0 estimates: name at least one")
    return estimates


def check_names(first: Sequence[str], second: Sequence[str]) -> None:
    """Raise `InvalidInput` unless both parts hold the same estimates."""
    if tuple(first) != tuple(second):
        raise InvalidInput(
            f"parts that estimate {', '.join(first)} and {', '.join(second)} do not merge: "
            "estimate the same in every part"
        )


def blocks_of(terms: Sequence[Terms], rows: int = _ROWS) -> Iterable[Matrix]:
    """Blocks of at most `rows` decisions by 3 m columns, one after the other in the same memory."""
    n = same_length(
        {f"estimate {i}": part.plain if part.weight is None else part.weight for i, part in enumerate(terms)}
    )
    memory = np.zeros((min(n, rows), WIDTH * len(terms)))
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        block = memory[: stop - start]
        for i, part in enumerate(terms):
            columns = ((part.plain, 0.0), (part.weighted, 0.0), (part.weight, 1.0))
            for j, (column, absent) in enumerate(columns):
                block[:, WIDTH * i + j] = absent if column is None else column[start:stop]
        yield block


def _block(names: tuple[str, ...], rows: Matrix) -> Moments:
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Moments(
        names=names,
        n=len(rows),
        mean=mean,
        scatter=centred.T @ centred,
        low=rows.min(axis=0),
        high=rows.max(axis=0),
    )
