"""A route whose fits take milliseconds: they run in another thread, and what was served replays."""

import asyncio
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fairlead.api.state.decide import decide
from fairlead.api.store import Query, open_store
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.types import Context, Decision
from tests.api.running import running
from tests.trials.states import new_fold

WIDTH = 80
ROUTE = {
    "name": "wide",
    "providers": ["small", "large"],
    "features": {"vector": WIDTH},
    "budget": {"usd_per_request": 0.001},
}


def test_decisions_made_while_beliefs_are_computed_replay_to_the_same_bits(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((240, WIDTH)).round(4).tolist()
    with running(tmp_path, url) as service:
        service.post("/v1/routes", ROUTE, status=201)
        service.until_ready()
        served = service.service.engine.fold.routes["wide"]
        assert not served.is_quick

        def ask(i: int) -> None:
            answer = service.post(
                "/v1/decisions", {"route": "wide", "features": rows[i], "id": f"d{i}"}, status=200
            )
            value = float((i * 7919) % 10 < {"small": 3, "large": 8}[answer["selected"]])
            service.post("/v1/feedback", {"decision_id": f"d{i}", "value": value}, status=200)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ask, range(len(rows))))
        service.until_ready()
        summary = served.router.summary()
    assert replayed(url, rows) == summary


def replayed(url: str, rows: list[list[float]]) -> object:
    """Repeat every decision of a log from the state of its time, bit for bit; return the final summary."""
    store = open_store(url, read_only=True)
    log = store.rows(Query(limit=10_000))
    store.close()
    fold, compared = new_fold(), 0
    # Decisions by the seq of the state that they were made from, which is before their own.
    waiting: dict[int, list[Decision]] = {}
    draws: dict[str, float] = {}
    for row in log:
        if row.kind == "decision":
            logged, metadata = decode(row.line), json.loads(row.metadata)
            assert isinstance(logged, Decision)
            waiting.setdefault(metadata["state_seq"], []).append(logged)
            draws[logged.id] = metadata["draw"]
    for row in log:
        fold.apply(row, refit=False)
        asked = waiting.get(row.seq, [])
        router = fold.routes["wide"].router if asked else None
        for logged in sorted(asked, key=lambda decision: decision.model_version):
            assert router is not None
            while router.model_version < logged.model_version:
                router.apply_refit(router.next_refit())
            context = Context(features=np.array(rows[int(logged.id[1:])]))
            again, fault = decide(
                fold.routes["wide"],
                context,
                decision_id=logged.id,
                draw=draws[logged.id],
                at_s=logged.at_s or 0.0,
            )
            assert fault is None
            assert again.model_version == logged.model_version
            assert again.probabilities.tobytes() == logged.probabilities.tobytes()
            compared += 1
    fold.refit()
    assert compared == len(rows)
    return fold.routes["wide"].router.summary()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_fits_run_only_when_other_threads_are_idle(tmp_path: Path) -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with running(tmp_path) as service:
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(service.service.fit_in_thread(priority)) == 19
        assert loop.run_until_complete(service.service.in_thread(priority)) == priority()
        loop.close()
