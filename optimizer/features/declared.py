"""Features of what the client declares about a request: its task label and its attributes.

Labels, keys and values are not known in advance, so each is hashed to a coordinate. The hash is
blake2b rather than Python's own, which differs from process to process. Two labels may share a
coordinate: each of m labels in w coordinates does so with probability 1 - (1 - 1/w)^(m-1),
which is 13 % for 5 labels in 32. A wider block makes that rarer.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Final

import numpy as np

from fairlead.optimizer.features.base import WidthFeaturiser, shown
from fairlead.optimizer.types import Context, FloatArray

NUMBER_SCALE: Final = 3.0
"""A number v enters as asinh(v) / NUMBER_SCALE: 1 as .29, 10 as 1.0, 1,000 as 2.5, 1e6 as 4.8."""


class TaskLabel(WidthFeaturiser):
    """One-hot coordinates of the hashed task label; no label gives zeros.

    The label is taken as it stands: "Chat" and "chat" are two labels.

    >>> from fairlead.optimizer import Context
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

    >>> from fairlead.optimizer import Context
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


def _hash(*parts: str) -> int:
    """Hash to 64 bits, with the lengths, so that ("a", "bc") and ("ab", "c") differ."""
    digest = blake2b(digest_size=8)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return int.from_bytes(digest.digest(), "little")


def _squash(key: str, value: float) -> float:
    """Return asinh(value) / NUMBER_SCALE; raises `ValueError` unless the value is a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"attribute {shown(key)} is {shown(value)}, which is not a finite number, text or "
            "boolean and has no place on a scale: leave the attribute out, or declare it as text"
        )
    return math.asinh(number) / NUMBER_SCALE
