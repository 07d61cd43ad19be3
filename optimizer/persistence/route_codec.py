"""Frozen declarations, such as a `Route`, as JSON objects and back: an error names the path and the value."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from fairlead.optimizer.errors import InvalidInput

T = TypeVar("T")

EXCERPT_CHARS: Final = 80
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def to_json(declaration: object) -> dict[str, object]:
    """Convert a declaration to what `json` writes; sets become sorted lists."""
    fields: dict[str, object] = msgspec.to_builtins(declaration, order="deterministic")
    return fields


def from_json(kind: type[T], value: object, *, name: str = "") -> T:
    """Build the declaration that gave `to_json`; fields with a default may be missing.

    Raises `InvalidInput` with the path of a field that is unknown, missing, of a wrong type or out of range;
    the path begins with ``name``, or else with the name of the type.
    """
    name = name or kind.__name__.lower()
    try:
        declaration = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(explain(error, value, name=name)) from error
    _refuse_unknown_fields(value, to_json(declaration), name)
    return declaration


def explain(error: msgspec.ValidationError, value: object, *, name: str = "") -> str:
    """Explain an error of msgspec: the path below ``name``, the value there, and the reason."""
    reason, _, path = str(error).partition(" - at `$")
    path = path.removesuffix("`").partition("[...]")[0]  # what is in a mapping has no path
    for field, index in _STEP.findall(path):
        value = value[int(index) if index else field]  # type: ignore[index]
    where = (name + path).removeprefix(".")
    if isinstance(error.__cause__, InvalidInput):
        return f"{where}: {error.__cause__}" if where else str(error.__cause__)
    if reason.startswith("Object "):  # misses a field, or has one too many: the value would be all of it
        return f"{where}: {reason}" if where else reason
    return f"{where} is {excerpt(repr(value))}: {reason}"


def excerpt(text: str) -> str:
    """Return the text in ASCII, cut to a length that fits into a sentence."""
    shown = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= EXCERPT_CHARS else shown[: EXCERPT_CHARS - 1] + "…"


def _refuse_unknown_fields(value: object, declared: object, path: str) -> None:
    # msgspec leaves out what a dataclass has no field for.
    if isinstance(value, dict) and isinstance(declared, dict):
        for key, item in value.items():
            if key not in declared:
                raise InvalidInput(f"{path} has the unknown field {key!r}: choose from {sorted(declared)}")
            _refuse_unknown_fields(item, declared[key], f"{path}.{key}")
    elif isinstance(value, list | tuple) and isinstance(declared, list | tuple):
        for i, (item, fields) in enumerate(zip(value, declared, strict=False)):
            _refuse_unknown_fields(item, fields, f"{path}[{i}]")
