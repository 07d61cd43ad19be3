"""Events as lines of JSON: what is written is what is read, to the last bit.

Numbers that people read are written as numbers, in the shortest form that gives the same float.
Arrays are base64 of little-endian float64, because a decision holds a hundred of them.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from optimizer.checks import check_decision
from optimizer.errors import InvalidInput
from optimizer.events import (
    Decision,
    DriftAlarm,
    Event,
    Feedback,
    FloatArray,
    Outcome,
    RouteChanged,
)
from optimizer.route import Route
from optimizer.route_codec import from_json, to_json

VERSION: Final = 1
EXCERPT_CHARS: Final = 80

_JSON: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_REMEDY = "mend the line, or leave it out, and read the log again"


def encode(event: Event) -> str:
    """The event as one line of ASCII, without its line break; `InvalidInput` where it has no such form."""
    kind = _KIND_OF.get(type(event))
    if kind is None:
        raise InvalidInput(
            f"a {type(event).__name__} cannot be logged: give a decision, outcome, feedback, drift "
            "alarm or change of the route"
        )
    try:
        if isinstance(event, Decision):
            check_decision(event)
        fields = {name: field.write(getattr(event, name)) for name, field in _KINDS[kind].fields.items()}
        return _JSON.encode({"v": VERSION, "kind": kind, **fields})
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{kind} {_name_of(event)} cannot be logged: {error}") from error


def decode(line: str) -> Event:
    """The event that `encode` made the line of; `InvalidInput` for anything else."""
    try:
        return _event(_parse(line))
    except InvalidInput as error:
        raise _refused(line, error) from error


def read_log(path: str | Path, *, on_partial: Callable[[str], None] | None = None) -> Iterator[Event]:
    """The events of a file of lines, one by one; an error names the file and the line number.

    A crash can cut the last line short. Such an end was never acknowledged, so it is left out, and
    ``on_partial`` is told so in one sentence.
    """
    with open(path, "rb") as file:
        # Split at \n alone, as they were written: text mode would split at other characters too.
        for number, raw in enumerate(file, 1):
            text = raw.decode("utf-8", errors="replace").rstrip("\r\n")
            try:
                value = _parse(text)
            except InvalidInput as error:
                if raw.endswith(b"\n"):
                    raise InvalidInput(f"{path}, line {number}: {_refused(text, error)}") from error
                if on_partial is not None:
                    on_partial(
                        f"{path}, line {number}: {_excerpt(text)} is cut short and was left out, "
                        f"{len(raw)} bytes at the end of the file: it was never acknowledged"
                    )
                return
            try:
                event = _event(value)
            except InvalidInput as error:
                raise InvalidInput(f"{path}, line {number}: {_refused(text, error)}") from error
            yield event


def _excerpt(line: str) -> str:
    shown = ascii(line)
    return shown if len(shown) <= EXCERPT_CHARS else shown[: EXCERPT_CHARS - 1] + "…"


def _refused(line: str, error: InvalidInput) -> InvalidInput:
    return InvalidInput(f"{_excerpt(line)} is no event: {error}; {_REMEDY}")


def _name_of(event: Event) -> str:
    if isinstance(event, DriftAlarm | RouteChanged):
        return f"of {event.provider if isinstance(event, DriftAlarm) else event.route.name!r}"
    return repr(event.id if isinstance(event, Decision) else event.decision_id)


def _parse(line: str) -> object:
    try:
        return json.loads(line, parse_constant=_no_constant, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"it is not one whole JSON object ({error})") from error


def _no_constant(name: str) -> NoReturn:
    raise InvalidInput(f"{name} is not a number")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInput("a field occurs twice")
    return found


def _event(value: object) -> Event:
    if not isinstance(value, dict):
        raise InvalidInput("it is not a JSON object")
    version, name = value.pop("v", None), value.pop("kind", None)
    if version != VERSION or isinstance(version, bool):
        raise InvalidInput(f"v is {version!r}, and this release reads {VERSION}")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidInput(f"kind is {name!r}, not one of {', '.join(_KINDS)}")
    strange, missing = sorted(value.keys() - kind.fields.keys()), sorted(kind.fields.keys() - value.keys())
    if strange or missing:
        raise InvalidInput(f"a {name} has unknown fields {strange} and lacks {missing}")
    fields = {}
    for key, field in kind.fields.items():
        try:
            fields[key] = field.read(value[key])
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(f"{key} is {_excerpt(str(value[key]))}, {error}") from error
    event = kind.make(fields)
    if isinstance(event, Decision):
        check_decision(event)
    return event


def _decision(fields: dict[str, Any]) -> Decision:
    n = len(fields["providers"])
    if fields["expected"].size != 6 * n:
        raise InvalidInput(f"expected has {fields['expected'].size} numbers, not 6 for each of {n} providers")
    return Decision(**{**fields, "expected": fields["expected"].reshape(6, n)})


class _Field(NamedTuple):
    """How one field is written, and read from what `json` gives; reading raises what is wrong with it."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


