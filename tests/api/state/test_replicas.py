"""Several processes on one PostgreSQL: each arrives at the same state."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from fairlead.api.state.fold import Fold
from fairlead.api.state.snapshots import log_fingerprint, save
from tests.api.running import Running, bearer, settings_for


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[tuple[Running, Running]]:
    services = []
    try:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            services.append(Running(settings_for(tmp_path / name, postgres_url)).until_ready())
        yield services[0], services[1]
    finally:
        for service in services:
            service.stop()


def bits(fold: Fold, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in save(fold, folder, log="").iterdir()}


def both_settled(pair: tuple[Running, Running]) -> None:
    for service in pair:
        service.until(service.settled)


def test_what_is_declared_is_created_once(pair: tuple[Running, Running]) -> None:
    assert [len(service.get("/v1/audit")["items"]) for service in pair] == [5, 5]


def test_both_arrive_at_the_same_state_bit_for_bit(pair: tuple[Running, Running], tmp_path: Path) -> None:
    pair[0].client.patch("/v1/routes/quickstart", json={"budget": {"usd_per_request": 0.001}})

    def traffic(service: Running, number: int) -> None:
        rng = np.random.default_rng(number)
        other = pair[1 - number]
        for i in range(60):
            name = f"{number}-{i}"
            service.decide(id=name, task=["a", "b"][i % 2])
            # Half of the reports go to the other process, perhaps before it has the decision.
            to = other if rng.random() < 0.5 else service
            body = {
                "usage": {"input_tokens": 9, "output_tokens": int(rng.integers(1, 500))},
                "latency_s": 1.0,
            }
            to.post(f"/v1/decisions/{name}/outcome", body, status=200)
            to.post("/v1/feedback", {"decision_id": name, "value": float(rng.random())}, status=200)

    threads = [threading.Thread(target=traffic, args=[service, i]) for i, service in enumerate(pair)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    both_settled(pair)
    folds = [service.service.engine.fold for service in pair]
    assert folds[0].seq == folds[1].seq
    assert bits(folds[0], tmp_path / "x") == bits(folds[1], tmp_path / "y")
    states = [service.get("/v1/routes/quickstart/state") for service in pair]
    assert states[0]["decisions"] == 120
    assert sum(provider["feedback"] for provider in states[0]["providers"].values()) == 120
    assert {**states[0], "age_s": 0} == {**states[1], "age_s": 0}


def test_an_id_belongs_to_one_request_whichever_process_gets_it(pair: tuple[Running, Running]) -> None:
    first = pair[0].decide(id="x")
    assert pair[1].decide(id="x") == first
    body = {"route": "quickstart", "prompt": "other", "id": "x"}
    assert pair[1].post("/v1/decisions", body, status=409)


def test_keys_and_changes_of_one_process_hold_in_the_other(pair: tuple[Running, Running]) -> None:
    _, admin = pair[0].make_key(None, scopes=["admin"])
    pair[1].until(lambda: pair[1].client.get("/v1/routes").status_code == 401)
    assert pair[1].get("/v1/routes", **bearer(admin))
    pair[1].client.patch("/v1/routes/quickstart", json={"paused": True}, headers=bearer(admin))
    pair[0].until(lambda: pair[0].get("/v1/routes/quickstart", **bearer(admin))["paused"])


def test_two_changes_that_exclude_each_other_leave_the_first(pair: tuple[Running, Running]) -> None:
    """Each is possible by itself; the log says which was first, and both processes agree on it."""
    barrier = threading.Barrier(2)
    codes: dict[str, int] = {}

    def remove(service: Running, name: str) -> None:
        barrier.wait()
        codes[name] = service.client.delete(f"/v1/providers/{name}").status_code

    threads = [
        threading.Thread(target=remove, args=[service, name])
        for service, name in zip(pair, ("small", "large"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes.values()) in ([200, 409], [200, 422]), codes
    both_settled(pair)
    left = [[provider["name"] for provider in service.get("/v1/providers")["items"]] for service in pair]
    assert left[0] == left[1] == [name for name, code in codes.items() if code != 200]


def test_a_price_comes_into_force_once_for_all(pair: tuple[Running, Running]) -> None:
    from datetime import UTC, datetime, timedelta

    soon = (datetime.now(UTC) + timedelta(seconds=3.0)).isoformat()
    body = {"provider": "small", "input_usd_per_mtok": 3.0, "output_usd_per_mtok": 3.0, "effective_at": soon}
    price = pair[0].post("/v1/prices", body, status=201)
    for service in pair:
        service.until(lambda service=service: service.get(f"/v1/prices/{price['id']}")["in_force"])  # type: ignore[misc]
    both_settled(pair)
    changes = pair[0].get("/v1/audit")["items"]
    assert [change["action"] for change in changes].count("activate") == 1


def test_a_server_that_restarts_is_waited_for(pair: tuple[Running, Running], postgres_url: str) -> None:
    """Connections are cut in the middle of traffic: what was acknowledged is there, once."""
    acknowledged: list[str] = []
    done = threading.Event()

    def ask(service: Running) -> None:
        while not done.is_set():
            response = service.client.post("/v1/decisions", json={"route": "quickstart", "prompt": "x"})
            assert response.status_code in (200, 503), response.text
            if response.status_code == 200:
                acknowledged.append(response.json()["id"])

    threads = [threading.Thread(target=ask, args=[service]) for service in pair]
    for thread in threads:
        thread.start()
    cuts = 0
    while cuts < 7 or len(acknowledged) <= 20:
        assert all(thread.is_alive() for thread in threads)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        cuts += 1
        time.sleep(0.3)
    done.set()
    for thread in threads:
        thread.join()
    both_settled(pair)
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("SELECT decision_id FROM events WHERE kind = 'decision'").fetchall()
    written = [name for (name,) in rows]
    assert len(written) == len(set(written))
    assert set(acknowledged) <= set(written)
    assert pair[0].get("/v1/routes/quickstart/state")["decisions"] == len(written)


def test_a_process_cut_off_for_too_long_begins_again_from_the_base(
    pair: tuple[Running, Running], postgres_url: str, tmp_path: Path
) -> None:
    from fairlead.api.store import open_store, retention

    behind = pair[1].service.engine
    assert pair[1]._loop is not None
    pair[1]._loop.call_soon_threadsafe(behind._tasks[1].cancel)
    for i in range(5):
        pair[0].decide(id=f"d{i}")
    pair[0].until(pair[0].settled)
    fold = pair[0].service.engine.fold
    store = open_store(postgres_url)
    path = save(fold, tmp_path / "base", log=log_fingerprint(store, 0))
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    assert retention.save_base(store, seq=fold.seq, files=files, rollups=[])
    assert retention.remove_some(store, fold.seq) == 5
    store.close()
    pair[1].until(lambda: behind.ready and behind.fold.seq >= fold.seq)
    assert pair[1].get("/v1/routes/quickstart/state")["decisions"] == 5
