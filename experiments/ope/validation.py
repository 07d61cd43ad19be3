"""Checks of incoming columns; errors name the first value that breaks a rule."""

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
    """Return the values as floats, shape (n,)."""
    return _floats(name, values, 1)


def matrix(name: str, values: ArrayLike) -> Matrix:
    """Return the values as floats, shape (n, k) with k at least 1."""
    array = _floats(name, values, 2)
    if array.shape[1] == 0:
        raise InvalidInput(f"{name} has no columns: give one per provider")
    return array


def columns(name: str, values: ArrayLike, count: int) -> Integers:
    """Return the values as columns of a matrix, whole numbers from 0 to `count` − 1, shape (n,)."""
    array = _array(name, values, 1)
    if array.dtype.kind not in "iu":
        raise InvalidInput(f"{name} holds {array.dtype}: give the column of each provider as a whole number")
    rule = f"no column from 0 to {count - 1}"
    check(array, (array >= 0) & (array < count), name=name, rule=rule, remedy="name a candidate")
    return array.astype(np.int64, copy=False)


def flags(name: str, values: ArrayLike) -> Flags:
    """Return the values as truth values, shape (n,)."""
    array = _array(name, values, 1)
    if array.dtype.kind != "b":
        raise InvalidInput(f"{name} holds {array.dtype}: give true or false per decision")
    return array


def check(values: NDArray[_Any], fine: NDArray[np.bool_], *, name: str, rule: str, remedy: str) -> None:
    """Raise `InvalidInput` for the first value that is not `fine`, shape (n,) each."""
    if not fine.all():
        row = int(fine.argmin())
        text = f"{values[row]:.12g}"
        if text in ("0", "1") and float(text) != values[row]:  # what is left out is what is wrong
            text = f"{values[row]:.17g}"
        raise InvalidInput(f"{name} of decision {row} is {text}, which is {rule}: {remedy}")


def same_length(columns: Mapping[str, NDArray[Any] | None]) -> int:
    """Return the number of decisions in the columns, which must be the same in all of them and at least 1."""
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    (first, n), *others = lengths.items()
    for name, length in others:
        if length != n:
            raise InvalidInput(f"{name} has {length} rows and {first} has {n}: give one per decision")
    if n == 0:
        raise InvalidInput("there are 0 decisions, and an estimate needs at least 1: widen the selection")
    return n


def _floats(name: str, values: ArrayLike, dimensions: int) -> NDArray[np.float64]:
    array = _array(name, values, dimensions)
    if array.dtype.kind not in "fiub":
        raise InvalidInput(f"{name} holds {array.dtype}, not numbers: convert it, or leave such rows out")
    return array.astype(np.float64, copy=False)


def _array(name: str, values: ArrayLike, dimensions: int) -> NDArray[Any]:
    absent = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    if absent is not None and absent.any():
        row = int(absent.reshape(len(absent), -1).any(axis=1).argmax())
        raise InvalidInput(f"{name} of decision {row} is missing: leave such decisions out, or fill it in")
    array = np.asarray(values)
    if array.ndim != dimensions:
        raise InvalidInput(f"{name} has shape {array.shape}: give {('n,', 'n, k')[dimensions - 1]} numbers")
    return array
