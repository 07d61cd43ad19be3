"""One quantity (quality, or cost relative to the price list) as a linear function of the context.

Statistics of each provider are kept in two sums: what was decided since its last change, and before.
A drift alarm moves the boundary; what lies before it then counts as `PAST_WORTH` observations at most.
The boundary is a place in the order of decisions, never a time of arrival, so late feedback falls on
its own side of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from optimizer.features.base import Block
from optimizer.models.posterior import Mixture, Posterior, Sums
from optimizer.models.statistics import Statistics

FloatArray = NDArray[np.float64]

PAST_WORTH: Final = 2.0
"""Observations that everything before a provider's change counts for."""

GROWTH: Final = 1.12
"""The posterior is computed anew when all observations have grown by this factor."""

OWN_GROWTH: Final = 1.25
"""... or those of one provider by this one."""


class LinearBelief:
    """Belief about one quantity for all providers of a route, by provider name."""

    def __init__(
        self, blocks: Sequence[Block], *, prior_mean: float, prior_variance: float, target_bits: int = 16
    ) -> None:
        self._width = sum(block.width for block in blocks)
        self._bits = target_bits
        self._mixture = Mixture(blocks, prior_mean=prior_mean, prior_variance=prior_variance)
        self._current: dict[str, Statistics] = {}
        self._past: dict[str, Statistics] = {}
        self.changes: dict[str, int] = {}
        """Place in the order from which each provider that changed is taken to be as it is now."""
        self._names: tuple[str, ...] = ()
        self._total = 0
        self._fitted_total = -1.0
        self._fitted: dict[str, int] = {}
        self.posterior: Posterior
        self.version = 0

    @property
    def members(self) -> dict[str, float]:
        """Weight of each member of the mixture by its name: how much which context is trusted."""
        return dict(zip(self._mixture.names, self.posterior.weights.tolist(), strict=True))

    def providers(self, names: Sequence[str]) -> None:
        """Make ``names`` the rows of the posterior, in this order; what was learned of others is kept."""
        if tuple(names) == self._names:
            return
        self._names = tuple(names)
        for name in names:
            if name not in self._current:
                self._current[name] = self._empty()
                self._past[name] = self._empty()
        self.refresh()

    def _empty(self) -> Statistics:
        return Statistics(width=self._width, target_bits=self._bits)

    def add(self, name: str, row: FloatArray, target: float, *, order: int, sign: int = 1) -> None:
        """Count one observation (sign 1), or take it back (sign -1); ``row`` is quantised."""
        side = self._current if order >= self.changes.get(name, 0) else self._past
        side[name].add(row, target, sign=sign)
        self._total += sign

    def count(self, name: str) -> int:
        """Observations of one provider in force since its last change."""
        return self._current[name].count

    def due(self, name: str) -> bool:
        """Whether enough has come since the posterior was computed to compute it anew."""
        if self._total >= self._fitted_total * GROWTH:
            return True
        return self._current[name].count >= self._fitted.get(name, 0) * OWN_GROWTH

    def change(self, name: str, since: int, later: Iterable[tuple[FloatArray, float]]) -> None:
        """Let what was decided before ``since`` count for little; ``later`` came from then on."""
        everything = self._current[name]
        everything.merge(self._past[name])
        fresh = self._empty()
        for row, target in later:
            fresh.add(row, target)
        everything.merge(fresh, sign=-1)
        self._current[name], self._past[name] = fresh, everything
        self.changes[name] = since
        self.refresh()

    def refresh(self) -> None:
        """Compute the posterior from the statistics as they are."""
        size = self._width + 1
        k = len(self._names)
        sums = Sums(np.empty((k, size, size)), np.empty((k, size)), np.empty(k), np.empty(k))
        for i, name in enumerate(self._names):
            gram, moment, square = self._current[name].sums()
            count = float(self._current[name].count)
            past = self._past[name]
            if past.count > 0:
                share = min(1.0, PAST_WORTH / past.count)
                old_gram, old_moment, old_square = past.sums()
                gram = gram + share * old_gram
                moment, square = moment + share * old_moment, square + share * old_square
                count += share * past.count
            sums.gram[i], sums.moment[i], sums.square[i], sums.count[i] = gram, moment, square, count
        self.posterior = self._mixture.fit(sums)
        self._fitted_total = float(self._total)
        self._fitted = {name: self._current[name].count for name in self._names}
        self.version += 1

    def predict(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of the belief, each shape (n, k), for rows (n, d) with intercept."""
        mean = rows @ self.posterior.mean.T
        if len(rows) == 1:
            row = rows[0]
            variance = ((self.posterior.cov @ row) @ row)[None]
        else:
            variance = np.einsum("knd,nd->nk", rows @ self.posterior.cov, rows)
        return mean, np.maximum(variance, 1e-12)

    def statistics(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        """The sums of each provider as whole numbers: ``NAME/current`` and ``NAME/past``."""
        found = {}
        for name in sorted(self._current):
            found[f"{name}/current"] = self._current[name].state()
            found[f"{name}/past"] = self._past[name].state()
        return found
