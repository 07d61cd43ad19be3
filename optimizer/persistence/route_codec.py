"""Frozen declarations as JSON objects and back: whatever is wrong in one is named by its path.

Written as the fields they have; read by their own constructors, which check every value.
"""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, TypeVar, cast

from fairlead.optimizer.errors import InvalidInput

T = TypeVar("T")


def to_json(value: object) -> Any:
    """A declaration such as a `Route` as what `json` writes; sets become sorted lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    raise InvalidInput(f"{type(value).__name__} is no declaration")


def from_json(kind: type[T], value: object, *, path: str = "") -> T:
    """The declaration that gave `to_json`; fields that have a default may be left out.

    `InvalidInput` names the path of a field that is unknown, missing, of a wrong type or out of range.
    """
    where = path or kind.__name__.lower()
    if not isinstance(value, dict):
        raise InvalidInput(
            f"{where} is {value!r}, not an object with the fields of a {kind.__name__.lower()}"
        )
    hints = typing.get_type_hints(kind)
    strange = sorted(str(key) for key in value.keys() - hints.keys())
    if strange:
        raise InvalidInput(f"{where} has the unknown field {strange[0]!r}: choose from {sorted(hints)}")
    found = {name: _read(hints[name], item, f"{where}.{name}") for name, item in value.items()}
    # The constructor would raise a TypeError that names no path.
    needed = [f.name for f in fields(cast(Any, kind)) if f.name not in found and _is_required(f)]
    if needed:
        raise InvalidInput(f"{where} lacks {needed[0]!r}: add it")
    try:
        return kind(**found)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _read(hint: Any, value: object, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _read(next(one for one in arguments if one is not type(None)), value, path)
    if origin in (tuple, frozenset):
        if not isinstance(value, list | tuple):
            raise InvalidInput(f"{path} is {value!r}, not a list")
        items = [_read(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value)]
        return origin(items)
    if is_dataclass(hint):
        return from_json(cast(type[Any], hint), value, path=path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise InvalidInput(f"{path} is {value!r}, which is no {_WORDS.get(hint, hint)}")
    return value


_WORDS = {str: "text", float: "number", int: "whole number", bool: "true or false"}