class _Kind(NamedTuple):
    make: Callable[[dict[str, Any]], Event]
    fields: dict[str, _Field]


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
        content = base64.b64decode(_read_text(value), validate=True)
    except binascii.Error as error:
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


def _optional(field: _Field) -> _Field:
    return _Field(
        lambda value: None if value is None else field.write(value),
        lambda value: None if value is None else field.read(value),
    )


def _write_reasons(value: Mapping[str, str]) -> dict[str, str]:
    return {_write_text(name): _write_text(reason) for name, reason in value.items()}


_TEXT = _Field(_write_text, _read_text)
_NUMBER = _Field(_write_number, _read_number)
_WHOLE = _Field(_write_whole, _read_whole)
_ARRAY = _Field(_write_array, _read_array)
_TEXTS = _Field(lambda value: [_write_text(item) for item in value], _read_texts)

_MAYBE_NUMBER, _MAYBE_WHOLE, _MAYBE_TEXT = _optional(_NUMBER), _optional(_WHOLE), _optional(_TEXT)

_DECISION: Final = {
    **dict.fromkeys(("id", "route", "selected", "encoder_version"), _TEXT),
    **dict.fromkeys(("order", "model_version"), _WHOLE),
    **dict.fromkeys(("input_tokens", "shadow_price"), _NUMBER),
    **dict.fromkeys(("task", "fallback_used"), _MAYBE_TEXT),
    "at_s": _MAYBE_NUMBER,
    "providers": _TEXTS,
    "ineligible": _Field(_write_reasons, _read_reasons),
    **dict.fromkeys(("probabilities", "floor", "expected", "features"), _ARRAY),
}
_OUTCOME: Final = {
    **dict.fromkeys(("decision_id", "served_provider", "status"), _TEXT),
    "revision": _WHOLE,
    **dict.fromkeys(("cost_usd", "latency_s"), _MAYBE_NUMBER),
    **dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens"), _MAYBE_WHOLE),
}
_FEEDBACK: Final = {
    **dict.fromkeys(("decision_id", "metric", "source"), _TEXT),
    "value": _MAYBE_NUMBER,
    "revision": _WHOLE,
}
_DRIFT_ALARM: Final = {
    **dict.fromkeys(("provider", "quantity"), _TEXT),
    **dict.fromkeys(("since_order", "at_order"), _WHOLE),
    **dict.fromkeys(("before", "after"), _NUMBER),
}
_ROUTE_CHANGED: Final = {"order": _WHOLE, "route": _Field(to_json, lambda value: from_json(Route, value))}
_KINDS: Final[dict[str, _Kind]] = {
    "decision": _Kind(_decision, _DECISION),
    "outcome": _Kind(lambda fields: Outcome(**fields), _OUTCOME),
    "feedback": _Kind(lambda fields: Feedback(**fields), _FEEDBACK),
    "drift_alarm": _Kind(lambda fields: DriftAlarm(**fields), _DRIFT_ALARM),
    "route_changed": _Kind(lambda fields: RouteChanged(**fields), _ROUTE_CHANGED),
}
_KIND_OF: Final[dict[type, str]] = {
    Decision: "decision",
    Outcome: "outcome",
    Feedback: "feedback",
    DriftAlarm: "drift_alarm",
    RouteChanged: "route_changed",
}
