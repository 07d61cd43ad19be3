"""The row of numbers that models predict from, for one request."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.encoder import Encoder
from fairlead.optimizer.types import Context, FloatArray
from fairlead.optimizer.types.arrays import BOUND


def encode_row(context: Context, encoder: Encoder | None, *, width: int) -> FloatArray:
    """Make the `design_row` of one request, from the features that it brings or from its encoding."""
    if context.features is not None:
        return design_row(context.features, width=width)
    if encoder is None:
        raise InvalidInput("this router has no encoder: give the context's features")
    return design_row(encoder.encode(context), width=width)


def design_row(features: FloatArray, *, width: int) -> FloatArray:
    """Make the row (1, width + 1) that models predict from: an intercept, and features clipped to ±BOUND.

    Raises `InvalidInput` for features of another width, or that are not finite.
    """
    if features.shape != (width,):
        raise InvalidInput(
            f"features have shape {features.shape}, but this route's encoder gives ({width},): "
            "encode the request with the encoder that the route declares"
        )
    row = np.empty((1, width + 1))
    row[0, 0] = 1.0
    row[0, 1:] = features
    if not _clip(row[0]):
        raise InvalidInput("features hold NaN or infinity, which no model may see: correct the featuriser")
    return row


@compiled
def _clip(row: FloatArray) -> bool:
    """Clip a row, in place, to ±BOUND; False if it holds NaN or infinity."""
    for i in range(len(row)):
        if not abs(row[i]) < np.inf:
            return False
        row[i] = min(max(row[i], -BOUND), BOUND)
    return True
