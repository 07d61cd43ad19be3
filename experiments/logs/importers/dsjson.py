"""Vowpal Wabbit's decision service JSON, for contextual bandits with features of each action."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fairlead.experiments.logs.importers import sql
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table, readable_text
from fairlead.experiments.logs.importers.source import COMMON, Document, Selection, Source
from fairlead.experiments.logs.source import CUT_SHORT
from fairlead.experiments.logs.text_scan import MAX_LINE_BYTES

_ROUNDING: Final = 1e-4
"""By how much the probability of a label, a 32-bit number, may differ from the one among ``p``."""

_PER_SLOT: Final = "slates (several actions for one reward), which cannot be imported: import only CB events"
_CCB: Final = "CCB (several slots for one context), which cannot be imported: import only CB events"
_CONTINUOUS: Final = "continuous actions, which cannot be imported: import only CB events"
_UNJOINED: Final = "observations that were never joined to a decision"


def _documents(path: Path, folder: Path) -> Iterator[Document]:
    with readable_text(path, folder).open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                yield {"row": number, "wrong": f"the line is longer than {MAX_LINE_BYTES:,} bytes: cut it"}
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(MAX_LINE_BYTES)
            elif text := raw.strip():
                yield {"row": number, **_document(text, ends=raw.endswith(b"\n"))}


def _document(text: bytes, *, ends: bool) -> Document:
    """Read one line: a decision, or the reason why it is none (``left_out``) or cannot be one (``wrong``)."""
    if text.startswith(b"[CHECKPOINT"):
        return {"left_out": "checkpoints"}
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {"wrong": f"the line is not one whole JSON object ({error}): mend it" if ends else CUT_SHORT}
    if not isinstance(event, dict):
        return {"wrong": "the line is no JSON object: check the kind of the log"}
    reason = _other_kind(event)
    if reason is not None:
        return {"left_out": reason}
    try:
        return _decision(event)
    except ValueError as error:
        return {"wrong": str(error)}
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        return {
            "wrong": f"this is no contextual-bandit event of dsjson ({error!r} about a, p, c, EventId or "
            "Timestamp): correct it"
        }


def _other_kind(event: Mapping[str, Any]) -> str | None:
    """Name what else than a decision among actions the event is, None if it is one."""
    context = event.get("c")
    if isinstance(context, Mapping) and ("_slots" in context or "_outcomes" in event):
        multi = context.get("_multi") or []
        is_slate = any(isinstance(entry, Mapping) and "_slot_id" in entry for entry in multi)
        return _PER_SLOT if is_slate else _CCB
    if "_outcomes" in event:
        return _CCB
    if "_label_ca" in event or "pdf" in event or "_label_pdf_value" in event:
        return _CONTINUOUS
    if "_label_cost" not in event and "a" not in event:
        return _UNJOINED
    return None


def _decision(event: Mapping[str, Any]) -> Document:
    """Read the line of an event; ``ValueError`` says what contradicts what."""
    shared = event["c"] or {}
    multi = shared["_multi"]
    actions, chances = [int(a) for a in event["a"]], [float(p) for p in event["p"]]
    if len(actions) != len(chances):
        raise ValueError(
            f"a has {len(actions)} actions and p {len(chances)} probabilities: log one for each action"
        )
    indices, drawn_at = _placed(event, actions, count=len(multi))
    _check_probability(event, indices[drawn_at], chance=chances[drawn_at])
    if float(event.get("pdrop", 0.0)) > 0.0:
        raise ValueError(
            f"pdrop is {event['pdrop']}, so events were dropped at random and the rest would need weights: "
            "import a log that is whole"
        )
    names = _action_names(multi, indices)
    cost = None if event.get("_skipLearn") is True else event.get("_label_cost")
    return {
        "decision_id": str(event["EventId"]),
        "decided_at": str(event["Timestamp"]),
        "providers": names,
        "propensities": chances,
        "provider": names[drawn_at],
        "reward": None if cost is None else -float(cost),
        "reordered": drawn_at > 0,
        "attributes": _attributes(shared),
    }


def _placed(event: Mapping[str, Any], actions: list[int], *, count: int) -> tuple[list[int], int]:
    """Return the actions counted from 0, and the place among them of the one that was drawn."""
    first = _first_index(event, actions, count)
    indices = [action - first for action in actions]
    chosen = _chosen(event, first)
    if chosen is None:
        return indices, 0
    if chosen not in indices:
        raise ValueError(
            f"the label names action {chosen + 1}, which is not in a, {actions}: correct the label"
        )
    return indices, indices.index(chosen)


def _check_probability(event: Mapping[str, Any], chosen: int, *, chance: float) -> None:
    stated = event.get("_label_probability")
    if stated is not None and abs(float(stated) - chance) > _ROUNDING:
        raise ValueError(
            f"the label gives action {chosen + 1} the probability {float(stated):g}, but a and p give it "
            f"{chance:g}: correct whichever is wrong"
        )


def _first_index(event: Mapping[str, Any], actions: list[int], count: int) -> int:
    """Return the number of the first action, 0 or 1: some writers of logs count from 0."""
    lowest, highest = min(actions), max(actions)
    if lowest < 0 or highest > count or (lowest == 0 and highest == count):
        raise ValueError(f"a is {actions}, but there are {count} actions: count them from 1")
    if lowest == 0:
        return 0
    if highest == count:
        return 1
    label, index = event.get("_label_Action"), event.get("_labelIndex")
    return 0 if label is not None and label == index else 1


def _chosen(event: Mapping[str, Any], first: int) -> int | None:
    """Return the index, from 0, of the action that the label names, None if there is no label."""
    label, index = event.get("_label_Action"), event.get("_labelIndex")
    if index is None:
        return None if label is None else int(label) - first
    if label is not None and int(label) - int(index) not in ((1,) if first == 1 else (0, 1)):
        raise ValueError(f"_labelIndex {index} and _label_Action {label} are two actions: correct the label")
    return int(index)


def _action_names(multi: list[Any], indices: list[int]) -> list[str]:
    """Name actions by tag, id or name, else, or if two share one, by their number."""
    names = [_action_name(multi[index]) for index in indices]
    if None in names or len(set(names)) < len(names):
        seen = {name for name in names if name is not None and names.count(name) == 1}
        return [
            name if name in seen and name is not None else f"action-{index + 1}"
            for name, index in zip(names, indices, strict=True)
        ]
    return [name for name in names if name is not None]


def _action_name(entry: Any) -> str | None:
    """Return the tag, id or name of an action, which may stand in a namespace."""
    if not isinstance(entry, Mapping):
        return None
    for key in ("_tag", "id", "name"):
        value = entry.get(key)
        if value is not None and value != "" and isinstance(value, (str, int)):
            return str(value)
    for inner in entry.values():
        for part in inner if isinstance(inner, list) else (inner,):
            if isinstance(part, Mapping) and (name := _action_name(part)) is not None:
                return name
    return None


def _attributes(shared: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Flatten the shared features; namespaces become part of the name, and so do the texts of a list."""
    attributes: dict[str, str | float | bool] = {}
    open_values: list[tuple[str, Any]] = [
        (key, value) for key, value in shared.items() if key and not key.startswith("_")
    ]
    for name, value in open_values:  # grows while it is gone through
        if isinstance(value, Mapping):
            open_values += [
                (f"{name}.{key}", inner) for key, inner in value.items() if not key.startswith("_")
            ]
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                if isinstance(inner, str):
                    attributes[f"{name}.{inner}"] = True
                else:
                    open_values.append((name if isinstance(inner, Mapping) else f"{name}.{i}", inner))
        elif isinstance(value, (str, bool)) or (isinstance(value, (int, float)) and math.isfinite(value)):
            attributes[name] = value
    return attributes


