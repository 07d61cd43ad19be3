"""Features that the client computes: an embedding of the request."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.features.base import WidthFeaturiser
from fairlead.optimizer.types import Context, FloatArray


class CallerEmbedding(WidthFeaturiser):
    """The client's embedding, scaled to norm √width so that a coordinate is about unit size.

    Only the direction is kept: providers of embeddings differ in scale, and many normalise
    theirs already. A missing embedding, or one of all zeros, gives zeros. An embedding with nearly all its
    weight on a few of more than 64 coordinates is cut at ±BOUND there.

    >>> import numpy as np
    >>> from fairlead.optimizer import Context
    >>> CallerEmbedding(width=4).transform([Context(embedding=np.array([3.0, 0.0, 4.0, 0.0]))])
    array([[1.2, 0. , 1.6, 0. ]])
    """

    name = "embedding"
    isotropic = True

    def _fill(self, row: FloatArray, context: Context) -> None:
        if context.embedding is not None:
            row[:] = self._scale(self._validate(context.embedding))

    def _validate(self, embedding: NDArray[Any]) -> FloatArray:
        array = np.asarray(embedding)
        if array.shape != (self._width,):
            raise ValueError(
                f"the embedding has shape {array.shape}, but this route learned on ({self._width},): "
                f"send one flat vector of {self._width} numbers from the same embedding model"
            )
        if array.dtype.kind not in "fiu":
            raise ValueError(f"the embedding holds {array.dtype}, which cannot be scaled: send real numbers")
        vector = array.astype(np.float64)
        finite = np.isfinite(vector)
        if not finite.all():
            position = int(np.argmin(finite))
            raise ValueError(
                f"the embedding is {vector[position]} at position {position}, which has no direction: "
                "send finite numbers, or leave the embedding out"
            )
        return vector

    def _scale(self, vector: FloatArray) -> FloatArray:
        largest = float(np.abs(vector).max())
        if largest == 0.0:
            return vector
        # First to at most 1, so that the squares neither overflow nor vanish.
        vector = vector / largest
        vector *= math.sqrt(self._width) / math.sqrt(float(np.square(vector).sum()))
        return vector
