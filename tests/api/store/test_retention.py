"""Old events go, and what was learned of them stays: in the state, in a base, and in sums by day."""

import asyncio
import time
from pathlib import Path

from fairlead.api.state import snapshots
from fairlead.api.state.fold import Fold
from fairlead.api.store import Query, open_store, retention
from tests.api.running import Running, running
from tests.trials.states import new_fold

DAY_S = 86_400.0


def traffic(service: Running, name: str, rounds: int) -> None:
    for i in range(rounds):
        decision = service.decide(id=f"{name}{i}")
        body = {"cost_usd": 0.25, "status": "error" if i == 0 else "ok"}
        service.post(f"/v1/decisions/{decision['id']}/outcome", body, status=200)
        service.post("/v1/feedback", {"decision_id": decision["id"], "value": 0.5}, status=200)
    service.until(service.settled)


def remove(service: Running) -> int:
    assert service._loop is not None
    removal = service.service.upkeep.remove_once(at_least=1)
    return asyncio.run_coroutine_threadsafe(removal, service._loop).result(600)


def bits(fold: Fold, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in snapshots.save(fold, folder, log="").iterdir()}


def test_old_events_go_and_the_state_can_still_be_rebuilt(tmp_path: Path, store_url: str) -> None:
    now = [time.time() - 10 * DAY_S]
    with running(tmp_path, store_url, clock=lambda: now[0], retention_days=5) as service:
        traffic(service, "old", 10)
        assert remove(service) == 0, "nothing is old enough"
        now[0] += 10 * DAY_S
        traffic(service, "new", 5)
        before = bits(service.service.engine.fold, tmp_path / "before")
        assert remove(service) == 30
        assert remove(service) == 0
        assert service.client.get("/v1/decisions/old0").status_code == 404
        assert service.get("/v1/decisions/new0")["decision"]["id"] == "new0"
        assert len(service.get("/v1/audit")["items"]) == 5, "the audit trail stays"
    store = open_store(store_url, read_only=True)
    rows = store.rows(Query())
    assert {row.kind for row in rows[:5]} == {"config"}
    assert len(rows) == 5 + 15
    # Without any snapshot beside it, the log and its base give the same state, bit for bit.
    fold = snapshots.latest_fold(tmp_path / "nothing", store, new_fold)
    assert fold.seq == 35
    snapshots.rebuild(fold, store, until=store.last_seq())
    assert bits(fold, tmp_path / "after") == before
    sums = store.read("SELECT sum(decisions), sum(outcomes), sum(failures), sum(cost_usd) FROM rollups", [])
    assert [float(total) for total in sums[0]] == [10.0, 10.0, 1.0, 2.5]
    assert store.read("SELECT sum(feedback), sum(value_sum) FROM rollups", [])[0][1] == 5.0
    assert retention.base_seq(store) == 35
    # A snapshot from before the base is of no use: what came after it is gone.
    early = tmp_path / "early" / f"{1:020d}"
    early.mkdir(parents=True)
    assert snapshots.latest_fold(tmp_path / "early", store, new_fold).seq == 35
    store.close()
    with running(tmp_path, store_url, retention_days=5) as service:
        assert service.get("/v1/routes/quickstart/state")["decisions"] == 15


def test_money_that_the_price_list_tells_is_rolled_up(tmp_path: Path) -> None:
    now = [time.time() - 10 * DAY_S]
    with running(tmp_path, clock=lambda: now[0], retention_days=1) as service:
        usd = 0.0
        for i in range(4):
            name = service.decide(id=f"d{i}")["id"]
            usage = {"usage": {"input_tokens": 1_000, "output_tokens": 500}}
            usd += service.post(f"/v1/decisions/{name}/outcome", usage, status=200)["cost_usd"]
        service.until(service.settled)
        assert usd > 0.0
        now[0] += 5 * DAY_S
        assert remove(service) == 8
        ((total,),) = service.service.store.read("SELECT sum(cost_usd) FROM rollups", [])
        assert abs(total - usd) < 1e-12


def test_a_second_removal_adds_to_the_first(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    now = [time.time() - 20 * DAY_S]
    with running(tmp_path, url, clock=lambda: now[0], retention_days=1) as service:
        for name in ("a", "b"):
            traffic(service, name, 4)
            now[0] += 0.5
        now[0] += 3 * DAY_S
        assert remove(service) == 24
        traffic(service, "c", 4)
        now[0] += 3 * DAY_S
        assert remove(service) == 12
        rollups = service.service.store.read("SELECT day, decisions FROM rollups ORDER BY day", [])
        assert sum(count for _, count in rollups) == 12
        assert len({day for day, _ in rollups}) == 2
        assert service.decide()["fallback_used"] is None
