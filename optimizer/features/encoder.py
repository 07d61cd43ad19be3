"""Several featurisers as one vector per request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fairlead.optimizer.features.base import Featuriser, fingerprint
from fairlead.optimizer.types import Context, FloatArray
from fairlead.optimizer.types.arrays import BOUND


class Encoder:
    """Several featurisers side by side; without featurisers, vectors of width 0.

    There is no constant column: a model that wants an intercept adds its own.

    >>> from fairlead import Attributes, Context, Encoder, TaskLabel
    >>> encoder = Encoder([TaskLabel(width=4), Attributes(width=2)])
    >>> encoder.slices
    {'task': slice(0, 4, None), 'attributes': slice(4, 6, None)}
    >>> encoder.encode(Context(task="chat"))
    array([1., 0., 0., 0., 0., 0.])
    """

    def __init__(self, featurisers: Sequence[Featuriser]) -> None:
        self._featurisers = tuple(featurisers)
        self.blocks: Final = tuple(featuriser.block for featuriser in self._featurisers)
        """The blocks, in the order of their coordinates."""
        self._slices: dict[str, slice] = {}
        self.width = 0
        """Number of coordinates."""
        for block in self.blocks:
            if block.name in self._slices:
                raise ValueError(
                    f"two blocks are named {block.name!r}, so neither could be found by its name: "
                    "drop one of the two featurisers"
                )
            self._slices[block.name] = slice(self.width, self.width + block.width)
            self.width += block.width
        parts = [
            f"{block.name} {block.width} {block.isotropic} {featuriser.version}"
            for block, featuriser in zip(self.blocks, self._featurisers, strict=True)
        ]
        self.version: Final = "encoder-" + fingerprint(*parts)
        """Changes whenever a featuriser, its state or the order of the blocks does."""

    @property
    def slices(self) -> dict[str, slice]:
        """The coordinates of each block, by its name."""
        return dict(self._slices)

    def encode(self, context: Context) -> FloatArray:
        """Encode one request: coordinates of shape (width,), finite, within ±BOUND."""
        vector: FloatArray = self.encode_many([context])[0]
        return vector

    def encode_many(self, contexts: Sequence[Context]) -> FloatArray:
        """Encode requests: shape (n, width), C-contiguous, each row as `encode` gives it."""
        coordinates = np.empty((len(contexts), self.width))
        for featuriser, block in zip(self._featurisers, self.blocks, strict=True):
            part = featuriser.transform(contexts)
            if part.shape != (len(contexts), block.width):
                raise ValueError(
                    f"featuriser {block.name!r} gave shape {part.shape} for {len(contexts)} requests, "
                    f"but its block is {block.width} wide: correct its transform or its block"
                )
            coordinates[:, self._slices[block.name]] = part
        finite = np.isfinite(coordinates).all(axis=0)
        if not finite.all():
            raise ValueError(self._not_finite(int(np.argmin(finite))))
        np.clip(coordinates, -BOUND, BOUND, out=coordinates)
        return coordinates

    def _not_finite(self, column: int) -> str:
        name = next(name for name, part in self._slices.items() if part.start <= column < part.stop)
        return (
            f"featuriser {name!r} gave a number that is not finite at its coordinate "
            f"{column - self._slices[name].start}, which would spoil all that a model has learned: "
            "correct its transform, or leave the featuriser out"
        )
