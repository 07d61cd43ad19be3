"""How each kind of field is written into a line of a log, and read from it: nothing is guessed."""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Final, NamedTuple

import numpy as np

from optimizer.events import FloatArray


class LogField(NamedTuple):
    """How one field is written, and read from what `json` gives; reading raises what is wrong with it."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("which is not text")
    return value


def _read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("which is not a finite number")
    return float(value)


def _read_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise TypeError("which is not a whole number of 64 bits")
    return value


def _read_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("which is not a list of texts")
    return tuple(_read_text(item) for item in value)


def _read_reasons(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("which is not an object of texts")
    return {key: _read_text(item) for key, item in value.items()}


def _write_array(array: FloatArray) -> str:
    return binascii.b2a_base64(np.ascontiguousarray(array, dtype="<f8").data, newline=False).decode("ascii")


def _read_array(value: object) -> FloatArray:
    try:
        content = binascii.a2b_base64(_read_text(value), strict_mode=True)
    except ValueError as error:
        raise ValueError(f"which is not base64 ({error})") from error
    if len(content) % 8:
        raise ValueError(f"which is {len(content)} bytes and so no array of float64")
    return np.frombuffer(content, dtype="<f8").astype(np.float64)


def _write_number(value: object) -> float:
    if type(value) is float:
        return value
    # Integral and Real, and not int and float, because numpy's numbers are welcome too.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _write_whole(value: object) -> int:
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if not isinstance(value, Integral):
        raise TypeError(f"{value!r} is not a whole number")
    return _read_whole(value if isinstance(value, bool) else int(value))


def _write_text(value: str) -> str:
    if type(value) is str:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return str(value)


def _optional(field: LogField) -> LogField:
    return LogField(
        lambda value: None if value is None else field.write(value),
        lambda value: None if value is None else field.read(value),
    )


def _write_reasons(value: Mapping[str, str]) -> dict[str, str]:
    return {_write_text(name): _write_text(reason) for name, reason in value.items()}


TEXT: Final = LogField(_write_text, _read_text)
NUMBER: Final = LogField(_write_number, _read_number)
WHOLE: Final = LogField(_write_whole, _read_whole)
ARRAY: Final = LogField(_write_array, _read_array)
TEXTS: Final = LogField(lambda value: [_write_text(item) for item in value], _read_texts)

MAYBE_NUMBER: Final = _optional(NUMBER)
MAYBE_WHOLE: Final = _optional(WHOLE)
MAYBE_TEXT: Final = _optional(TEXT)

REASONS: Final = LogField(_write_reasons, _read_reasons)
