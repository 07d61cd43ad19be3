"""Targets that learn nothing: their probabilities follow from who is eligible, or stand in the log."""

from __future__ import annotations

import numpy as np

from fairlead.experiments.logs.batch import LogBatch
from fairlead.optimizer.types import FloatArray


class UniformTarget:
    """Every eligible provider alike."""

    def probabilities(self, columns: LogBatch) -> FloatArray:
        """1 / number of the eligible."""
        shares: FloatArray = columns.eligible / columns.eligible.sum(axis=1, keepdims=True)
        return shares


class FixedTarget:
    """Always one provider; where it was not eligible, the first that was: providers are ordered by cost."""

    def __init__(self, column: int) -> None:
        self._column = column

    def probabilities(self, columns: LogBatch) -> FloatArray:
        """One for the provider, zero for the rest."""
        able = columns.eligible[:, self._column]
        chosen = np.where(able, self._column, columns.eligible.argmax(axis=1))
        found = np.zeros(columns.eligible.shape)
        found[np.arange(len(columns)), chosen] = 1.0
        return found


class ColumnTarget:
    """A policy of the user's own, whose probabilities stand in the log."""

    def probabilities(self, columns: LogBatch) -> FloatArray:
        """The column `target_propensities`, scaled to a sum of exactly 1."""
        given = columns.target_propensities
        if given is None:
            raise ValueError("the log has no target_propensities: check the target against the log first")
        scaled: FloatArray = given / given.sum(axis=1, keepdims=True)
        return scaled
