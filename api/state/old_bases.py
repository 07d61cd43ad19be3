"""Bases of release 0.1.0, rewritten in today's format.

A snapshot of an older format is rebuilt from the log. A base cannot be: it stands for events that were
removed. In 0.1.0 the fold was one JSON object (``fold.npz``, format 1), and each router plain arrays
(``route0.npz`` and so on, format 2): texts each ended by a zero; texts that repeat as a table and the index
of each in it; the events in force for open decisions as one array per field, with NaN for None. What the
models learned was in the same arrays as today, except for latencies and failures, and for vectors of more
than 192 numbers, which were learned from whole (`old_vectors`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from fairlead.api.schemas.declarations import FeaturesIn
from fairlead.api.state.fold import FILE_FORMAT, FILE_KIND, SavedFold
from fairlead.api.state.old_vectors import OldVectors
from fairlead.api.state.served_route import SavedRoute, ServedDecision
from fairlead.optimizer.learning.learner import SavedLearner
from fairlead.optimizer.learning.ledger import SavedDecision, SavedLedger
from fairlead.optimizer.models.latency import by_bin
from fairlead.optimizer.models.recent import RecentValues
from fairlead.optimizer.persistence.array_file import FeatureFileError, read_arrays, write_arrays
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.persistence.snapshot import write_snapshot
from fairlead.optimizer.types import Feedback, Outcome
from fairlead.optimizer.types.arrays import State, from_texts, joined, packed, part

_OLD_FOLD, _OLD_ROUTER = 1, 2
_ID: Final = {"providers": "name", "prices": "id", "routes": "name", "keys": "id"}


def upgrade(folder: Path) -> None:
    """Rewrite the files of a base of 0.1.0 in today's format; any other base stays as it is."""
    try:
        fold = read_arrays(folder / "fold.npz", kind=FILE_KIND, version=_OLD_FOLD)
    except FeatureFileError:
        return  # of today's format, or damaged, which is noticed when it is loaded
    state = json.loads(fold["state"].tobytes())
    declared = {
        route["name"]: OldVectors(FeaturesIn(**route["features"])) for route in state["config"]["routes"]
    }
    for i, name in enumerate(sorted(state["routes"])):
        _upgrade_router(folder / f"route{i}.npz", declared[name])
    content = {"log": np.array(state["log"]), "fold": packed(_fold(state, declared))}
    write_arrays(folder / "fold.npz", content, kind=FILE_KIND, version=FILE_FORMAT)


def _upgrade_router(path: Path, vectors: OldVectors) -> None:
    router = read_arrays(path, kind="snapshot", version=_OLD_ROUTER)
    meta, arrays = json.loads(router["meta"].tobytes()), part(router, "array")
    if vectors.are_wide:
        meta["encoder"], arrays = vectors.identity(meta["encoder"]), vectors.router(arrays)
    write_snapshot(path, _router(arrays, next_seq=meta["order"]), meta=meta)


def _fold(state: dict[str, Any], declared: dict[str, OldVectors]) -> SavedFold:
    wait_s, limit = state["waits"]
    opened = {}
    for route, saved in state["routes"].items():
        for decision_id, seq, at_s, _, session, _, _, by_key, _ in saved["open"]:
            opened[seq] = (decision_id, ServedDecision(route, at_s, session, by_key))
    return SavedFold(
        seq=state["seq"],
        clock_s=state["clock_s"],
        parked_wait_s=wait_s,
        parked_limit=limit,
        config={kind: {entity[_ID[kind]]: entity for entity in state["config"][kind]} for kind in _ID},
        applied=state["applied"],
        sessions=state["sessions"],
        open=[opened[seq] for seq in sorted(opened)],
        pending=state["parked"],
        closed=state["closed"],
        given_up=state["unknown"],
        counts=state["counts"],
        routes={name: _route(saved, declared[name]) for name, saved in state["routes"].items()},
    )


def _route(saved: dict[str, Any], vectors: OldVectors) -> SavedRoute:
    decisions, fallbacks, explored = saved["counts"]
    return SavedRoute(
        first=saved["first"],
        broken=saved["broken"],
        dispatched=decisions,
        decisions=decisions,
        fallbacks=fallbacks,
        explored=explored,
        spent_usd=saved["spent_usd"],
        tasks={name: (n, vectors.total(total), tokens) for name, n, total, tokens in saved["tasks"]},
    )


def _router(arrays: State, *, next_seq: int) -> State:
    unchanged = ("beliefs/", "pacing/")
    result = {
        name.replace("learning/", "learner/").replace("order", "seq"): array
        for name, array in arrays.items()
        if name.startswith(unchanged)
    }
    result |= _service(result, next_seq=next_seq)
    changes = _events(arrays["router/configured"])
    result["router/saved"] = packed((from_texts(arrays["router/newcomers"]), changes))
    learning = part(arrays, "learning")
    learner = SavedLearner(
        spending=[(usd, None) for usd in learning["spending"].tolist()],
        counts=dict(zip(from_texts(learning["counted"]), learning["counts"].tolist(), strict=True)),
        alarms=_events(learning["alarms"]),
        detected=[],
    )
    ledger = packed(_ledger(part(learning, "ledger"), part(learning, "facts")))
    return {**result, "learner/learner": packed(learner), "learner/ledger": ledger}


