"""Features of what the client sends with a request: its task label, its attributes, its embedding.

Labels, keys and values are not known in advance, so each is hashed to a coordinate. The hash is
blake2b rather than Python's own, which differs from process to process. Two labels may share a
coordinate: each of m labels in w coordinates does so with probability 1 - (1 - 1/w)^(m-1),
which is 13 % for 5 labels in 32. A wider block makes that rarer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block, checked_width, shown
from fairlead.optimizer.types import Context, FloatArray
from fairlead.optimizer.types.arrays import BOUND

NUMBER_SCALE: Final = 3.0
"""A number v enters as asinh(v) / NUMBER_SCALE: 1 as .29, 10 as 1.0, 1,000 as 2.5, 1e6 as 4.8."""


class WidthFeaturiser(ABC):
    """A `Featuriser` with no setting but its width, filled row by row.

    Subclasses give the ``name`` of their block and `_fill`.
    """

    name: ClassVar[str]
    isotropic: ClassVar[bool] = False

    def __init__(self, *, width: int) -> None:
        self._width = checked_width(width)

    @property
    def block(self) -> Block:
        return Block(name=self.name, width=self._width, isotropic=self.isotropic)

    @property
    def version(self) -> str:
        return f"{self.name}-1-{self._width}"

    def transform(self, contexts: Sequence[Context]) -> FloatArray:
        coordinates = np.zeros((len(contexts), self._width))
        for row, context in zip(coordinates, contexts, strict=True):
            self._fill(row, context)
        np.clip(coordinates, -BOUND, BOUND, out=coordinates)
        return coordinates

    def state(self) -> dict[str, NDArray[Any]]:
        return {"width": np.array(self._width, dtype=np.int64)}

    @abstractmethod
    def _fill(self, row: FloatArray, context: Context) -> None:
        """Fill in the coordinates of one request, all 0 so far."""


class TaskLabel(WidthFeaturiser):
    """One-hot coordinates of the hashed task label; no label gives zeros.

    The label is taken as it stands: "Chat" and "chat" are two labels.

    >>> from fairlead import Context
    >>> TaskLabel(width=4).transform([Context(task="chat"), Context(task="sql"), Context()])
    array([[1., 0., 0., 0.],
           [0., 0., 1., 0.],
           [0., 0., 0., 0.]])
    """

    name = "task"

    def __init__(self, *, width: int = 32) -> None:
        super().__init__(width=width)

    def _fill(self, row: FloatArray, context: Context) -> None:
        if context.task is not None:
            row[_hash("task", context.task) % self._width] = 1.0


class Attributes(WidthFeaturiser):
    """Signed coordinates of the hashed attributes, added up; no attributes give zeros.

    Text and booleans add ±1 at the hash of key and value; numbers add ± their squashed value at
    the hash of the key, so that more stays more. Random signs make collisions cancel on average.

    >>> from fairlead import Context
    >>> Attributes(width=4).transform([Context(attributes={"tier": "gold", "tools": 3})]).round(2)
    array([[ 0.  , -0.61,  1.  ,  0.  ]])
    """

    name = "attributes"

    def __init__(self, *, width: int = 32) -> None:
        super().__init__(width=width)

    def _fill(self, row: FloatArray, context: Context) -> None:
        attributes = context.attributes
        # Sorted, so that the last bits of a sum do not depend on the order of declaration.
        for key in sorted(attributes):
            value = attributes[key]
            if isinstance(value, str):
                code, size = _hash("text", key, value), 1.0
            elif isinstance(value, (bool, np.bool_)):
                code, size = _hash("truth", key, str(bool(value))), 1.0
            else:
                code, size = _hash("number", key), _squash(key, value)
            # The lowest bit is the sign, the others choose the coordinate.
            row[(code >> 1) % self._width] += size if code & 1 else -size


class CallerEmbedding(WidthFeaturiser):
    """The client's embedding, scaled to norm √width so that a coordinate is about unit size.

    Only the direction is kept: providers of embeddings differ in scale, and many normalise
    theirs already. A missing embedding, or one of all zeros, gives zeros. An embedding with nearly all its
    weight on a few of more than 64 coordinates is cut at ±BOUND there.

    >>> import numpy as np
    >>> from fairlead import Context
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
            raise InvalidInput(
                f"the embedding has shape {array.shape}, but this route learned on ({self._width},): "
                f"send one flat vector of {self._width} numbers from the same embedding model"
            )
        if array.dtype.kind not in "fiu":
            raise InvalidInput(
                f"the embedding holds {array.dtype}, which cannot be scaled: send real numbers"
            )
        vector = array.astype(np.float64)
        finite = np.isfinite(vector)
        if not finite.all():
            position = int(np.argmin(finite))
            raise InvalidInput(
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


def _hash(*parts: str) -> int:
    """Hash to 64 bits, with the lengths, so that ("a", "bc") and ("ab", "c") differ."""
    digest = blake2b(digest_size=8)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return int.from_bytes(digest.digest(), "little")


def _squash(key: str, value: float) -> float:
    """Return asinh(value) / NUMBER_SCALE; raises `InvalidInput` unless the value is a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput(
            f"attribute {shown(key)} is {shown(value)}, which is not a finite number, text or "
            "boolean and has no place on a scale: leave the attribute out, or declare it as text"
        )
    return math.asinh(number) / NUMBER_SCALE
