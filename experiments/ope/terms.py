"""Per-decision terms of an estimate, from which its value, intervals and differences all follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.experiments.ope.validation import Vector, check, same_length, vector
from fairlead.optimizer.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, eq=False)
class Terms:
    """Per-decision terms, shape (n,) each, of an estimate mean(plain) + mean(weighted) / mean(weight).

    Estimators that are a mean have `plain` only; self-normalised ones have the other two, and self-normalised
    DR has all three.

    >>> Terms(weighted=np.array([2.0, 0.0]), weight=np.array([2.0, 0.5])).value
    0.8
    """

    plain: Vector | None = None
    weighted: Vector | None = None
    weight: Vector | None = None

    def __post_init__(self) -> None:
        columns = {"plain": self.plain, "weighted": self.weighted, "weight": self.weight}
        if (self.weighted is None) != (self.weight is None) or all(c is None for c in columns.values()):
            raise InvalidInput("terms lack a column: give plain, or weighted with its weight, or all three")
        for name, column in columns.items():
            if column is not None:
                column = vector(name, column)
                remedy = "check the columns behind it"
                check(column, np.isfinite(column), name=name, rule="not a finite number", remedy=remedy)
                object.__setattr__(self, name, column)
        same_length({"plain": self.plain, "weighted": self.weighted, "weight": self.weight})

    def __len__(self) -> int:
        """Return the number of decisions."""
        return next(len(column) for column in (self.plain, self.weight) if column is not None)

    @property
    def value(self) -> float:
        """The estimate."""
        total = 0.0 if self.plain is None else float(self.plain.mean())
        if self.weighted is None or self.weight is None:
            return total
        return total + float(self.weighted.mean()) / positive(float(self.weight.mean()))


def positive(mean_weight: float) -> float:
    """Return the mean weight; `InvalidInput` if it is 0, so that nothing can be divided by it."""
    if not mean_weight > 0.0:
        raise InvalidInput(
            f"the mean weight is {mean_weight:g}: the target policy would make none of the logged choices, "
            "so the log says nothing of it; log with exploration, or judge a policy closer to the logging one"
        )
    return mean_weight
