"""Additive sufficient statistics of a linear model, exact whatever the order of the observations.

Rows and targets are rounded to fixed point once, when they enter. From then on everything is sums of
whole numbers, so that a late, repeated, corrected or merged observation leads to the same bits as a
clean log. Products are summed by the floating-point matrix multiplication of the linear algebra
library, in runs short enough that every partial sum is a whole number below 2**53 and hence exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.types.arrays import BOUND, FloatArray

ROW_BITS: Final = 16
ROW_UNIT: Final = 2.0**-ROW_BITS
# A product of a row's number, up to 2**19, and a target's, up to 2**27, is at most 2**46; 2**7 of them sum to
# at most 2**53.
_RUN: Final = 1 << 7
_TARGET_BITS: Final = 27


class Observation(NamedTuple):
    """One observation in two encodings."""

    seq: int
    before: FloatArray
    """Row as it was counted."""
    now: FloatArray
    """Row as it is to be counted."""
    target: float


class Statistics:
    """Σ x xᵀ, Σ y x, Σ y² and n of one provider; x has an intercept of 1 in front, shape (width + 1,).

    ``target_bits`` is the fixed-point precision of targets: with 16 they may reach ±2,048, with 12 ±32,768.
    Sums have headroom for 3·10⁷ observations of up to ±8 and ±128, and for fewer of larger ones.
    """

    def __init__(self, *, width: int, target_bits: int = 16) -> None:
        self.width = width
        self.target_bits = target_bits
        self._unit = 1 << target_bits
        self._limit = 2.0 ** (_TARGET_BITS - target_bits)
        size = width + 1
        self._gram = np.zeros((size, size), dtype=np.int64)
        self._moment = np.zeros(size, dtype=np.int64)
        self._square = 0
        self.count = 0
        self._rows: list[FloatArray] = []
        self._targets: list[float] = []
        self._signs: list[float] = []

    def add(self, row: FloatArray, target: float, *, sign: int = 1) -> None:
        """Add (sign 1) or take back (sign -1) one observation; ``row`` comes from `quantise`."""
        self._rows.append(row)
        clipped = min(max(target, -self._limit), self._limit)
        self._targets.append(float(round(clipped * self._unit)))
        self._signs.append(float(sign))
        self.count += sign
        if len(self._rows) >= _RUN:
            self._settle()

    def add_many(self, rows: FloatArray, targets: FloatArray) -> None:
        """Add observations (n, width + 1) and (n,), as `add` does one by one."""
        self._settle()
        clipped = np.rint(np.clip(targets, -self._limit, self._limit) * self._unit)
        for start in range(0, len(rows), _RUN):
            some, their = rows[start : start + _RUN], clipped[start : start + _RUN]
            self._gram += (some.T @ some).astype(np.int64)
            self._moment += (some.T @ their).astype(np.int64)
            self._square += int(their @ their)
        self.count += len(rows)

    def merge(self, other: Statistics, *, sign: int = 1) -> None:
        """Add (or take away) all observations of another replica or period."""
        self._settle()
        other._settle()
        self._gram += sign * other._gram
        self._moment += sign * other._moment
        self._square += sign * other._square
        self.count += sign * other.count

    def reencoded(self, transform: FloatArray, again: Sequence[Observation]) -> Self:
        """Return the statistics of the same observations in other features.

        Those that are known one by one are given ``again``; the sums of the rest are mapped by ``transform``
        (d, d before), up to rounding.
        """
        rest = type(self)(width=self.width, target_bits=self.target_bits)
        rest.merge(self)
        for each in again:
            rest.add(each.before, each.target, sign=-1)
        rest._settle()
        result = type(self)(width=len(transform) - 1, target_bits=self.target_bits)
        if rest._gram.any():
            # Symmetric by construction, and not only up to rounding.
            gram = transform @ rest._gram.astype(np.float64) @ transform.T
            result._gram = np.rint((gram + gram.T) / 2.0).astype(np.int64)
            result._moment = np.rint(transform @ rest._moment.astype(np.float64)).astype(np.int64)
        result._square, result.count = rest._square, rest.count
        for each in again:
            result.add(each.now, each.target)
        return result

    def _settle(self) -> None:
        if not self._rows:
            return
        rows = np.array(self._rows)
        signs = np.array(self._signs)
        targets = np.array(self._targets)
        signed = rows * signs[:, None]
        self._gram += (signed.T @ rows).astype(np.int64)
        self._moment += (signed.T @ targets).astype(np.int64)
        whole = targets.astype(np.int64)
        self._square += int((signs.astype(np.int64) * whole) @ whole)
        self._rows, self._targets, self._signs = [], [], []

    def sums(self) -> tuple[FloatArray, FloatArray, float]:
        """Σ x xᵀ (size, size), Σ y x (size,) and Σ y² as floats."""
        self._settle()
        unit_x, unit_y = 2.0**-ROW_BITS, 2.0**-self.target_bits
        gram = self._gram.astype(np.float64) * (unit_x * unit_x)
        moment = self._moment.astype(np.float64) * (unit_x * unit_y)
        return gram, moment, self._square * (unit_y * unit_y)

    def level(self) -> tuple[float, float, float]:
        """N, Σ y and Σ y² as floats."""
        self._settle()
        unit_y = 2.0**-self.target_bits
        return float(self.count), float(self._moment[0]) * ROW_UNIT * unit_y, self._square * (unit_y * unit_y)

    def state(self) -> dict[str, NDArray[np.int64]]:
        """Return the sums as whole numbers."""
        self._settle()
        scalars = np.array([self._square, self.count, self.target_bits], dtype=np.int64)
        return {"gram": self._gram.copy(), "moment": self._moment.copy(), "scalars": scalars}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[np.int64]]) -> Self:
        """Restore the statistics that gave this `state`."""
        square, count, bits = (int(value) for value in state["scalars"])
        restored = cls(width=len(state["moment"]) - 1, target_bits=bits)
        restored._gram = state["gram"].copy()
        restored._moment = state["moment"].copy()
        restored._square, restored.count = square, count
        return restored


def quantise(features: FloatArray) -> FloatArray:
    """Make a row for `Statistics.add`: intercept in front, clipped to ±8, in whole multiples of 2**-16."""
    row = np.empty(len(features) + 1)
    row[0] = 1.0
    row[1:] = features
    _quantise(row)
    return row


def quantise_many(features: FloatArray) -> FloatArray:
    """Make the rows (n, d + 1) of many features (n, d), each as `quantise` does."""
    rows = np.ones((len(features), features.shape[1] + 1))
    rows[:, 1:] = np.clip(features, -BOUND, BOUND)
    rows *= float(1 << ROW_BITS)
    return np.rint(rows)


@compiled
def _quantise(row: FloatArray) -> None:
    for i in range(len(row)):
        row[i] = np.rint(min(max(row[i], -BOUND), BOUND) * (1 << ROW_BITS))
