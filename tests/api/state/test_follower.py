"""The served state: the same after every way of getting to it, and never in the way of an answer."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.api.state import snapshots
from fairlead.api.state.fold import Fold
from fairlead.api.state.follower import Engine
from fairlead.api.store import open_store
from tests.api.running import Running, running, settings_for
from tests.api.state.folds import fold_of, play, same
from tests.trials.states import new_fold


def test_the_served_state_is_the_fold_of_the_log(tmp_path: Path, store_url: str) -> None:
    with running(tmp_path, store_url) as service:
        play(service, 40)
        service.post("/v1/feedback", {"decision_id": "never", "value": 1.0}, status=200)
        service.client.patch("/v1/routes/quickstart", json={"budget": {"usd_per_request": 0.001}})
        play(service, 10, seed=1)
        assert same(service.service.engine.fold, fold_of(store_url), tmp_path)
    # Ended, it has left a snapshot, from which the next start begins.
    (path,) = snapshots.paths(tmp_path / "state")
    store = open_store(store_url, read_only=True)
    assert int(path.name) == store.last_seq()
    loaded = snapshots.load(path, new_fold, log=snapshots.log_fingerprint(store, int(path.name)))
    store.close()
    assert same(loaded, fold_of(store_url), tmp_path / "loaded")
    with running(tmp_path, store_url) as service:
        assert service.get("/v1/routes/quickstart/state")["decisions"] == 50
        play(service, 10, seed=2)
        assert same(service.service.engine.fold, fold_of(store_url), tmp_path / "again")


def held_back(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold every rebuild back until the event is set."""
    go, original = threading.Event(), Engine._rebuild_fold

    def waiting(self: Engine) -> Fold:
        fold = original(self)
        while not go.wait(0.01) and not self._stop.is_set():
            pass
        return fold

    monkeypatch.setattr(Engine, "_rebuild_fold", waiting)
    return go


def test_routes_that_are_known_are_never_forgotten_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_url: str
) -> None:
    def of_before(self: Engine) -> Fold:
        # What is rebuilt ends where the log did before the settings file declared its routes.
        while not self.fold.routes and not self._stop.is_set():
            time.sleep(0.001)
        return self._new_fold()

    folds: list[Fold] = []
    served: list[set[str]] = []

    def exchange(self: Engine, fold: Fold) -> None:
        folds.append(fold)
        served.append(set(fold.routes))

    monkeypatch.setattr(Engine, "_rebuild_fold", of_before)
    monkeypatch.setattr(Engine, "fold", property(lambda self: folds[-1], exchange), raising=False)
    with running(tmp_path, store_url) as service:
        assert served == [set(), {"quickstart"}]
        assert service.decide()["fallback_used"] is None


def test_while_it_is_rebuilt_the_default_answers_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_url: str
) -> None:
    with running(tmp_path, store_url) as service:
        play(service, 10)
    go = held_back(monkeypatch)
    service = Running(settings_for(tmp_path, store_url))
    try:
        answer = service.get("/readyz", status=503)
        assert (answer["ready"], answer["progress"] < 1) == (False, True)
        decision = service.decide(id="early")
        assert decision["fallback_used"] == "the state is being rebuilt"
        assert decision["selected"] == "small"
        assert (
            service.post("/v1/feedback", {"decision_id": "early", "value": 1.0}, status=200)["state"]
            == "parked"
        )
        service.post("/v1/providers", {"name": "third"}, status=201)
        # A session cannot be looked up yet; saying that there is none would make the client give up.
        problem = service.post("/v1/feedback", {"session_id": "s1", "value": 1.0}, status=503)
        assert problem["type"] == "urn:fairlead:problem:unavailable"
        go.set()
        service.until_ready()
        assert service.get("/readyz")["ready"] is True
        assert service.decide()["fallback_used"] is None
        assert service.post("/v1/feedback", {"session_id": "s1", "value": 1.0}, status=200)["decision_ids"]
        service.until(service.settled)
        state = service.get("/v1/routes/quickstart/state")
        assert (state["decisions"], state["fallbacks"]) == (12, 1)
        assert same(service.service.engine.fold, fold_of(store_url), tmp_path)
    finally:
        go.set()
        service.stop()


