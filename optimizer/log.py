"""Events as lines of JSON: what is written is what is read, to the last bit.

Numbers that people read are written as numbers, in the shortest form that gives the same float.
Arrays are base64 of little-endian float64, because a decision holds a hundred of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from optimizer.checks import check_decision
from optimizer.errors import InvalidInput
from optimizer.events import (
    Decision,
    DriftAlarm,
    Event,
    Feedback,
    Outcome,
    RouteChanged,
)
from optimizer.log_fields import (
    ARRAY,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    MAYBE_WHOLE,
    NUMBER,
    REASONS,
    TEXT,
    TEXTS,
    WHOLE,
    LogField,
)
from optimizer.route import Route
from optimizer.route_codec import from_json, to_json

VERSION: Final = 1
EXCERPT_CHARS: Final = 80

_JSON: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_REMEDY = "mend the line, or leave it out, and read the log again"


def encode(event: Event, *, checked: bool = False) -> str:
    """The event as one line of ASCII, without its line break; `InvalidInput` where it has no such form.

    A decision that a router has just made is ``checked``: its parts fit together.
    """
    kind = _KIND_OF.get(type(event))
    if kind is None:
        raise InvalidInput(
            f"a {type(event).__name__} cannot be logged: give a decision, outcome, feedback, drift "
            "alarm or change of the route"
        )
    try:
        if not checked and isinstance(event, Decision):
            check_decision(event)
        fields = {name: field.write(getattr(event, name)) for name, field in _KINDS[kind].fields.items()}
        return _JSON.encode({"v": VERSION, "kind": kind, **fields})
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{kind} {_name_of(event)} cannot be logged: {error}") from error


def decode(line: str, *, place: int | None = None) -> Event:
    """The event that `encode` made the line of; `InvalidInput` for anything else.

    A ``place`` in a log is taken instead of the order or revision that the line says.
    """
    try:
        return _event(_parse(line), place)
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
        found = _QUICK.decode(line)
        if type(found) is dict and _is_plain(line, found):
            return found
        return _STRICT.decode(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"it is not one whole JSON object ({error})") from error


def _is_plain(line: str, found: dict[str, Any]) -> bool:
    """Whether no field can occur twice: one colon after a quote for each, and nothing in between.

    Where it is not sure, a slower reader looks.
    """
    nested = found.get("ineligible")
    fields = len(found) + (len(nested) if type(nested) is dict else 0)
    return line.count('":') == fields and '" ' not in line and line.isprintable()


def _no_constant(name: str) -> NoReturn:
    raise InvalidInput(f"{name} is not a number")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInput("a field occurs twice")
    return found


_QUICK: Final = json.JSONDecoder(parse_constant=_no_constant)
_STRICT: Final = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_repeats)


def _event(value: object, place: int | None = None) -> Event:
    if not isinstance(value, dict):
        raise InvalidInput("it is not a JSON object")
    version, name = value.pop("v", None), value.pop("kind", None)
    if version != VERSION or isinstance(version, bool):
        raise InvalidInput(f"v is {version!r}, and this release reads {VERSION}")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidInput(f"kind is {name!r}, not one of {', '.join(_KINDS)}")
    if value.keys() != kind.fields.keys():
        strange, missing = value.keys() - kind.fields.keys(), kind.fields.keys() - value.keys()
        raise InvalidInput(f"a {name} has unknown fields {sorted(strange)} and lacks {sorted(missing)}")
    fields = {}
    for key, field in kind.fields.items():
        try:
            fields[key] = field.read(value[key])
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(f"{key} is {_excerpt(str(value[key]))}, {error}") from error
    if place is not None and kind.placed_by is not None:
        fields[kind.placed_by] = place
    event = kind.make(fields)
    # Who reads for a place in a log gives it to a router, which checks the same and more.
    if place is None and isinstance(event, Decision):
        check_decision(event)
    return event


def _decision(fields: dict[str, Any]) -> Decision:
    n = len(fields["providers"])
    if fields["expected"].size != 6 * n:
        raise InvalidInput(f"expected has {fields['expected'].size} numbers, not 6 for each of {n} providers")
    return Decision(**{**fields, "expected": fields["expected"].reshape(6, n)})


class _Kind(NamedTuple):
    make: Callable[[dict[str, Any]], Event]
    fields: dict[str, LogField]
    placed_by: str | None = None
    """The field that says where it is in a log."""


_DECISION: Final = {
    **dict.fromkeys(("id", "route", "selected", "encoder_version"), TEXT),
    **dict.fromkeys(("order", "model_version"), WHOLE),
    **dict.fromkeys(("input_tokens", "shadow_price"), NUMBER),
    **dict.fromkeys(("task", "fallback_used"), MAYBE_TEXT),
    "at_s": MAYBE_NUMBER,
    "providers": TEXTS,
    "ineligible": REASONS,
    **dict.fromkeys(("probabilities", "floor", "expected", "features"), ARRAY),
}
_OUTCOME: Final = {
    **dict.fromkeys(("decision_id", "served_provider", "status"), TEXT),
    "revision": WHOLE,
    **dict.fromkeys(("cost_usd", "latency_s"), MAYBE_NUMBER),
    **dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens"), MAYBE_WHOLE),
}
_FEEDBACK: Final = {
    **dict.fromkeys(("decision_id", "metric", "source"), TEXT),
    "value": MAYBE_NUMBER,
    "revision": WHOLE,
}
_DRIFT_ALARM: Final = {
    **dict.fromkeys(("provider", "quantity"), TEXT),
    **dict.fromkeys(("since_order", "at_order"), WHOLE),
    **dict.fromkeys(("before", "after"), NUMBER),
}
_ROUTE_CHANGED: Final = {"order": WHOLE, "route": LogField(to_json, lambda value: from_json(Route, value))}
_KINDS: Final[dict[str, _Kind]] = {
    "decision": _Kind(_decision, _DECISION, "order"),
    "outcome": _Kind(lambda fields: Outcome(**fields), _OUTCOME, "revision"),
    "feedback": _Kind(lambda fields: Feedback(**fields), _FEEDBACK, "revision"),
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
