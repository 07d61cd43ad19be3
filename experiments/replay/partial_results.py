"""Sums over parts of a log, and how the sums of two parts merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.ope.betting import ClusterSums, Wealth
from fairlead.experiments.ope.bootstrap import Resamples
from fairlead.experiments.ope.counts import KeyedDraws, LogCounts, PropensityDrift, WeightCounts
from fairlead.experiments.ope.moments import Moments
from fairlead.optimizer.types import FloatArray

WEIGHT_EDGES: Final = np.concatenate([[0.0, 1e-9], np.geomspace(1 / 32, 1024, 31)])
PAIRED: Final = "paired"
"""The logging policy itself by the primary estimator, which gains are paired with."""


def estimate_name(metric: str, name: str) -> str:
    """Name an estimator's (or `PAIRED`'s) estimate of a metric in moments and resamples."""
    return f"{metric}:{name}"


Key = tuple[str, str]
"""A slice: the dimension and its value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """Moments and weights of one target in a slice, and the wealth of its gain in what the verdict weighs.

    Estimates per metric: the incumbent's own, the target's by the primary estimator, and `PAIRED`.
    ``divergence`` (5,) sums, per share of `planning.EXPLORATION`, how far the target is from the log.
    """

    moments: Moments
    weights: WeightCounts
    gain: Wealth
    divergence: FloatArray

    def merge(self, other: Self) -> Self:
        """Add up both parts."""
        return type(self)(
            moments=self.moments.merge(other.moments),
            weights=self.weights.merge(other.weights),
            gain=self.gain.merge(other.gain),
            divergence=self.divergence + other.divergence,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetPart:
    """Sums over the decisions with known outcomes for one target.

    ``moments`` hold every metric's estimates, those of `ReplaySettings.names` and `PAIRED`, by
    `estimate_name`; ``gains`` and ``values`` are the wealth of betting on every quantity, ``clusters`` sum
    the verdict's gain by cluster, if there are any; ``substituted`` counts decisions in which another
    provider stood in for a fixed one; ``histogram`` counts weights between `WEIGHT_EDGES`; ``shares`` (k,)
    sums the target's probabilities, and ``distance`` is how far the farthest is from the logging policy's.
    """

    moments: Moments
    weights: WeightCounts
    gains: Mapping[str, Wealth]
    values: Mapping[str, Wealth]
    clusters: ClusterSums | None
    histogram: NDArray[np.int64]
    shares: FloatArray
    substituted: int
    distance: float
    resamples: Resamples | None
    slices: Mapping[Key, Slice] = field(default_factory=dict)

    def merge(self, other: Self) -> Self:
        """Add up both parts."""
        slices = {
            key: _merge(self.slices.get(key), other.slices.get(key))
            for key in {**self.slices, **other.slices}
        }
        return type(self)(
            moments=self.moments.merge(other.moments),
            weights=self.weights.merge(other.weights),
            gains={name: part.merge(other.gains[name]) for name, part in self.gains.items()},
            values={name: part.merge(other.values[name]) for name, part in self.values.items()},
            clusters=_merge(self.clusters, other.clusters),
            substituted=self.substituted + other.substituted,
            histogram=self.histogram + other.histogram,
            shares=self.shares + other.shares,
            distance=max(self.distance, other.distance),
            resamples=_merge(self.resamples, other.resamples),
            slices=slices,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LogPart:
    """Sums that concern the log and no target.

    ``cells`` (tasks + 1, k, 6) sums per task (the last: none) and provider: decisions, weights 1 / p,
    weighted rewards, weighted USD, rewards, squares of the weights. ``smallest_propensity`` is that of any
    eligible provider. ``fixed`` resamples the always-one-provider policies. ``drift`` tells whether the
    logging policy learned, ``draws`` whether decisions of one key were drawn alike. ``calibration`` sums per
    task and span: decisions, rewards, predicted rewards, draws of the likeliest provider, its propensities.
    """

    counts: LogCounts
    cells: FloatArray
    smallest_propensity: float
    fixed: Resamples | None
    drift: PropensityDrift
    draws: Mapping[str, KeyedDraws]
    calibration: Mapping[Key, FloatArray]

    def merge(self, other: Self) -> Self:
        """Add up both parts."""
        return type(self)(
            counts=self.counts.merge(other.counts),
            cells=self.cells + other.cells,
            smallest_propensity=min(self.smallest_propensity, other.smallest_propensity),
            fixed=_merge(self.fixed, other.fixed),
            drift=self.drift.merge(other.drift),
            draws={
                key: _merge(self.draws.get(key), other.draws.get(key))
                for key in {**self.draws, **other.draws}
            },
            calibration={
                key: np.sum(
                    [part[key] for part in (self.calibration, other.calibration) if key in part], axis=0
                )
                for key in {**self.calibration, **other.calibration}
            },
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PartResult:
    """One part, or several merged: the log, and the targets in the order of the settings."""

    log: LogPart
    targets: tuple[TargetPart | None, ...]

    def merge(self, other: Self) -> Self:
        """Add up both parts."""
        pairs = zip(self.targets, other.targets, strict=True)
        return type(self)(log=self.log.merge(other.log), targets=tuple(_merge(a, b) for a, b in pairs))


def _merge(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return second if first is None else first
    return first.merge(second)
