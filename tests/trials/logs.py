"""Logs as the service writes them, made without it: decisions of the real router, and what came of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Final, TypedDict

import numpy as np

from fairlead.api.service.declared import declared_changes
from fairlead.api.settings import Settings
from fairlead.api.state.decide import decide
from fairlead.api.state.fold import Fold
from fairlead.api.store import Row, Store
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types import Context, Feedback, Outcome
from tests.trials.settings import ROUTE
from tests.trials.states import new_fold


class _OfDecision(TypedDict):
    decision_id: str
    route: str
    at_s: float


BATCH: Final = 500
START_S: Final = 1_700_000_000.0


def write_log(
    store: Store,
    settings: Settings,
    *,
    rounds: int,
    seed: int,
    told: Callable[[int], None] = lambda done: None,
) -> Fold:
    """Append ``rounds`` decisions, each with an outcome and one judgement; the state they lead to."""
    rng, fold = random.Random(seed), new_fold()
    store_all(store, fold, declared_rows(settings, fold))
    served = fold.routes[ROUTE]
    waiting: list[Row] = []
    seq = fold.seq
    for i in range(rounds):
        at_s = START_S + 0.5 * i
        features = np.array([rng.uniform(-1.0, 1.0) for _ in range(served.width)])
        context, draw = Context(features=features, input_tokens=400.0), rng.random()
        decision, fault = decide(served, context, decision_id=f"r{i}", draw=draw, at_s=at_s)
        assert fault is None, fault
        quality = float(rng.random() < 0.5 + 0.3 * features[0])
        cost = rng.uniform(0.0, 0.003)
        outcome = Outcome(
            decision_id=f"r{i}", served_provider=decision.selected, cost_usd=cost, latency_s=1.0
        )
        notes = json.dumps({"key": None, "draw": draw, "state_seq": fold.seq})
        feedback = Feedback(decision_id=f"r{i}", value=quality, source="judge")
        of_decision: _OfDecision = {"decision_id": f"r{i}", "route": ROUTE, "at_s": at_s}
        rows = [
            Row.decision(encode(decision), **of_decision, metadata=notes),
            Row.report(encode(outcome), kind="outcome", uid=f"o::r{i}/o", **of_decision),
            Row.report(encode(feedback), kind="feedback", uid=f"f::f{i}", **of_decision),
        ]
        for made, row in zip((decision, None, None), rows, strict=True):
            seq += 1
            fold.apply(row._replace(seq=seq), made)
        waiting += rows
        if len(waiting) >= BATCH or i == rounds - 1:
            store.append(waiting)
            waiting = []
            told(i + 1)
    return fold


def declared_rows(settings: Settings, fold: Fold) -> list[Row]:
    """What the settings declare, as rows to be appended."""
    changes = declared_changes(settings, fold, now_s=START_S)
    return [Row.config(change.line(), uid=uid, at_s=START_S) for uid, change in changes]


def store_all(store: Store, fold: Fold, rows: list[Row]) -> None:
    """Append rows, and fold them."""
    for row in store.append(rows).rows:
        fold.apply(row)