def _select(table: Table, options: ImportOptions) -> Selection:
    text = table.text
    identity, time, provider = text("decision_id"), text("decided_at"), text("provider")
    propensities = f"TRY_CAST({text('propensities')}::JSON AS DOUBLE[])"
    providers = f"TRY_CAST({text('providers')}::JSON AS VARCHAR[])"
    chance = f"{propensities}[list_position({providers}, {provider})]"
    outside = f"NOT coalesce(list_min({propensities}) >= 0 AND list_max({propensities}) <= 1 + 1e-6, false)"
    return Selection(
        columns={
            "decision_id": identity,
            "at_us": sql.time_us(time),
            "attributes": f"nullif({text('attributes')}, '{{}}')::JSON",
            "providers": providers,
            "propensities": propensities,
            "provider": provider,
            "reward": f"TRY_CAST({text('reward')} AS DOUBLE)",
        },
        left_out=((f"{text('left_out')} IS NOT NULL", text("left_out")),),
        refused=(
            (f"{identity} IS NULL", "'EventId is empty: give every event an id of its own'"),
            (f"{sql.time_us(time)} IS NULL", sql.no_time("Timestamp", time)),
            (outside, f"'p is ' || left({text('propensities')}, 80) || ', no probabilities: correct it'"),
            (f"{chance} <= 0", "'p gives the action that was chosen 0: log what it was drawn with'"),
        ),
        tally={
            "{count} labels name another action than the first of a; the label counts.": (
                f"{text('reordered')} = 'true'"
            )
        },
    )


DSJSON: Final = Source(select=_select, applicable=COMMON | {"reward_range"}, prepare=_documents, judges=True)
