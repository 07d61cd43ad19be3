"""Wide vectors, brought to a width that can be logged and learned from: a subsampled Hadamard transform.

Each coordinate of the sketch is a sum of all those of the vector under signs that look random, scaled so
that coordinates of unit size stay of unit size. Distances and angles survive to within 1/√width (the
Johnson-Lindenstrauss lemma), whatever the vectors are, from the first request on. Which of the sketch's
directions matter is learned later (`models.reduction`).

Ailon and Chazelle (2009), The fast Johnson-Lindenstrauss transform; Tropp (2011), Improved analysis of the
subsampled randomized Hadamard transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.types.arrays import BOUND, FloatArray

SKETCH_WIDTH: Final = 192
"""Coordinates of a sketch; blocks up to this width are logged as they are."""

_VERSION: Final = "sketch-1"


class Sketch:
    """Replaces each block wider than `SKETCH_WIDTH` by its sketch; other blocks stay, bit for bit.

    It depends on the widths alone, so that every process and every release computes the same numbers.

    >>> sketch = Sketch([Block("task", 4, isotropic=False), Block("embedding", 1536, isotropic=True)])
    >>> [block.width for block in sketch.blocks], len(sketch.apply(np.ones(1540)))
    ([4, 192], 196)
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks: Final = tuple(
            replace(block, width=SKETCH_WIDTH) if block.width > SKETCH_WIDTH else block for block in blocks
        )
        """The blocks as they are logged and learned from."""
        self.width_before: Final = sum(block.width for block in blocks)
        self.width: Final = sum(block.width for block in self.blocks)
        self._transforms: dict[int, tuple[FloatArray, NDArray[np.int64]]] = {
            block.width: _transform(block.width) for block in blocks if block.width > SKETCH_WIDTH
        }
        self._before = tuple(block.width for block in blocks)

    def version(self, encoder_version: str) -> str:
        """Name what gives the features: the encoder, and the sketch if there is one."""
        return f"{encoder_version}+{_VERSION}-{self.width}" if self._transforms else encoder_version

    def takes(self, features: FloatArray) -> bool:
        """Whether these features are to be sketched: those of a request, not those of a logged decision."""
        return bool(self._transforms) and np.shape(features) == (self.width_before,)

    def apply(self, features: FloatArray) -> FloatArray:
        """Sketch the wide blocks of features (width_before,); any other shape is returned as it is.

        Features that are sketched already pass, so that what was logged can be decided on again. What is not
        finite gives NaN.
        """
        if not self.takes(features):
            return features
        sketched = np.empty(self.width)
        start = end = 0
        for width in self._before:
            part = features[start : start + width]
            start += width
            if width in self._transforms:
                signs, chosen = self._transforms[width]
                work = np.zeros(_padded(width))
                work[:width] = np.where(np.abs(part) < np.inf, np.clip(part, -BOUND, BOUND), np.nan)
                work[:width] *= signs
                hadamard(work)
                sketched[end : end + len(chosen)] = np.clip(work[chosen], -BOUND, BOUND)
                end += len(chosen)
            else:
                sketched[end : end + width] = part
                end += width
        return sketched

    def map(self, vectors: FloatArray) -> FloatArray:
        """Sketch the last axis of vectors (..., width_before) as `apply` does, but without any bound.

        Being linear, it also turns sums of vectors into sums of their sketches.
        """
        parts, start = [], 0
        for width in self._before:
            part = vectors[..., start : start + width]
            start += width
            if width in self._transforms:
                signs, chosen = self._transforms[width]
                work = np.zeros((*vectors.shape[:-1], _padded(width)))
                work[..., :width] = part * signs
                for row in work.reshape(-1, work.shape[-1]):
                    hadamard(row)
                part = work[..., chosen]
            parts.append(part)
        return np.concatenate(parts, axis=-1)


def _padded(width: int) -> int:
    return 1 << (width - 1).bit_length()


def _transform(width: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return signs with the scale (width,), and which coefficients are kept, ascending."""
    bits = np.unpackbits(np.frombuffer(_random(width, "signs", -(-width // 8)), dtype=np.uint8))[:width]
    signs = (1.0 - 2.0 * bits) / np.sqrt(float(width))
    size = _padded(width)
    keys = np.frombuffer(_random(width, "rows", 8 * size), dtype="<u8")
    chosen = np.sort(np.argsort(keys, kind="stable")[:SKETCH_WIDTH])
    return signs, chosen.astype(np.int64)


def _random(width: int, use: str, size: int) -> bytes:
    """Return bytes that look random and depend on the arguments alone, on every platform."""
    blocks = (blake2b(f"{_VERSION} {width} {use} {i}".encode()).digest() for i in range(-(-size // 64)))
    return b"".join(blocks)[:size]


@compiled
def hadamard(x: FloatArray) -> None:
    """Apply the Walsh-Hadamard transform, without scaling, in place; the length is a power of two."""
    half = 1
    while half < len(x):
        for start in range(0, len(x), 2 * half):
            left, right = x[start : start + half], x[start + half : start + 2 * half]
            for i in range(half):
                a, b = left[i], right[i]
                left[i] = a + b
                right[i] = a - b
        half *= 2
