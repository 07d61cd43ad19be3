"""Routers of bases of 0.1.0 that learned from wide vectors, as if these had been sketched from the start.

A sketch is linear (`optimizer.features.sketch`). So the sums of the sketched contexts follow from those of
the whole ones, Σ (Tx)(Tx)ᵀ = T (Σ x xᵀ) Tᵀ and Σ y Tx = T (Σ y x), up to the rounding of the sums and to
coordinates of a sketch beyond the bound of features, which those of real embeddings do not reach. Beliefs
are fitted anew to the sums when the base is loaded.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.api.schemas.declarations import FeaturesIn
from fairlead.api.state.served_route import declared_blocks
from fairlead.optimizer.features.base import fingerprint
from fairlead.optimizer.features.sketch import Sketch
from fairlead.optimizer.types.arrays import FloatArray, State

_SUMS: Final = re.compile(r"beliefs/(quality|cost)/(current|past)\d+/(gram|moment)")
_FITTED: Final = re.compile(r"beliefs/(quality|cost)/(mean|cov|noise|weights|centre|level_variance)")


class OldVectors:
    """What a route's vectors were in 0.1.0, and their sketch."""

    def __init__(self, features: FeaturesIn) -> None:
        self._blocks, self._version = declared_blocks(features)
        self._sketch = Sketch(self._blocks)

    @property
    def are_wide(self) -> bool:
        """Whether they are sketched today."""
        return self._sketch.blocks != self._blocks

    def identity(self, encoder: str) -> str:
        """Return today's fingerprint of the encoder for that of 0.1.0; another one is returned as it is."""
        if encoder != fingerprint(self._version, repr(self._blocks)):
            return encoder
        return fingerprint(self._sketch.version(self._version), repr(self._sketch.blocks))

    def router(self, arrays: State) -> State:
        """Sketch all vectors and sums in the arrays of a router; leaves out what was fitted to them."""
        result = {name: array for name, array in arrays.items() if not _FITTED.fullmatch(name)}
        for name in result:
            if _SUMS.fullmatch(name):
                result[name] = self._sums(result[name])
        features = np.split(arrays["learning/ledger/features"], np.cumsum(arrays["learning/ledger/widths"]))
        sketches = [self._sketch.apply(vector) for vector in features[:-1]]
        result["learning/ledger/features"] = np.concatenate([*sketches, np.empty(0)])
        result["learning/ledger/widths"] = np.array([len(sketch) for sketch in sketches], dtype=np.int64)
        window = [self._sketch.apply(vector) for vector in arrays["pacing/features"]]
        result["pacing/features"] = np.array(window)
        return result

    def total(self, features: list[float]) -> list[float]:
        """Sketch a sum of vectors."""
        sketched: list[float] = self._sketch.map(np.array(features)).tolist()
        return sketched

    def _sums(self, sums: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sketch whole-number sums of contexts with intercept, (d,) or symmetric (d, d), on each axis."""
        if not sums.any():
            size = self._sketch.width + 1
            return np.zeros((size,) * sums.ndim, dtype=np.int64)
        mapped = self._mapped(sums.astype(np.float64))
        if sums.ndim == 2:
            mapped = self._mapped(mapped.T)
            mapped = (mapped + mapped.T) / 2
        return np.rint(mapped).astype(np.int64)

    def _mapped(self, rows: FloatArray) -> FloatArray:
        return np.concatenate([rows[..., :1], self._sketch.map(rows[..., 1:])], axis=-1)
