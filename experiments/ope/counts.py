"""Counts over a log from which the diagnostics follow; partitions merge them by addition."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

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
    providers that the logging policy could not have chosen, None if only the chosen propensity is known.

    >>> round(WeightCounts.of(weight=[0.5, 1.0, 1.5]).effective_size, 2)
    2.57
    """

    n: int
    total: float
    squares: float
    largest: float
    without_support: float | None

    @classmethod
    def of(cls, *, weight: Vector, target: Matrix | None = None, logging: Matrix | None = None) -> Self:
        """Sum weights (n,), and if they are known the probabilities of both policies (n, k)."""
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
        )

    @property
    def effective_size(self) -> float:
        """(Σ w)² / Σ w², from 0 to n."""
        return self.total**2 / self.squares if self.squares > 0.0 else 0.0
