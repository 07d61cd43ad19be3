"""Events as lines of JSON: what is written is what is read, to the last bit.

Numbers that people read are written as numbers, in the shortest form that gives the same float.
Arrays are base64 of little-endian float64, because a decision holds a hundred of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, NoReturn

import msgspec

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.event_fields import (
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
    array_of,
    plain,
)
from fairlead.optimizer.persistence.route_codec import from_json, to_json
from fairlead.optimizer.types.events import (
    Decision,
    DriftAlarm,
    Event,
    Feedback,
    FloatArray,
    Outcome,
    RouteChanged,
)
from fairlead.optimizer.types.route import Route
from fairlead.optimizer.types.validation import check_decision

VERSION: Final = 1
EXCERPT_CHARS: Final = 80

_WRITER: Final = msgspec.json.Encoder(enc_hook=plain)
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_REMEDY = "mend the line, or leave it out, and read the log again"


def encode(event: Event, *, checked: bool = False) -> str:
    """The event as one line of ASCII, without its line break; `InvalidInput` where it has no such form.

    A decision that a router has just made is ``checked``: its parts fit together and are what they should be.
    """
    kind = _KIND_OF.get(type(event))
    if kind is None:
        raise InvalidInput(
            f"a {type(event).__name__} cannot be logged: give a decision, outcome, feedback, drift "
            "alarm or change of the route"
        )
    try:
        if checked:
            fields = {name: getattr(event, _attribute(name)) for name in _KINDS[kind].fields}
        else:
            if isinstance(event, Decision):
                check_decision(event)
            fields = {
                name: field.write(getattr(event, _attribute(name)))
                for name, field in _KINDS[kind].fields.items()
            }
        line = _WRITER.encode({"v": VERSION, "kind": kind, **fields}).decode()
        return line if line.isascii() else _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], line)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{kind} {_name_of(event)} cannot be logged: {error}") from error


def decode(line: str, *, place: int | None = None) -> Event:
    """The event that `encode` made the line of; `InvalidInput` for anything else.

    A ``place`` in a log is taken instead of the order or revision that the line says.
    """
    event = _quickly(line, place)
    if event is not None:
        return event
    try:
        return _event(_parse(line), place)
    except InvalidInput as error:
        raise _refused(line, error) from error


def _quickly(line: str, place: int | None) -> Event | None:
    """The event of an ordinary line; None for any other, of which the slow way says what is wrong."""
    try:
        found = _READER.decode(line)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    fields = msgspec.structs.asdict(found)
    kind = _KINDS[str(found.__struct_config__.tag)]
    # No field occurs twice where there is one colon after a quote for each, and nothing in between.
    nested = fields.get("ineligible")
    count = len(fields) + 1 + (len(nested) if nested else 0)
    if line.count('":') != count or '" ' in line or not line.isprintable():
        return None
    del fields["v"]
    try:
        for name in kind.arrays:
            fields[name] = array_of(fields[name])
        return _made(kind, fields, place)
    except ValueError:
        return None


def read_log(path: str | Path, *, on_partial: Callable[[str], None] | None = None) -> Iterator[Event]:
    """The events of a file of lines, one by one; an error names the file and the line number.

    A crash can cut the last line short. Such an end was never acknowledged, so it is left out, and
    ``on_partial`` is told so in one sentence.
    """
    with open(path, "rb") as file:
        # Split at \n alone, as they were written: text mode would split at other characters too.
        for number, raw in enumerate(file, 1):
            text = raw.decode("utf-8", errors="replace").rstrip("\r\n")
            event = _quickly(text, None)
            if event is not None:
                yield event
                continue
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
        return _STRICT.decode(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"it is not one whole JSON object ({error})") from error


def _no_constant(name: str) -> NoReturn:
    raise InvalidInput(f"{name} is not a number")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInput("a field occurs twice")
    return found


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
    return _made(kind, fields, place)


def _made(kind: _Kind, fields: dict[str, Any], place: int | None) -> Event:
    if place is not None and kind.placed_by is not None:
        fields[kind.placed_by] = place
    event = kind.make(**{_attribute(name): value for name, value in fields.items()})
    # Who reads for a place in a log gives it to a router, which checks the same and more.
    if place is None and isinstance(event, Decision):
        check_decision(event)
    return event


def _decision(*, providers: tuple[str, ...], expected: FloatArray, **others: Any) -> Decision:
    n = len(providers)
    if expected.size != 6 * n:
        raise InvalidInput(f"expected has {expected.size} numbers, not 6 for each of {n} providers")
    return Decision(providers=providers, expected=expected.reshape(6, n), **others)


_ATTRIBUTES: Final = {"order": "seq", "since_order": "since_seq", "at_order": "at_seq"}
"""What lines of the log call otherwise than events do: logs of every release keep their names."""


def _attribute(field: str) -> str:
    return _ATTRIBUTES.get(field, field)


class _Kind(NamedTuple):
    make: Callable[..., Event]
    fields: dict[str, LogField]
    placed_by: str | None = None
    """The field that says where it is in a log."""
    arrays: tuple[str, ...] = ()


_ARRAYS: Final = ("probabilities", "floor", "expected", "features")
_DECISION: Final = {
    **dict.fromkeys(("id", "route", "selected", "encoder_version"), TEXT),
    **dict.fromkeys(("order", "model_version"), WHOLE),
    **dict.fromkeys(("input_tokens", "shadow_price"), NUMBER),
    **dict.fromkeys(("task", "fallback_used"), MAYBE_TEXT),
    "at_s": MAYBE_NUMBER,
    "providers": TEXTS,
    "ineligible": REASONS,
    **dict.fromkeys(_ARRAYS, ARRAY),
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
_ROUTE_CHANGED: Final = {
    "order": WHOLE,
    "route": LogField(to_json, lambda value: from_json(Route, value), None),
}
_KINDS: Final[dict[str, _Kind]] = {
    "decision": _Kind(_decision, _DECISION, "order", _ARRAYS),
    "outcome": _Kind(Outcome, _OUTCOME, "revision"),
    "feedback": _Kind(Feedback, _FEEDBACK, "revision"),
    "drift_alarm": _Kind(DriftAlarm, _DRIFT_ALARM),
    "route_changed": _Kind(RouteChanged, _ROUTE_CHANGED),
}
_KIND_OF: Final[dict[type, str]] = {
    Decision: "decision",
    Outcome: "outcome",
    Feedback: "feedback",
    DriftAlarm: "drift_alarm",
    RouteChanged: "route_changed",
}

_LINES: Final = [
    msgspec.defstruct(
        f"Line_{name}",
        [("v", Literal[1]), *((key, field.type) for key, field in kind.fields.items())],
        tag_field="kind",
        tag=name,
        forbid_unknown_fields=True,
        gc=False,
    )
    for name, kind in _KINDS.items()
    if name != "route_changed"  # it is rare, and its route has a reader of its own
]
_READER: Final = msgspec.json.Decoder(reduce(or_, _LINES))
