"""Learned state as plain arrays by name: parts joined into one state, and texts and records as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

BOUND: Final = 8.0
"""Largest absolute value of any feature that a model sees."""

State = dict[str, NDArray[Any]]
T = TypeVar("T")

_LITTLE: Final = np.dtype("<f8")


def joined(**parts: Mapping[str, NDArray[Any]]) -> State:
    """Join the arrays of all parts, each under ``PART/NAME``."""
    return {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def part(state: Mapping[str, NDArray[Any]], name: str) -> State:
    """Return the part that `joined` put under this name."""
    start = f"{name}/"
    return {key.removeprefix(start): array for key, array in state.items() if key.startswith(start)}


def stacked(states: Sequence[State]) -> State:
    """Stack the arrays of many states by name, along their first axis, with the number of rows of each.

    >>> first, second = {"x": np.array([1.0])}, {"x": np.array([2.0, 3.0])}
    >>> [state["x"].tolist() for state in unstacked(stacked([first, second]), 2)]
    [[1.0], [2.0, 3.0]]
    """
    result: State = {}
    for name in states[0] if states else ():
        arrays = [state[name] for state in states]
        result |= {name: np.concatenate(arrays), f"{name} rows": np.array([len(array) for array in arrays])}
    return result


def unstacked(state: Mapping[str, NDArray[Any]], count: int) -> list[State]:
    """Return the states that `stacked` stacked."""
    names = [name for name in state if not name.endswith(" rows")]
    parts = {name: np.split(state[name], np.cumsum(state[f"{name} rows"])[:-1]) for name in names}
    return [{name: parts[name][i] for name in names} for i in range(count)]


def texts(values: Iterable[str]) -> NDArray[Any]:
    """Pack texts as one array of bytes, each ended by a zero; none of them may hold one."""
    return np.frombuffer(b"".join(value.encode() + b"\0" for value in values), dtype=np.uint8)


def from_texts(array: NDArray[Any]) -> list[str]:
    """Return the texts that `texts` packed."""
    return [value.decode() for value in array.tobytes().split(b"\0")[:-1]]


def packed(value: object) -> NDArray[np.uint8]:
    """Pack structs, dataclasses and plain values as one array of bytes, in MessagePack."""
    return np.frombuffer(_PACKER.encode(value), dtype=np.uint8)


def unpacked(array: NDArray[Any], kind: type[T]) -> T:
    """Return the value that `packed` packed; raises `ValueError` if it is not of this type."""
    return msgspec.msgpack.decode(array.tobytes(), type=kind)


def plain(value: object) -> object:
    """Convert a number of numpy to one of Python, and an array to the bytes of little-endian float64."""
    if isinstance(value, np.ndarray):
        return np.asarray(value, dtype=_LITTLE).tobytes()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is of a type that cannot be written")


def array_of(content: bytearray) -> FloatArray:
    """Return the array that `plain` wrote, over the same memory; raises `ValueError` if there is none."""
    if len(content) % 8:
        raise ValueError(f"{len(content)} bytes, which are no array of float64")
    array = np.frombuffer(content, dtype=_LITTLE)
    return array if _LITTLE.isnative else array.astype(np.float64)


_PACKER: Final = msgspec.msgpack.Encoder(enc_hook=plain, order="deterministic")
