"""Wide blocks reduced to the directions in which requests differ: learned, again at every fit.

A fit of d coordinates takes d³ steps, and a linear model of hundreds of them needs thousands of
observations. So a block wider than `DENSE` is modelled along the leading principal directions of all the
contexts that were learned from: those that stand out from what noise alone shows in so few contexts
(Marchenko and Pastur, 1967), and `DENSE` at most. They follow from the sums that every provider keeps
anyway, so the posterior stays a function of those sums, and a better choice of directions loses nothing
that was learned. The rewards have no part in the choice: evidence between the members of a mixture stays
honest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.posterior import Sums, imagined_scale
from fairlead.optimizer.types.arrays import FloatArray

DENSE: Final = 64
"""Widest block that is modelled as it is, and most directions along which a wider one is modelled."""

_TIE: Final = 1e-6


class Reduction:
    """The linear maps from features to what is modelled, for these blocks."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._before = tuple(blocks)
        self.blocks: Final = tuple(
            # Principal directions share one scale: how far requests differ along each is what orders them.
            replace(block, width=DENSE, isotropic=True) if block.width > DENSE else block
            for block in blocks
        )
        """The blocks as they are modelled."""
        self.is_needed: Final = self._before != self.blocks
        wide = [(b.width, a.width) for b, a in zip(self._before, self.blocks, strict=True)]
        self._columns, self._rows = (
            np.concatenate([[False], *(np.full(pair[i], pair[0] != pair[1]) for pair in wide)])
            for i in (0, 1)
        )
        """Which coordinates are of wide blocks, before and after."""
        self._shape = (1 + sum(b.width for b in self.blocks), 1 + sum(b.width for b in blocks))

    def basis(self, gram: FloatArray, count: float) -> FloatArray:
        """Return the map (r, d), intercept included, for contexts with this Σ x xᵀ (d, d) of ``count``."""
        basis = np.zeros(self._shape)
        basis[0, 0] = 1.0
        row = column = 1
        for before, after in zip(self._before, self.blocks, strict=True):
            rows, columns = slice(row, row + after.width), slice(column, column + before.width)
            if before == after:
                basis[rows, columns] = np.eye(before.width)
            elif count < 1:
                basis[rows, columns] = np.eye(after.width, before.width)
            else:
                mean = gram[0, columns] / count
                within = gram[columns, columns] / count - np.outer(mean, mean)
                basis[rows, columns] = _directions(within, count, isotropic=before.isotropic)
            row, column = rows.stop, columns.stop
        return basis

    def apply(self, basis: FloatArray, sums: Sums) -> Sums:
        """Return the sums of contexts x as those of basis·x; only the wide blocks are multiplied."""
        rows = np.flatnonzero(self._rows & basis.any(axis=1))
        kept, stay = np.flatnonzero(~self._rows), np.flatnonzero(~self._columns)
        columns = np.flatnonzero(self._columns)
        directions = basis[rows[:, None], columns]
        r = self._shape[0]
        gram = np.zeros((len(sums.count), r, r))
        gram[:, kept[:, None], kept] = sums.gram[:, stay[:, None], stay]
        for own, target in zip(sums.gram, gram, strict=True):
            if own[0, 0] == 0.0:
                continue  # nothing was learned of this provider
            # All columns of contexts, so that the narrow ones beside the wide come along.
            turned = directions @ own[columns]
            target[rows[:, None], rows] = turned[:, columns] @ directions.T
            target[rows[:, None], kept] = turned[:, stay]
            target[kept[:, None], rows] = turned[:, stay].T
        return Sums(gram, sums.moment @ basis.T, sums.square, sums.count)


def _directions(covariance: FloatArray, count: float, *, isotropic: bool) -> FloatArray:
    """Principal directions of this covariance, shape (DENSE, d); zeros for those that do not count."""
    size = len(covariance)
    scale = np.ones(size)
    if not isotropic:
        # Each coordinate has a unit of its own.
        variance = np.maximum(np.diag(covariance), 0.0)
        scale = imagined_scale(variance, count)
    scaled = covariance / (scale[:, None] * scale)
    # Directions in which no request differed yet come in the order of the coordinates, not at random.
    index = np.arange(size)
    scaled[index, index] += _TIE * (np.trace(scaled) + 1.0) * (size - index) / size**2
    variances, vectors = np.linalg.eigh(scaled)
    leading: FloatArray = vectors[:, ::-1][:, :DENSE].T / scale
    leading[_standing_out(variances[::-1], count) :] = 0.0
    return leading


def _standing_out(variances: FloatArray, count: float) -> int:
    """Count the variances, in descending order, above the largest that noise like the others would show."""
    kept = 0
    for _ in variances:
        others = variances[kept:]
        edge = others.mean() * (1.0 + np.sqrt(len(others) / count)) ** 2
        above = int((variances > edge).sum())
        if above <= kept:
            break
        kept = above
    return max(kept, 1)
