"""Columns of numbers as they come in, checked: the first value that breaks a rule is named in the error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead.optimizer.errors import InvalidInput

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
_Any = TypeVar("_Any", bound=np.generic)


def vector(name: str, values: ArrayLike) -> Vector:
    """The values as floats, shape (n,)."""
    return _floats(name, values, 1)


def matrix(name: str, values: ArrayLike) -> Matrix:
    """The values as floats, shape (n, k) with k at least 1."""
    found = _floats(name, values, 2)
    if found.shape[1] == 0:
        raise InvalidInput(f"{name} has no columns: give one per provider")
    return found


def places(name: str, values: ArrayLike, count: int) -> Integers:
    """The values as whole numbers from 0 to `count` − 1, shape (n,)."""
    found = _array(name, values, 1)
    if found.dtype.kind not in "iu":
        raise InvalidInput(f"{name} holds {found.dtype}: give the column of each provider as a whole number")
    check(name, found, (found >= 0) & (found < count), f"no column from 0 to {count - 1}", "name a candidate")
    return found.astype(np.int64, copy=False)


def flags(name: str, values: ArrayLike) -> Flags:
    """The values as truth values, shape (n,)."""
    found = _array(name, values, 1)
    if found.dtype.kind != "b":
        raise InvalidInput(f"{name} holds {found.dtype}: give true or false per decision")
    return found


def check(name: str, values: NDArray[_Any], fine: NDArray[np.bool_], rule: str, remedy: str) -> None:
    """Raise `InvalidInput` for the first value that is not `fine`, shape (n,)."""
    if not fine.all():
        row = int(fine.argmin())
        raise InvalidInput(f"{name} of decision {row} is {values[row]:.12g}, which is {rule}: {remedy}")


def same_length(columns: Mapping[str, NDArray[Any] | None]) -> int:
    """How many decisions the columns hold, which is the same in all of them and at least 1."""
    given = {name: len(column) for name, column in columns.items() if column is not None}
    (first, n), *others = given.items()
    for name, length in others:
        if length != n:
            raise InvalidInput(f"{name} has {length} rows and {first} has {n}: give one per decision")
    if n == 0:
        raise InvalidInput("there are 0 decisions, and an estimate needs at least 1: widen the selection")
    return n


def _floats(name: str, values: ArrayLike, dimensions: int) -> NDArray[np.float64]:
    found = _array(name, values, dimensions)
    if found.dtype.kind not in "fiub":
        raise InvalidInput(f"{name} holds {found.dtype}, not numbers: convert it, or leave such rows out")
    return found.astype(np.float64, copy=False)


def _array(name: str, values: ArrayLike, dimensions: int) -> NDArray[Any]:
    absent = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    if absent is not None and absent.any():
        row = int(absent.reshape(len(absent), -1).any(axis=1).argmax())
        raise InvalidInput(f"{name} of decision {row} is missing: leave such decisions out, or fill it in")
    found = np.asarray(values)
    if found.ndim != dimensions:
        raise InvalidInput(f"{name} has shape {found.shape}: give {('n,', 'n, k')[dimensions - 1]} numbers")
    return found
