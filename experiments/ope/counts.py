"""Counts over a log from which the diagnostics follow; partitions merge them by addition."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from fairlead.experiments.ope.grouping import sum_by
from fairlead.experiments.ope.logged import SMALLEST_PROPENSITY
from fairlead.experiments.ope.validation import (
    Flags,
    Integers,
    Matrix,
    Vector,
    check,
    columns,
    flags,
    matrix,
    same_length,
    vector,
)
from fairlead.optimizer.errors import InvalidInput

_FALSE_ALARM: Final = 0.001
# A mean propensity that moves by less does not matter to any estimate.
_LEAST_DRIFT: Final = 0.002


@dataclass(frozen=True, kw_only=True, eq=False)
class LogCounts:
    """Counts over n decisions of a log, with or without a reward: of its choices and of its feedback.

    Per provider, shape (k,): `chosen`, how often it was drawn; `expected`, the sum of its propensities;
    `rewarded`, how many of its decisions have a reward, and `failed`, how many never had an answer that one
    could judge and are not among those. `covariance` (k, k) is Σ diag(p) − p pᵀ, that of
    `chosen` under the propensities. `fallback_served` counts decisions that another provider than the drawn
    one served.

    >>> counts = LogCounts.of(
    ...     logging=[[0.5, 0.5], [0.9, 0.1]], selected=[0, 0], served=[0, 1], has_reward=[True, False]
    ... )
    >>> counts.chosen.tolist(), counts.expected.tolist(), counts.fallback_served
    ([2.0, 0.0], [1.4, 0.6], 1)
    """

    n: int
    chosen: Vector
    expected: Vector
    covariance: Matrix
    rewarded: Vector
    failed: Vector
    fallback_served: int

    @classmethod
    def of(
        cls,
        *,
        logging: Matrix,
        selected: Integers,
        served: Integers,
        has_reward: Flags,
        failed: Flags | None = None,
    ) -> Self:
        """Count over the logging policy's probabilities (n, k), 0 for a provider that was no candidate.

        `selected` (n,) is the provider that was drawn and `served` (n,) the one that answered; `failed` (n,)
        says which calls failed, None that none did.
        """
        logging = matrix("logging", logging)
        n, k = logging.shape
        selected, served = columns("selected", selected, k), columns("served", served, k)
        has_reward = flags("has_reward", has_reward)
        failed = flags("failed", np.zeros(n, dtype=bool) if failed is None else failed)
        same_length({"logging": logging, "selected": selected, "served": served})
        same_length({"logging": logging, "has_reward": has_reward, "failed": failed})
        total = logging @ np.ones(k)
        fine = (np.abs(total - 1.0) <= 1e-6) & (logging >= 0.0).all(axis=1)
        rule = "the sum of a row that are no probabilities"
        check(total, fine, name="logging", rule=rule, remedy="log all of them")
        return cls(
            n=n,
            chosen=np.bincount(selected, minlength=k).astype(np.float64),
            expected=logging.sum(axis=0),
            covariance=np.diag(logging.sum(axis=0)) - logging.T @ logging,
            rewarded=np.bincount(selected[has_reward & ~failed], minlength=k).astype(np.float64),
            failed=np.bincount(selected[failed], minlength=k).astype(np.float64),
            fallback_served=int((selected != served).sum()),
        )

    def merge(self, other: LogCounts) -> LogCounts:
        """Return the counts of both sets of decisions together."""
        if len(self.chosen) != len(other.chosen):
            raise InvalidInput(
                f"counts of {len(self.chosen)} and {len(other.chosen)} providers do not merge: "
                "use one list of them"
            )
        return LogCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class WeightCounts:
    """Sums over the importance weights w of one target policy on n rewarded decisions.

    `total` is Σ w, `squares` Σ w², `largest` max w, `without_support` Σ of the target's probabilities of
    providers that the logging policy could not have chosen, None if only the chosen propensity is known;
    `won` and `lost` are sums and sums of squares of w r and of w (1 − r).

    >>> round(WeightCounts.of(weight=[0.5, 1.0, 1.5]).effective_size, 2)
    2.57
    """

    n: int
    total: float
    squares: float
    largest: float
    without_support: float | None
    won: tuple[float, float] = (0.0, 0.0)
    lost: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(
        cls,
        *,
        weight: Vector,
        target: Matrix | None = None,
        logging: Matrix | None = None,
        reward: Vector | None = None,
    ) -> Self:
        """Sum weights (n,), and if they are known both policies' probabilities (n, k) and rewards (n,)."""
        weight = vector("weight", weight)
        without = None
        if target is not None and logging is not None:
            target, logging = matrix("target", target), matrix("logging", logging)
            same_length({"weight": weight, "target": target, "logging": logging})
            without = float(target[~(logging > 0.0)].sum())
        n = same_length({"weight": weight})
        possible = (weight >= 0.0) & (weight <= 1.0 / SMALLEST_PROPENSITY)
        rule = "not a weight from 0 to 1e12"
        check(weight, possible, name="weight", rule=rule, remedy="check target and propensity")
        return cls(
            n=n,
            total=float(weight.sum()),
            squares=float((weight**2).sum()),
            largest=float(weight.max()),
            without_support=without,
            won=(0.0, 0.0) if reward is None else _two_sums(weight * reward),
            lost=(0.0, 0.0) if reward is None else _two_sums(weight * (1.0 - reward)),
        )

    def merge(self, other: WeightCounts) -> WeightCounts:
        """Return the sums over both sets of decisions together."""
        both = self.without_support is not None and other.without_support is not None
        return WeightCounts(
            n=self.n + other.n,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            largest=max(self.largest, other.largest),
            without_support=(self.without_support or 0.0) + (other.without_support or 0.0) if both else None,
            won=(self.won[0] + other.won[0], self.won[1] + other.won[1]),
            lost=(self.lost[0] + other.lost[0], self.lost[1] + other.lost[1]),
        )

    @property
    def effective_size(self) -> float:
        """(Σ w)² / Σ w², from 0 to n."""
        return _worth(self.total, self.squares)

    @property
    def effective_successes(self) -> float:
        """(Σ w r)² / Σ (w r)²: as many of the target's own successes the log is worth."""
        return _worth(*self.won)

    @property
    def effective_failures(self) -> float:
        """(Σ w (1 − r))² / Σ (w (1 − r))²: as many of its own failures."""
        return _worth(*self.lost)


