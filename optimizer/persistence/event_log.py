"""Events as lines of JSON: what is written is what is read, to the last bit.

Numbers that people read are written as numbers, in the shortest form that gives the same float.
Arrays are base64 of little-endian float64, because a decision holds a hundred of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.route_codec import excerpt, explain, from_json, to_json
from fairlead.optimizer.types.arrays import array_of, plain
from fairlead.optimizer.types.events import (
    CircuitChanged,
    Decision,
    DriftAlarm,
    EncoderFitted,
    Event,
    Feedback,
    Outcome,
    RouteChanged,
    new_decision,
)
from fairlead.optimizer.types.evidence import Evidence
from fairlead.optimizer.types.route import Route
from fairlead.optimizer.types.validation import check_decision

VERSION: Final = 1

Number = Annotated[float, Meta(ge=-1.7976931348623157e308, le=1.7976931348623157e308)]
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

_ARRAY_TYPES: Final = ("<f8", "<f4", "<i4", "|u1")
_ARRAYS: Final = ("probabilities", "floor", "expected", "features")
_TABLES: Final = ("input_tokens", "counts", "outcomes", "features")
# Lines of every release call seqs orders.
_NAMES: Final = {"seq": "order", "since_seq": "since_order", "at_seq": "at_order"}


class _Array(msgspec.Struct, array_like=True):
    """An array of any type, whose bytes are little-endian."""

    type: str
    shape: tuple[Whole, ...]
    content: bytes


class _Line(msgspec.Struct, tag_field="kind", rename=_NAMES, forbid_unknown_fields=True, gc=False):
    """The fields of one kind of event, in the order in which they are written."""

    v: Literal[1]


class _DecisionLine(_Line, tag="decision", omit_defaults=True):
    id: str
    route: str
    selected: str
    encoder_version: str
    seq: Whole
    model_version: Whole
    input_tokens: Number
    shadow_price: Number
    task: str | None
    fallback_used: str | None
    at_s: Number | None
    providers: tuple[str, ...]
    ineligible: dict[str, str]
    probabilities: bytearray
    floor: bytearray
    expected: bytearray
    features: bytearray
    on_trial: dict[str, str] = msgspec.field(default_factory=dict)
    relaxed: tuple[str, ...] = ()
    terms: bytes | None = None


class _OutcomeLine(_Line, tag="outcome"):
    decision_id: str
    served_provider: str
    status: str
    revision: Whole
    cost_usd: Number | None
    latency_s: Number | None
    input_tokens: Whole | None
    output_tokens: Whole | None
    cached_tokens: Whole | None


class _FeedbackLine(_Line, tag="feedback"):
    decision_id: str
    metric: str
    source: str
    value: Number | None
    revision: Whole


class _DriftAlarmLine(_Line, tag="drift_alarm"):
    provider: str
    quantity: str
    since_seq: Whole
    at_seq: Whole
    before: Number
    after: Number
    task: str | None = None


class _CircuitChangedLine(_Line, tag="circuit_changed"):
    provider: str
    state: str
    at_seq: Whole
    failures: Whole


class _RouteChangedLine(_Line, tag="route_changed"):
    seq: Whole
    route: dict[str, Any]


class _EvidenceLine(_Line, tag="evidence"):
    seq: Whole
    source: str
    part: Whole
    encoder_version: str
    providers: tuple[str, ...]
    tasks: tuple[str | None, ...]
    input_tokens: bytearray
    counts: bytearray
    outcomes: bytearray
    features: bytearray
    terms: tuple[bytes | None, ...] = ()


class _EncoderFittedLine(_Line, tag="encoder_fitted"):
    number: Whole
    texts: Whole
    reason: str
    arrays: dict[str, _Array]


class _Kind(NamedTuple):
    line: type[_Line]
    name: str
    start: str
    """How its lines start. msgspec writes the kind in front of the version, in as many characters."""
    values: Callable[[Event], tuple[Any, ...]]


def _kind(line: type[_Line]) -> _Kind:
    name, fields = str(line.__struct_config__.tag), line.__struct_fields__[1:]
    return _Kind(line, name, f'{{"v":{VERSION},"kind":"{name}"', attrgetter(*fields))


_KINDS: Final[dict[type, _Kind]] = {
    Decision: _kind(_DecisionLine),
    Outcome: _kind(_OutcomeLine),
    Feedback: _kind(_FeedbackLine),
    DriftAlarm: _kind(_DriftAlarmLine),
    CircuitChanged: _kind(_CircuitChangedLine),
    RouteChanged: _kind(_RouteChangedLine),
    Evidence: _kind(_EvidenceLine),
    EncoderFitted: _kind(_EncoderFittedLine),
}
_READER: Final = msgspec.json.Decoder(
    _DecisionLine
    | _OutcomeLine
    | _FeedbackLine
    | _DriftAlarmLine
    | _CircuitChangedLine
    | _RouteChangedLine
    | _EvidenceLine
    | _EncoderFittedLine
)
_WRITER: Final = msgspec.json.Encoder(enc_hook=plain)
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")


def encode(event: Event, *, checked: bool = False) -> str:
    """Write an event as one line of ASCII without a line break; raises `InvalidInput` if it has no such line.

    A decision that a router has just made is ``checked``: its parts are known to fit together.
    """
    kind = _KINDS.get(type(event))
    if kind is None:
        raise InvalidInput(
            f"a {type(event).__name__} cannot be logged: give a decision, outcome, feedback, drift "
            "alarm, change of a circuit, change of the route, evidence or fitted encoder"
        )
    try:
        record = kind.line(VERSION, *kind.values(event)) if checked else _record(event, kind)
        line = kind.start + _WRITER.encode(record).decode()[len(kind.start) :]
        return line if line.isascii() else _NOT_ASCII.sub(lambda sign: json.dumps(sign[0])[1:-1], line)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{kind.name} {_name_of(event)} cannot be logged: {error}") from error


def _record(event: Event, kind: _Kind) -> _Line:
    """Check an event field by field, and return its record."""
    values = dict(zip(kind.line.__struct_encode_fields__[1:], kind.values(event), strict=True))
    fields = {"v": VERSION, "kind": kind.name, **values}
    if isinstance(event, RouteChanged):
        fields["route"] = to_json(event.route)
    elif isinstance(event, EncoderFitted):
        fields["arrays"] = {name: _written(array) for name, array in sorted(event.arrays.items())}
    elif isinstance(event, Decision):
        check_decision(event)
        fields |= {name: plain(fields[name]) for name in _ARRAYS}
    elif isinstance(event, Evidence):
        fields |= {name: plain(fields[name]) for name in _TABLES}
    try:
        return msgspec.convert(fields, kind.line)
    except msgspec.ValidationError:  # numbers of numpy are welcome too
        fields = msgspec.to_builtins(fields, enc_hook=plain, builtin_types=(bytes,))
    try:
        return msgspec.convert(fields, kind.line)
    except msgspec.ValidationError as error:
        raise InvalidInput(explain(error, fields)) from error


def decode(line: str, *, seq: int | None = None) -> Event:
    """Read the event of a line that `encode` wrote; raises `InvalidInput` for anything else.

    If the place of the line in a log is known, its ``seq`` takes the place of the seq or revision that the
    line states.
    """
    try:
        return _read(line, seq)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise _refusal(line, error) from error


def read_log(path: str | Path, *, on_partial: Callable[[str], None] | None = None) -> Iterator[Event]:
    """Yield the events of a file of lines; an error names the file and the line number.

    A crash can cut the last line short. Such an end was never acknowledged, so it is left out, and
    ``on_partial`` is called with one sentence about it.
    """
    with open(path, "rb") as file:
        # Split at \n alone, as they were written: text mode would split at other characters too.
        for number, raw in enumerate(file, 1):
            text = raw.decode("utf-8", errors="replace").rstrip("\r\n")
            try:
                event = _read(text)
            except (ValueError, RecursionError) as error:
                if raw.endswith(b"\n") or _is_json(text):
                    raise InvalidInput(f"{path}, line {number}: {_refusal(text, error)}") from error
                if on_partial is not None:
                    on_partial(
                        f"{path}, line {number}: {excerpt(text)} is cut short and was left out, "
                        f"{len(raw)} bytes at the end of the file: it was never acknowledged"
                    )
                return
            yield event


def _read(line: str, seq: int | None = None) -> Event:
    record = _READER.decode(line)
    fields = msgspec.structs.asdict(record)
    # No field occurs twice if there is one colon after a quote for each, and no white space in between.
    if isinstance(record, _DecisionLine):
        omitted = (not record.on_trial) + (not record.relaxed) + (record.terms is None)
        nested = len(record.ineligible) + len(record.on_trial) - omitted
    elif isinstance(record, _EncoderFittedLine):
        nested = len(record.arrays)
    else:
        # Alarms of earlier releases have no task.
        nested = -(isinstance(record, _DriftAlarmLine) and '"task":' not in line)
    if line.count('":') != len(fields) + 1 + nested or _is_spaced(line):
        _STRICT.decode(line)
    del fields["v"]
    if isinstance(record, _DecisionLine):
        return _decision(fields, seq)
    if isinstance(record, _RouteChangedLine):
        return RouteChanged(seq=record.seq, route=from_json(Route, record.route))
    if isinstance(record, _EvidenceLine):
        return _evidence(fields, seq)
    if isinstance(record, _EncoderFittedLine):
        return EncoderFitted(
            **{**fields, "arrays": {name: _read_array(a) for name, a in record.arrays.items()}}
        )
    if isinstance(record, _DriftAlarmLine):
        return DriftAlarm(**fields)
    if isinstance(record, _CircuitChangedLine):
        return CircuitChanged(**fields)
    if seq is not None:
        fields["revision"] = seq
    return Outcome(**fields) if isinstance(record, _OutcomeLine) else Feedback(**fields)


def _is_spaced(line: str) -> bool:
    """Whether there may be white space after a quote; `_READER` refuses all but spaces within texts."""
    return (" " in line and '" ' in line) or "\t" in line or "\n" in line or "\r" in line


def _decision(fields: dict[str, Any], seq: int | None) -> Decision:
    _read_arrays(fields, _ARRAYS)
    n = len(fields["providers"])
    if fields["expected"].size != 6 * n:
        raise InvalidInput(f"expected has {fields['expected'].size} numbers, not 6 for each of {n} providers")
    fields["expected"] = fields["expected"].reshape(6, n)
    if seq is not None:
        return new_decision({**fields, "seq": seq})
    decision = Decision(**fields)
    # With a seq from outside, it goes to a router, which checks the same and more.
    check_decision(decision)
    return decision


def _evidence(fields: dict[str, Any], seq: int | None) -> Evidence:
    _read_arrays(fields, _TABLES)
    k, cells, features = len(fields["providers"]), fields["counts"].size, fields["features"].size
    n = cells // max(k, 1)
    if n * k != cells or fields["outcomes"].size != 4 * cells or (features % n if n else features):
        raise InvalidInput(
            f"evidence has {cells} counts, {fields['outcomes'].size} outcomes and {features} features, which "
            f"are no rows of {k} providers with four numbers each"
        )
    fields["counts"] = fields["counts"].reshape(n, k)
    fields["outcomes"] = fields["outcomes"].reshape(4, n, k)
    fields["features"] = fields["features"].reshape(n, features // max(n, 1))
    return Evidence(**(fields if seq is None else {**fields, "seq": seq}))


def _read_arrays(fields: dict[str, Any], names: Sequence[str]) -> None:
    for name in names:
        try:
            fields[name] = array_of(fields[name])
        except ValueError as error:
            raise InvalidInput(f"{name} has {error}") from error


def _written(array: NDArray[Any]) -> _Array:
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"))
    return _Array(little.dtype.str, little.shape, little.tobytes())


def _read_array(record: _Array) -> NDArray[Any]:
    """Return an array that `_written` wrote; raises `InvalidInput` if its parts do not fit together."""
    if record.type not in _ARRAY_TYPES:
        raise InvalidInput(f"an array is of type {record.type!r}, not one of {', '.join(_ARRAY_TYPES)}")
    try:
        array = np.frombuffer(record.content, dtype=record.type).reshape(record.shape)
    except ValueError as error:
        raise InvalidInput(f"an array of shape {record.shape} has {len(record.content)} bytes") from error
    return array.astype(array.dtype.newbyteorder("="))


def _name_of(event: Event) -> str:
    if isinstance(event, EncoderFitted):
        return f"number {event.number}"
    if isinstance(event, DriftAlarm | CircuitChanged | RouteChanged):
        return f"of {event.route.name if isinstance(event, RouteChanged) else event.provider!r}"
    if isinstance(event, Evidence):
        return f"of {event.source!r}"
    return repr(event.id if isinstance(event, Decision) else event.decision_id)


def _refusal(line: str, error: Exception) -> InvalidInput:
    try:
        value = _STRICT.decode(line)
    except (ValueError, RecursionError) as problem:
        reason = f"it is not one whole JSON object ({problem})"
    else:
        reason = _reason(value, error)
    return InvalidInput(
        f"{excerpt(ascii(line))} is no event: {reason}; mend the line, or leave it out, and read the log "
        "again"
    )


def _reason(value: object, error: Exception) -> str:
    if isinstance(value, dict):
        version, kind = value.get("v"), value.get("kind")
        kinds = [entry.name for entry in _KINDS.values()]
        if version != VERSION or isinstance(version, bool):
            return f"v is {version!r}, and this release reads {VERSION}"
        if kind not in kinds:
            return f"kind is {kind!r}, not one of {', '.join(kinds)}"
    return explain(error, value) if isinstance(error, msgspec.ValidationError) else str(error)


def _is_json(text: str) -> bool:
    try:
        _STRICT.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidInput(f"{name} is not a number")


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidInput("a field occurs twice")
    return fields


_STRICT: Final = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeats)