def _service(arrays: State, *, next_seq: int) -> State:
    """Return what is known of latencies, failures and costs of the latest calls as today's arrays."""
    nothing = RecentValues().state()
    result: State = {"beliefs/now": np.array(next_seq - 1)}
    for i in range(len(from_texts(arrays["beliefs/known"]))):
        result |= joined(**{f"beliefs/ratios{i}": nothing, f"beliefs/latency{i}/latest": nothing})
        result[f"beliefs/latency{i}/counts"] = by_bin(arrays[f"beliefs/latency{i}/counts"])
        recent = arrays[f"beliefs/failure{i}/recent"]
        result[f"beliefs/failure{i}/recent"] = np.insert(recent, 2, 0, axis=1)
    return result


def _ledger(ledger: State, facts: State) -> SavedLedger:
    closed_before, last_seq, evicted = ledger["counts"].tolist()
    waiting = _events(ledger["parked"])
    return SavedLedger(
        decisions=list(_decisions(ledger, facts)),
        pending=[(event, None) if isinstance(event, Outcome) else (None, event) for event in waiting],
        closed=from_texts(ledger["closed"]),
        providers=from_texts(ledger["providers"]),
        closed_before=closed_before,
        last_seq=last_seq,
        evicted=evicted,
    )


def _decisions(ledger: State, facts: State) -> Iterator[SavedDecision]:
    """Yield the open decisions; ``facts`` has what the learner kept of each beside the ledger."""
    ids, in_force = from_texts(ledger["ids"]), part(ledger, "told")
    outcomes, feedback = _outcomes(in_force, ids), _feedback(in_force, ids)
    features = np.split(ledger["features"], np.cumsum(ledger["widths"]))
    providers = [tuple(json.loads(names)) for names in _column(facts, "providers")]
    predicted = np.split(facts["believed"], np.cumsum([2 * len(names) for names in providers]))
    numbers, selected = facts["numbers"].tolist(), _column(ledger, "selected")
    for i, decision_id in enumerate(ids):
        tokens, expected_usd, booked_usd = numbers[i]
        yield SavedDecision(
            id=decision_id,
            seq=int(ledger["orders"][i]),
            selected=selected[i],
            features=bytearray(features[i].tobytes()),
            is_encoded=bool(facts["encoded"][i]),
            providers=providers[i],
            predicted=bytearray(predicted[i].tobytes()),
            input_tokens=tokens,
            expected_usd=expected_usd,
            booked_usd=booked_usd,
            outcome=outcomes.get(i),
            feedback=tuple(feedback.get(i, ())),
        )


def _outcomes(state: State, ids: list[str]) -> dict[int, Outcome]:
    """Return the outcomes in force by the index of their decision."""
    indexes, revisions = state["outcome_of"].tolist(), state["outcome_revision"].tolist()
    providers, statuses = _column(state, "outcome_provider"), _column(state, "outcome_status")
    outcomes = {}
    for row, i in enumerate(indexes):
        cost, latency = map(_number, state["outcome_numbers"][row].tolist())
        tokens = [None if count != count else int(count) for count in state["outcome_tokens"][row].tolist()]
        outcomes[i] = Outcome(
            decision_id=ids[i],
            served_provider=providers[row],
            cost_usd=cost,
            latency_s=latency,
            status=statuses[row],
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cached_tokens=tokens[2],
            revision=revisions[row],
        )
    return outcomes


def _feedback(state: State, ids: list[str]) -> dict[int, list[Feedback]]:
    """Return the feedback in force by the index of its decision."""
    indexes, revisions = state["feedback_of"].tolist(), state["feedback_revision"].tolist()
    metrics, sources = _column(state, "feedback_metric"), _column(state, "feedback_source")
    feedback: dict[int, list[Feedback]] = {}
    for row, i in enumerate(indexes):
        (value,) = map(_number, state["feedback_value"][row].tolist())
        event = Feedback(
            decision_id=ids[i],
            metric=metrics[row],
            source=sources[row],
            value=value,
            revision=revisions[row],
        )
        feedback.setdefault(i, []).append(event)
    return feedback


def _column(state: State, name: str) -> list[str]:
    table = from_texts(state[f"{name}_table"])
    return [table[index] for index in state[f"{name}_code"].tolist()]


def _events(lines: Any) -> list[Any]:
    return [decode(line) for line in from_texts(lines)]


def _number(number: float) -> float | None:
    return None if number != number else number
