"""Counts over a log from which the diagnostics follow; partitions merge them by addition."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np

from fairlead.experiments.ope.logged import SMALLEST_PROPENSITY
from fairlead.experiments.ope.validation import (
    Flags,
    Integers,
    Matrix,
    Vector,
    check,
    flags,
    matrix,
    places,
    same_length,
    vector,
)
from fairlead.optimizer.errors import InvalidInput

BINS: Final = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class LogCounts:
    """What n decisions of a log, with or without a reward, say of the logging policy and the feedback.

    Per provider, shape (k,): `chosen`, how often it was drawn; `expected`, the sum of its propensities;
    `rewarded`, how many of its decisions have a reward. `covariance` (k, k) is Σ diag(p) − p pᵀ, what the
    counts would vary by. `elsewhere` counts decisions that another provider than the drawn one served. Per
    tenth of probability, shape (10,), over all pairs of decision and provider: `pairs`, `promised` (Σ p),
    `drawn`.
    """

    n: int
    chosen: Vector
    expected: Vector
    covariance: Matrix
    rewarded: Vector
    elsewhere: int
    pairs: Vector
    promised: Vector
    drawn: Vector

    @classmethod
    def of(cls, *, logging: Matrix, selected: Integers, served: Integers, has_reward: Flags) -> Self:
        """From the logging policy's probabilities (n, k), 0 where a provider was no candidate, and columns
        (n,).

        `selected` is the provider that was drawn and `served` the one that answered.
        """
        logging = matrix("logging", logging)
        n, k = logging.shape
        selected, served = places("selected", selected, k), places("served", served, k)
        has_reward = flags("has_reward", has_reward)
        same_length({"logging": logging, "selected": selected, "served": served, "has_reward": has_reward})
        total = logging @ np.ones(k)
        fine = (np.abs(total - 1.0) <= 1e-6) & (logging >= 0.0).all(axis=1)
        check("logging", total, fine, "the sum of a row that are no probabilities", "log all of them")
        hit = np.zeros((n, k), dtype=np.bool_)
        hit[np.arange(n), selected] = True
        place = np.minimum((logging * BINS).astype(np.int64), BINS - 1)
        possible = logging > 0.0
        place = place[possible]
        return cls(
            n=n,
            chosen=np.bincount(selected, minlength=k).astype(np.float64),
            expected=logging.sum(axis=0),
            covariance=np.diag(logging.sum(axis=0)) - logging.T @ logging,
            rewarded=np.bincount(selected[has_reward], minlength=k).astype(np.float64),
            elsewhere=int((selected != served).sum()),
            pairs=np.bincount(place, minlength=BINS).astype(np.float64),
            promised=np.bincount(place, weights=logging[possible], minlength=BINS).astype(np.float64),
            drawn=np.bincount(place, weights=hit[possible], minlength=BINS).astype(np.float64),
        )

    def merge(self, other: LogCounts) -> LogCounts:
        """Both parts together."""
        if len(self.chosen) != len(other.chosen):
            raise InvalidInput(
                f"tallies of {len(self.chosen)} and {len(other.chosen)} providers do not merge: "
                "use one list of them"
            )
        return LogCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class WeightCounts:
    """What the n rewarded decisions say of one target policy's importance weights w.

    `total` is Σ w, `squares` Σ w², `largest` max w, `without_support` Σ of the target's probabilities of
    providers that the logging policy could not have chosen, None where only the chosen propensity is known.
    """

    n: int
    total: float
    squares: float
    largest: float
    without_support: float | None

    @classmethod
    def of(cls, *, weight: Vector, target: Matrix | None = None, logging: Matrix | None = None) -> Self:
        """From weights (n,), and where known the probabilities of both policies (n, k)."""
        weight = vector("weight", weight)
        without = None
        if target is not None and logging is not None:
            target, logging = matrix("target", target), matrix("logging", logging)
            same_length({"weight": weight, "target": target, "logging": logging})
            without = float(target[~(logging > 0.0)].sum())
        n = same_length({"weight": weight})
        possible = (weight >= 0.0) & (weight <= 1.0 / SMALLEST_PROPENSITY)
        check("weight", weight, possible, "not a weight from 0 to 1e12", "check target and propensity")
        return cls(
            n=n,
            total=float(weight.sum()),
            squares=float((weight**2).sum()),
            largest=float(weight.max()),
            without_support=without,
        )

    def merge(self, other: WeightCounts) -> WeightCounts:
        """Both parts together."""
        known = self.without_support is not None and other.without_support is not None
        return WeightCounts(
            n=self.n + other.n,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            largest=max(self.largest, other.largest),
            without_support=(self.without_support or 0.0) + (other.without_support or 0.0) if known else None,
        )

    @property
    def effective_size(self) -> float:
        """(Σ w)² / Σ w², from 0 to n."""
        return self.total**2 / self.squares if self.squares > 0.0 else 0.0
