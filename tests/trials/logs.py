"""Logs as the service writes them, made without it: decisions of the real router, outcomes and feedback."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from fairlead.api.service.declared import declared_changes
from fairlead.api.settings import Settings
from fairlead.api.state.decide import decide
from fairlead.api.state.fold import Fold
from fairlead.api.store import Row, Store
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types import Context, Decision, Feedback, Outcome
from tests.trials.settings import ROUTE
from tests.trials.states import new_fold

BATCH: Final = 500
START_S: Final = 1_700_000_000.0


def write_log(
    store: Store,
    settings: Settings,
    *,
    rounds: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Fold:
    """Append ``rounds`` decisions, each with an outcome and one feedback; returns the resulting fold."""
    rng, fold = random.Random(seed), new_fold()
    store_all(store, fold, declared_rows(settings, fold))
    waiting: list[Row] = []
    for i in range(rounds):
        decision, rows = _round(f"r{i}", fold, rng, at_s=START_S + 0.5 * i)
        for event, row in zip((decision, None, None), rows, strict=True):
            fold.apply(row._replace(seq=fold.seq + 1), event)
        waiting += rows
        if len(waiting) >= BATCH or i == rounds - 1:
            store.append(waiting)
            waiting = []
            progress(i + 1)
    return fold


def _round(name: str, fold: Fold, rng: random.Random, *, at_s: float) -> tuple[Decision, list[Row]]:
    """Make one decision, and the rows of the log for it, its outcome and its feedback."""
    served = fold.routes[ROUTE]
    features = np.array([rng.uniform(-1.0, 1.0) for _ in range(served.width)])
    context, draw = Context(features=features, input_tokens=400.0), rng.random()
    decision, fault = decide(served, context, decision_id=name, draw=draw, at_s=at_s)
    assert fault is None, fault
    quality = float(rng.random() < 0.5 + 0.3 * features[0])
    cost = rng.uniform(0.0, 0.003)
    outcome = Outcome(decision_id=name, served_provider=decision.selected, cost_usd=cost, latency_s=1.0)
    feedback = Feedback(decision_id=name, value=quality, source="judge")
    metadata = json.dumps({"key": None, "draw": draw, "state_seq": fold.seq})
    decided = Row.decision(encode(decision), decision_id=name, route=ROUTE, at_s=at_s, metadata=metadata)
    report = partial(Row.report, decision_id=name, route=ROUTE, at_s=at_s)
    return decision, [
        decided,
        report(encode(outcome), kind="outcome", uid=f"o::{name}/o"),
        report(encode(feedback), kind="feedback", uid=f"f::f{name.removeprefix('r')}"),
    ]


def declared_rows(settings: Settings, fold: Fold) -> list[Row]:
    """Return the rows of what the settings declare."""
    changes = declared_changes(settings, fold.declared, now_s=START_S)
    return [Row.config(change.line(), uid=uid, at_s=START_S) for uid, change in changes]


def store_all(store: Store, fold: Fold, rows: list[Row]) -> None:
    """Append rows, and fold them."""
    for row in store.append(rows).rows:
        fold.apply(row)
