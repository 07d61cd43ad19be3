"""State as plain arrays by name, taken apart into parts and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

BOUND: Final = 8.0
"""Largest absolute value of any feature that a model sees."""

State = dict[str, NDArray[Any]]


def joined(**parts: Mapping[str, NDArray[Any]]) -> State:
    """The arrays of all parts, each under ``PART/NAME``."""
    return {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def part(state: Mapping[str, NDArray[Any]], name: str) -> State:
    """What `joined` put under this name."""
    start = f"{name}/"
    return {key.removeprefix(start): array for key, array in state.items() if key.startswith(start)}


def texts(values: Iterable[str]) -> NDArray[Any]:
    """Texts as one array of bytes, each ended by a zero; none of them may hold one."""
    return np.frombuffer(b"".join(value.encode() + b"\0" for value in values), dtype=np.uint8)


def from_texts(array: NDArray[Any]) -> list[str]:
    """The texts that `texts` made the array of."""
    return [value.decode() for value in array.tobytes().split(b"\0")[:-1]]


def coded(name: str, values: Sequence[str]) -> State:
    """Texts of which many are the same, as ``NAME_table`` and the place of each in it, ``NAME_code``."""
    places = {value: i for i, value in enumerate(dict.fromkeys(values))}
    codes = np.array([places[value] for value in values], dtype=np.int64)
    return {f"{name}_table": texts(places), f"{name}_code": codes}


def from_coded(name: str, state: Mapping[str, NDArray[Any]]) -> list[str]:
    """The texts that `coded` put under this name."""
    table = from_texts(state[f"{name}_table"])
    return [table[code] for code in state[f"{name}_code"].tolist()]
