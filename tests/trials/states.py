"""Learned states in a form that can be compared to the last bit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.api.settings import Settings
from fairlead.api.state import snapshots
from fairlead.api.state.fold import Fold
from fairlead.api.state.served_route import ServedRoute
from fairlead.api.store import Query, Row, Store
from fairlead.optimizer.learning.open_decision import OpenDecision
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.persistence.snapshot import read_snapshot
from fairlead.optimizer.types import Decision, Feedback, Outcome
from fairlead.optimizer.types.arrays import packed
from tests.trials.acknowledged import in_force

Array = NDArray[Any]

_SUMS: Final = ("gram", "moment", "scalars")
"""Ends of the names of the arrays that hold sufficient statistics, as whole numbers."""


def all_rows(store: Store, *, after: int = 0) -> list[Row]:
    """Return the rows of the log after a seq."""
    log: list[Row] = []
    while rows := store.rows(Query(after=log[-1].seq if log else after)):
        log += rows
    return log


def new_fold() -> Fold:
    """Return an empty fold with the default limits of parking."""
    fields = Settings.model_fields
    return Fold(parked_wait_s=fields["parked_wait_s"].default, parked_limit=fields["parked_limit"].default)


def fold_rows(rows: Iterable[Row], fold: Fold | None = None) -> Fold:
    """Fold each row once, in the order of the log, as read from its line."""
    result = new_fold() if fold is None else fold
    for row in rows:
        result.apply(row)
    return result


def arrays_of(fold: Fold) -> dict[str, Array]:
    """Return everything in a fold, as arrays by name."""
    arrays_by_name: dict[str, Array] = {"fold": packed(fold.state())}
    with TemporaryDirectory() as folder:
        for name, served in fold.routes.items():
            path = Path(folder) / "router.npz"
            served.router.save(path, offset=fold.seq)
            arrays, meta = read_snapshot(path)
            arrays_by_name |= {f"{name}: {key}": value for key, value in arrays.items()}
            arrays_by_name[f"{name}: meta"] = np.array(json.dumps(meta, sort_keys=True))
    return arrays_by_name


def differences(left: Mapping[str, Array], right: Mapping[str, Array]) -> list[str]:
    """Return the names of the arrays that are not the same in both, bit for bit."""
    names = sorted(left.keys() | right.keys())
    return [
        name
        for name in names
        if name not in left
        or name not in right
        or left[name].dtype != right[name].dtype
        or left[name].shape != right[name].shape
        or left[name].tobytes() != right[name].tobytes()
    ]


def sums_of(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the sufficient statistics of a fold, those before and after a drift alarm added up.

    When an alarm is raised depends on when feedback arrived, and not only on its content. The same log has
    the same alarms in every process, and `differences` of all arrays sees them.
    """
    sums: dict[str, Array] = {}
    for name, value in arrays.items():
        head, _, end = name.rpartition("/")
        if end in _SUMS:
            key = f"{head.replace('/past', '/current')}/{end}"
            sums[key] = sums[key] + value if key in sums else value
    return sums


def load_snapshot(folder: Path, rows: Sequence[Row]) -> Fold:
    """Load the fold of the latest snapshot below a folder, which must be whole and of this log."""
    latest = snapshots.paths(folder)[0]
    at = next(row for row in rows if row.seq == int(latest.name))
    log = " ".join(f"{row.uid}@{row.at_s!r}" for row in (rows[0], at))
    return snapshots.load(latest, new_fold, log=log)


def rebuild_state(folder: Path, store: Store) -> Fold:
    """Rebuild the state as a start does: from the latest whole snapshot and the log after it."""
    fold = snapshots.latest_fold(folder, store, new_fold)
    return snapshots.rebuild(fold, store, until=store.last_seq())


def feedback_of(decision: OpenDecision) -> dict[str, float | None]:
    """Return the values of the feedback in force, by metric and source."""
    return {f"{event.metric}/{event.source}": event.value for event in decision.feedback}


def cost_usd(decision: OpenDecision) -> float | None:
    """Return the cost of the outcome in force; None if it is unknown."""
    return None if decision.outcome is None else decision.cost_of(decision.outcome)


def effects_differ(rows: Sequence[Row], fold: Fold) -> list[str]:
    """Return the decisions for which a fold differs from an independent reading of the log."""
    problems = []
    for name, effect in in_force(rows).items():
        if name not in fold.open:
            problems.append(f"decision {name} is not in the state")
            continue
        decision = fold.routes[fold.open[name].route].open_decision(name)
        values = feedback_of(decision)
        if values != effect.values:
            problems.append(f"decision {name} is judged {values} and the log says {effect.values}")
        reported = effect.outcome.cost_usd if effect.outcome is not None else None
        if reported is not None and cost_usd(decision) != reported:
            problems.append(f"decision {name} costs {cost_usd(decision)} and the log says {reported}")
    return problems


def clean_sums(rows: Sequence[Row], served: ServedRoute) -> dict[str, Array]:
    """Return the sufficient statistics of a clean log: every decision, then the last report of each kind."""
    fold, decisions = new_fold(), []
    for row in rows:
        if row.kind == "config":
            fold.apply(row)
        elif row.kind == "decision" and row.route == served.body.name:
            router = fold.routes[row.route].router
            event = decode(row.line, seq=router.next_seq)
            assert isinstance(event, Decision)
            router.learn(event)
            decisions.append(row)
    router = fold.routes[served.body.name].router
    last: dict[tuple[str, ...], Outcome | Feedback] = {}
    selected = {row.decision_id: json.loads(row.line)["selected"] for row in decisions}
    for row in rows:
        if row.decision_id not in selected or row.kind == "decision":
            continue
        event = decode(row.line)
        if isinstance(event, Outcome):
            served_by = event.served_provider or selected[row.decision_id]
            last[event.decision_id, "outcome"] = replace(event, served_provider=served_by, revision=row.seq)
        elif isinstance(event, Feedback):
            last[event.decision_id, event.metric, event.source] = replace(event, revision=row.seq)
    for event in last.values():
        router.learn(event)
    return sums_of(arrays_of(fold))
