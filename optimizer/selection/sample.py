"""A sample of the contexts of a period: every n-th request, thinned out evenly as more come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from fairlead.optimizer.types.arrays import FloatArray, State

Row = tuple[FloatArray, float]
"""Features and input tokens of a request."""

SIZE: Final = 64
"""Most rows of one period; the sample holds the present period and the one before it."""


class PeriodSample:
    """Contexts of this period and the last one, spread evenly over their requests.

    The latest requests alone would let the shadow price follow the hour.
    """

    def __init__(self) -> None:
        self._last: list[Row] = []
        self._rows: list[Row] = []
        self._stride, self._seen = 1, 0

    def add(self, row: Row) -> None:
        """Take in the context of a request."""
        if self._seen % self._stride == 0:
            if len(self._rows) >= SIZE:
                self._rows, self._stride = self._rows[::2], 2 * self._stride
            if self._seen % self._stride == 0:
                self._rows.append(row)
        self._seen += 1

    def next_period(self) -> None:
        """Begin another period; one with hardly any requests does not displace the one before it."""
        if len(self._rows) >= SIZE // 4 or not self._last:
            self._last = self._rows
        self._rows, self._stride, self._seen = [], 1, 0

    def map(self, encode: Callable[[FloatArray], FloatArray]) -> None:
        """Replace the features of each context, after the encoder has changed."""
        self._last = [(encode(features), tokens) for features, tokens in self._last]
        self._rows = [(encode(features), tokens) for features, tokens in self._rows]

    def saved(self) -> tuple[list[Row], int, int, int]:
        """Return all rows, how many of them are of the period before, and what decides which come next."""
        return self.rows, len(self._last), self._stride, self._seen

    @classmethod
    def from_saved(cls, rows: list[Row], *counts: int) -> PeriodSample:
        """Build the sample that gave `saved`."""
        sample = cls()
        last, sample._stride, sample._seen = counts
        sample._last, sample._rows = rows[:last], rows[last:]
        return sample

    @property
    def rows(self) -> list[Row]:
        """The sampled contexts, those of the period before first."""
        return self._last + self._rows

    def state(self) -> State:
        """Return the sample as plain arrays."""
        return {
            "features": np.array([features for features, _ in self.rows]),
            "input_tokens": np.array([tokens for _, tokens in self.rows], dtype=np.float64),
            "counts": np.array([len(self._last), self._stride, self._seen], dtype=np.int64),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        rows = list(zip(state["features"], state["input_tokens"].tolist(), strict=True))
        last, self._stride, self._seen = state["counts"].tolist()
        self._last, self._rows = rows[:last], rows[last:]
