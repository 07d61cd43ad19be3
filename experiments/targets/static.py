"""Targets that learn nothing: their probabilities follow from eligibility, or are read from the log."""

from __future__ import annotations

import numpy as np

from fairlead.experiments.logs.batch import LogBatch
from fairlead.optimizer.types import FloatArray


class UniformTarget:
    """Every eligible provider with equal probability."""

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Return 1 / (number of eligible providers)."""
        shares: FloatArray = batch.eligible / batch.eligible.sum(axis=1, keepdims=True)
        return shares


class FixedTarget:
    """Always one provider, or the first eligible one if it is not eligible: providers are ordered by cost."""

    def __init__(self, column: int) -> None:
        self._column = column

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Return 1 for the provider, 0 for the others."""
        candidates = batch.eligible[:, self._column]
        chosen = np.where(candidates, self._column, batch.eligible.argmax(axis=1))
        probabilities = np.zeros(batch.eligible.shape)
        probabilities[np.arange(len(batch)), chosen] = 1.0
        return probabilities


class ColumnTarget:
    """A policy of the user's own, whose probabilities are a column of the log."""

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Return the column `target_propensities`, scaled to a sum of exactly 1."""
        logged = batch.target_propensities
        if logged is None:
            raise ValueError("the log has no target_propensities: check the target against the log first")
        scaled: FloatArray = logged / logged.sum(axis=1, keepdims=True)
        return scaled
