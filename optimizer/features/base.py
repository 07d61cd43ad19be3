"""The contract of featurisers: each computes one block of numbers from a request.

The bounds stated here hold for every vector that reaches a model. They are what lets the learned
statistics be summed in fixed point without overflow, and what keeps one odd request from moving a
model further than any ordinary one can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.types import Context, FloatArray

MAX_WIDTH: Final = 4_096
"""Widest block accepted: a model's statistics take 8 · width² bytes per provider."""


@dataclass(frozen=True)
class Block:
    """A run of neighbouring coordinates that come from one featuriser.

    ``isotropic`` says whether the coordinates share one natural scale, as those of a projection or
    an embedding do, so that a model may put a single prior precision on all of them. It is False
    if each coordinate has a unit of its own.

    >>> Block("embedding", 256, isotropic=True)
    Block(name='embedding', width=256, isotropic=True)
    """

    name: str
    width: int
    isotropic: bool

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a block needs a name, because weights are reported by it; got ''")
        checked_width(self.width, name=f"width of block {self.name!r}")


class Featuriser(Protocol):
    """Turns requests into one block of coordinates; never changes while doing so.

    >>> from fairlead import Context, Encoder
    >>> class Question:
    ...     block, version = Block("question", 1, isotropic=False), "question-1"
    ...     def transform(self, contexts):
    ...         return np.array([[float((context.text or "").endswith("?"))] for context in contexts])
    ...     def state(self):
    ...         return {}
    >>> Encoder([Question()]).encode(Context(text="How far is the moon?"))
    array([1.])
    """

    @property
    def block(self) -> Block:
        """Name, width and kind of the coordinates."""

    @property
    def version(self) -> str:
        """Changes whenever the same request could give other numbers, and only then."""

    def transform(self, contexts: Sequence[Context]) -> FloatArray:
        """Coordinates of each request, shape (n, width), finite, within ±BOUND.

        A row depends on its own request alone: a request gives the same bits alone as among others.
        A request without the fact that the block needs gives zeros.
        """

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that determines the output, as plain arrays."""


def checked_width(width: int, *, name: str = "width") -> int:
    """Return `width` if it is a whole number in [1, MAX_WIDTH], else raise `ValueError`."""
    if isinstance(width, bool) or not isinstance(width, (int, np.integer)):
        raise ValueError(f"{name} is {width!r}, but counts coordinates: give a whole number such as 32")
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(
            f"{name} is {width}, but the cost of a model grows with its square: "
            f"give a whole number from 1 to {MAX_WIDTH}"
        )
    return int(width)


def fingerprint(*parts: str | NDArray[Any]) -> str:
    """Hash all parts, in their order, to 12 hexadecimal digits."""
    digest = blake2b(digest_size=6)
    for part in parts:
        if isinstance(part, str):
            head, body = "text", part.encode("utf-8", "surrogatepass")
        else:
            head, body = f"{part.dtype.str}{part.shape}", part.tobytes()
        digest.update(f"{head} {len(body)} ".encode())
        digest.update(body)
    return digest.hexdigest()


def shown(value: object) -> str:
    """Show `value` in an error message, cut so that no message repeats a large input."""
    if isinstance(value, str):
        value = value if len(value) <= 60 else value[:57] + "..."
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