def test_a_fault_inside_is_answered_by_the_default_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as service:
        router = service.service.engine.fold.routes["quickstart"].router

        def broken(*_: Any, **__: Any) -> Any:
            raise np.linalg.LinAlgError("singular")

        with monkeypatch.context() as patch:
            patch.setattr(router, "decide", broken)
            answer = service.decide(id="d")
            assert answer["fallback_used"] == "the router failed (LinAlgError)"
            assert answer["propensity"] == 1.0
        assert service.decide()["fallback_used"] is None
        text = service.client.get("/metrics").text
        assert 'fairlead_routing_faults_total{fault="LinAlgError",route="quickstart"} 1.0' in text
        assert 'fairlead_fallback_decisions_total{route="quickstart"} 1.0' in text
        # What comes of it counts like anything else, and the log replays.
        service.post("/v1/feedback", {"decision_id": "d", "value": 1.0}, status=200)
        service.until(service.settled)
        assert same(service.service.engine.fold, fold_of(service.settings.database_url), tmp_path)


def test_an_event_that_cannot_be_learned_breaks_its_route_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as service:
        service.post("/v1/routes", {"name": "other", "providers": ["small"]}, status=201)
        router = service.service.engine.fold.routes["quickstart"].router

        def broken(*_: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(router, "learn", broken)
        service.decide()
        service.until(service.settled)
        assert "could not be learned" in service.get("/v1/routes/quickstart/state")["broken"]
        assert "could not be learned" in service.decide()["fallback_used"]
        other = service.post("/v1/decisions", {"route": "other", "prompt": "x"}, status=200)
        assert other["fallback_used"] is None
        assert 'fairlead_route_broken{route="quickstart"} 1.0' in service.client.get("/metrics").text


def test_a_route_on_vectors_learns_on_what_the_caller_sends(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        body = {"name": "vectors", "providers": ["small", "large"], "features": {"vector": 3}}
        service.post("/v1/routes", body, status=201)
        assert service.get("/v1/routes/vectors")["feature_width"] == 3
        ask = {"route": "vectors", "features": [1.0, -1.0, 1e9], "input_tokens": 10}
        assert service.post("/v1/decisions", ask, status=200)["fallback_used"] is None
        assert service.post("/v1/decisions", {**ask, "features": [1.0]}, status=422)
        assert service.post("/v1/decisions", {"route": "vectors", "prompt": "x"}, status=422)
        service.until(service.settled)
        assert service.service.engine.fold.counts["decision", "rejected"] == 0


def test_a_session_is_known_as_soon_as_its_decision_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold, drain = threading.Event(), Engine._drain

    def held(self: Engine) -> None:
        if fold.is_set():
            drain(self)
        else:
            asyncio.get_running_loop().call_later(0.01, self._drain)

    with running(tmp_path) as service:
        monkeypatch.setattr(Engine, "_drain", held)
        service.decide(id="d", session_id="s")
        threading.Timer(0.2, fold.set).start()
        answer = service.post("/v1/feedback", {"session_id": "s", "value": 1.0}, status=200)
        assert answer["decision_ids"] == ["d"]


def test_a_clock_that_jumps_back_is_survived(tmp_path: Path) -> None:
    now = [time.time()]
    with running(tmp_path, clock=lambda: now[0]) as service:
        service.client.patch("/v1/routes/quickstart", json={"budget": {"usd_per_day": 10}})
        for step_s in (0.0, -86_400.0, 3_600.0, -10 * 86_400.0, 20 * 86_400.0):
            now[0] += step_s
            answer = service.decide()
            assert answer["fallback_used"] is None
            service.post(f"/v1/decisions/{answer['id']}/outcome", {"cost_usd": 0.01}, status=200)
            service.post("/v1/feedback", {"decision_id": answer["id"], "value": 1.0}, status=200)
        service.until(service.settled)
        assert service.service.engine.fold.counts["feedback", "joined"] == 5
        assert same(service.service.engine.fold, fold_of(service.settings.database_url), tmp_path)


def test_a_locked_database_is_a_problem_until_it_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    monkeypatch.setattr("fairlead.api.store.sqlite._BUSY_S", 0.2)
    with running(tmp_path) as service:
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        response = service.client.post("/v1/decisions", json={"route": "quickstart", "prompt": "x"})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert service.decide(dry_run=True)["selected"]
        other.execute("ROLLBACK")
        other.close()
        assert service.decide()["id"]
