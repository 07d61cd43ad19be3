"""What parts of a log are summed into, and how two of them become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.ope.bootstrap import Resamples
from fairlead.experiments.ope.counts import LogTally, WeightTally
from fairlead.experiments.ope.moments import Moments
from fairlead.optimizer.types import FloatArray

WEIGHT_EDGES: Final = np.concatenate([[0.0, 1e-9], np.geomspace(1 / 32, 1024, 31)])
PAIRED: Final = "paired"
"""The logging policy itself by the primary estimator, which gains are paired with."""

BRIEF: Final = 3
"""Estimates per metric of slices and resamples: on-policy, the target by the primary estimator, `PAIRED`."""

Key = tuple[str, str]
"""A slice: what it is by, and its value."""

Tuning = Mapping[str, float]
"""λ by the name of an estimator."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """What a slice says of one target: the moments of `BRIEF` estimates per metric, and the weights."""

    moments: Moments
    weights: WeightTally

    def merge(self, other: Self) -> Self:
        """Both parts together."""
        return type(self)(
            moments=self.moments.merge(other.moments), weights=self.weights.merge(other.weights)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetPart:
    """What the decisions with known outcomes say of one target.

    ``moments`` hold every metric's estimates in the order of `ReplaySettings.names` and then `PAIRED`,
    metric by metric; ``histogram`` counts weights between `WEIGHT_EDGES`; ``shares`` (k,) sums the target's
    probabilities.
    """

    moments: Moments
    weights: WeightTally
    histogram: NDArray[np.int64]
    shares: FloatArray
    resamples: Resamples | None
    slices: Mapping[Key, Slice] = field(default_factory=dict)

    def merge(self, other: Self) -> Self:
        """Both parts together."""
        both = {
            key: _merged(self.slices.get(key), other.slices.get(key))
            for key in {**self.slices, **other.slices}
        }
        return type(self)(
            moments=self.moments.merge(other.moments),
            weights=self.weights.merge(other.weights),
            histogram=self.histogram + other.histogram,
            shares=self.shares + other.shares,
            resamples=_merged(self.resamples, other.resamples),
            slices=both,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LogPart:
    """What a part says of the log itself.

    ``cells`` (tasks + 1, k, 6) sums per task (the last: none) and provider: decisions, weights 1 / p,
    weighted
    rewards, weighted USD, rewards, squares of the weights. ``smallest`` is the least propensity of anybody
    eligible. ``fixed`` resamples the always-one-provider policies.
    """

    tally: LogTally
    cells: FloatArray
    smallest: float
    fixed: Resamples | None

    def merge(self, other: Self) -> Self:
        """Both parts together."""
        return type(self)(
            tally=self.tally.merge(other.tally),
            cells=self.cells + other.cells,
            smallest=min(self.smallest, other.smallest),
            fixed=_merged(self.fixed, other.fixed),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PartResult:
    """One part, or several merged: the log, and each target by its place."""

    log: LogPart
    targets: tuple[TargetPart | None, ...]

    def merge(self, other: Self) -> Self:
        """Both parts together."""
        pairs = zip(self.targets, other.targets, strict=True)
        return type(self)(log=self.log.merge(other.log), targets=tuple(_merged(a, b) for a, b in pairs))


def _merged(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return second if first is None else first
    return first.merge(second)