def _two_sums(values: Vector) -> tuple[float, float]:
    return float(values.sum()), float((values**2).sum())


def _worth(total: float, squares: float) -> float:
    return total**2 / squares if squares > 0.0 else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class PropensityDrift:
    """Propensities by span of the log: how many decisions, Σ p and Σ p², shapes (s,), (s, k) and (s, k).

    A split that was fixed beforehand has the same mean in every span; a policy that learned has not.

    >>> steady, moved = np.full((200, 2), 0.5), np.repeat([[0.5, 0.5], [0.9, 0.1]], 100, axis=0)
    >>> span = np.repeat([0, 1], 100)
    >>> [PropensityDrift.of(logging=p, span=span, spans=2).is_adaptive for p in (steady, moved)]
    [False, True]
    """

    n: Vector
    total: Matrix
    squares: Matrix

    @classmethod
    def of(cls, *, logging: Matrix, span: Integers, spans: int) -> Self:
        """Sum the logging policy's probabilities (n, k) by the span (n,) of each decision."""
        by_span = [
            np.stack([sum_by(span, p, spans) for p in columns.T], axis=1) for columns in (logging, logging**2)
        ]
        n = np.bincount(span, minlength=spans).astype(np.float64)
        return cls(n=n, total=by_span[0], squares=by_span[1])

    def merge(self, other: Self) -> Self:
        """Return the sums of both sets of decisions together."""
        return type(self)(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def is_adaptive(self) -> bool:
        """Whether the means of the spans differ by more than chance and more than a hair."""
        used = self.n > 0.0
        n, total, squares = self.n[used, None], self.total[used], self.squares[used]
        between = (n * (total / n - total.sum(axis=0) / n.sum()) ** 2).sum(axis=0)
        free = max(float(n.sum()) - len(n), 1.0)
        within = np.maximum(squares.sum(axis=0) - (total**2 / n).sum(axis=0), 0.0) / free
        limit = chdtri(max(len(n) - 1, 1), _FALSE_ALARM / self.total.shape[1])
        moved = between > np.maximum(within * limit, _LEAST_DRIFT**2 * float(n.sum()))
        return bool(moved.any()) and len(n) > 1


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyedDraws:
    """How draws of one key, such as a user, go together: per key Σ (1[a] − p), and Σ |1[a] − p|².

    Shapes are (c,), (c, k) and (c,). `spread` and `squares` (c,) are Σ v and Σ v², v = 1 − |p|² the variance.
    """

    keys: NDArray[np.uint64]
    gaps: Matrix
    own: Vector
    spread: Vector
    squares: Vector

    @classmethod
    def of(cls, *, key: NDArray[np.uint64], logging: Matrix, selected: Integers) -> Self:
        """Sum over decisions by their keys (n,)."""
        gap = -logging
        gap[np.arange(len(key)), selected] += 1.0
        keys, group = np.unique(key, return_inverse=True)
        variance = 1.0 - (logging**2).sum(axis=1)
        return cls(
            keys=keys,
            spread=sum_by(group, variance, len(keys)),
            squares=sum_by(group, variance**2, len(keys)),
            gaps=_by_group(gap, group, len(keys)),
            own=sum_by(group, (gap**2).sum(axis=1), len(keys)),
        )

    def merge(self, other: Self) -> Self:
        """Return the sums of both sets of decisions, which may share keys."""
        keys, group = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        own, spread, squares = (
            sum_by(group, np.concatenate([getattr(self, name), getattr(other, name)]), len(keys))
            for name in ("own", "spread", "squares")
        )
        return type(self)(
            keys=keys,
            own=own,
            spread=spread,
            squares=squares,
            gaps=_by_group(np.concatenate([self.gaps, other.gaps]), group, len(keys)),
        )

    @property
    def likeness(self) -> float:
        """By how many standard errors draws within a key are more alike than the propensities say.

        The variance is that of independent draws, or more: exact for two providers.
        """
        alike = (self.gaps**2).sum(axis=1) - self.own
        variance = 2.0 * float((self.spread**2 - self.squares).sum())
        return float(alike.sum()) / math.sqrt(variance) if variance > 1e-12 else 0.0


def _by_group(columns: Matrix, group: Integers, groups: int) -> Matrix:
    sums = [sum_by(group, column, groups) for column in columns.T]
    return np.stack(sums, axis=1)
