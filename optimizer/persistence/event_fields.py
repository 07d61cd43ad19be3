"""How each kind of field is written into a line of a log, and read from it: nothing is guessed."""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from msgspec import Meta

from fairlead.optimizer.types.events import FloatArray

_LITTLE: Final = np.dtype("<f8")


class LogField(NamedTuple):
    """How one field is written, and read from what `json` gives; reading raises what is wrong with it."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    type: Any
    """What `msgspec` reads it as, so that an ordinary line is read in one step; None: not at all."""


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


def _write_array(array: FloatArray) -> bytes:
    return np.asarray(array, dtype=_LITTLE).tobytes()


def plain(value: object) -> object:
    """What `msgspec` can write of numpy's arrays and numbers."""
    if isinstance(value, np.ndarray):
        return _write_array(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is none of the types of a log")


def array_of(content: bytearray) -> FloatArray:
    """The array of which these are the bytes, over the same memory; `ValueError` where there is none."""
    if len(content) % 8:
        raise ValueError(f"which is {len(content)} bytes and so no array of float64")
    array = np.frombuffer(content, dtype=_LITTLE)
    return array if _LITTLE.isnative else array.astype(np.float64)


def _read_array(value: object) -> FloatArray:
    try:
        content = bytearray(binascii.a2b_base64(_read_text(value), strict_mode=True))
    except ValueError as error:
        raise ValueError(f"which is not base64 ({error})") from error
    return array_of(content)


def _write_number(value: object) -> float:
    # Integral and Real, and not int and float, because numpy's numbers are welcome too.
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(f"{value!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
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
        field.type | None,
    )


def _write_reasons(value: Mapping[str, str]) -> dict[str, str]:
    return {_write_text(name): _write_text(reason) for name, reason in value.items()}


TEXT: Final = LogField(_write_text, _read_text, str)
NUMBER: Final = LogField(_write_number, _read_number, float)
WHOLE: Final = LogField(_write_whole, _read_whole, Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)])
ARRAY: Final = LogField(_write_array, _read_array, bytearray)
TEXTS: Final = LogField(lambda value: [_write_text(item) for item in value], _read_texts, tuple[str, ...])

MAYBE_NUMBER: Final = _optional(NUMBER)
MAYBE_WHOLE: Final = _optional(WHOLE)
MAYBE_TEXT: Final = _optional(TEXT)

REASONS: Final = LogField(_write_reasons, _read_reasons, dict[str, str])
