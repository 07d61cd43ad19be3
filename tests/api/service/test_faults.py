"""Faults of the machine: a full or read-only disk, a lock, a clock that jumps, the end of a process."""

import asyncio
import http.client
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.ddl.impl import DefaultImpl

from fairlead.api.cli.service import STARTER
from fairlead.api.settings import read_settings
from fairlead.api.store import Query, open_store
from fairlead.optimizer.errors import InvalidInput
from tests.api.running import running
from tests.paths import HANGS_S
from tests.trials import settings as trial
from tests.trials import states
from tests.trials.servers import Server, ServerFailed, serving

TAGS = {"a": "x" * 100, "b": "y" * 100, "c": "z" * 100}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode()[:100]}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_answered_with_503_until_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{small_disk}/log.db"
    acknowledged = []
    with running(tmp_path, url) as service:
        acknowledged.append(service.decide(tags=TAGS)["id"])
        filler = small_disk / "filler"
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"\0" * 4_096)
        body = {"route": "quickstart", "prompt": "x", "tags": TAGS}
        for _ in range(2_000):
            response = service.client.post("/v1/decisions", json=body)
            if response.status_code != 200:
                break
            acknowledged.append(response.json()["id"])
        assert response.status_code == 503, "it is full"
        assert response.headers["retry-after"] == "1"
        assert service.client.post("/v1/decisions", json={**body, "dry_run": True}).status_code == 200
        assert service.get("/readyz")["writing"] is False
        filler.unlink()
        acknowledged.append(service.decide(tags=TAGS)["id"])
        assert service.get("/readyz")["writing"] is True
        service.until(service.settled)
        assert service.get("/v1/routes/quickstart/state")["decisions"] == len(acknowledged)
    store = open_store(url, read_only=True)
    written = [row.decision_id for row in store.rows(Query(kind="decision", limit=5_000))]
    store.close()
    assert written == acknowledged


def test_a_full_disk_keeps_a_snapshot_from_being_saved_and_nothing_else(
    small_disk: Path, tmp_path: Path
) -> None:
    with running(tmp_path, state_dir=small_disk / "state") as service:
        service.decide()
        (small_disk / "state").mkdir(exist_ok=True)
        with open(small_disk / "filler", "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"\0" * 4_096)
    assert [path for path in (small_disk / "state").iterdir() if path.is_dir()] == [], "nothing half written"
    (small_disk / "filler").unlink()
    with running(tmp_path, state_dir=small_disk / "state") as service:
        assert service.get("/v1/routes/quickstart/state")["decisions"] == 1


def test_a_read_only_disk_is_refused_at_the_start(small_disk: Path) -> None:
    open_store(f"sqlite:///{small_disk}/log.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(InvalidInput, match=r"Read-only file system.: choose"):
        open_store(f"sqlite:///{small_disk}/log.db")
    # Even who only looks needs the right to make the file beside it that readers share.
    with pytest.raises(InvalidInput, match="check the file and its folder"):
        open_store(f"sqlite:///{small_disk}/log.db", read_only=True)


def test_who_looks_at_a_file_that_is_no_database_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"no database at all, but long enough to be read" * 100)
    with pytest.raises(InvalidInput, match="check the file and its folder"):
        open_store(f"sqlite:///{tmp_path}/log.db", read_only=True)


def test_a_locked_database_is_waited_for_and_then_answered_with_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.api.store.sqlite._BUSY_S", 0.5)
    with running(tmp_path) as service:
        before = service.decide(id="before")
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        response = service.client.post("/v1/decisions", json={"route": "quickstart", "prompt": "x"})
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert time.monotonic() - started > 0.4
        assert service.get("/v1/decisions/before")["decision"] == before, "reading goes on"
        other.execute("ROLLBACK")
        other.close()
        assert service.decide(id="after")["id"] == "after"
        service.until(service.settled)
        assert service.get("/v1/routes/quickstart/state")["decisions"] == 2


def test_a_clock_that_jumps_breaks_nothing(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    content = trial.settings(tmp_path)
    content["routes"][0]["budget"] = {"usd_per_day": 5.0}
    content["routes"][0]["reward_wait_s"] = 3_600.0
    settings = trial.read_back(content, tmp_path)
    declared = {name: getattr(settings, name) for name in ("providers", "prices", "routes")}
    body = {"route": trial.ROUTE, "features": [0.1] * trial.WIDTH, "input_tokens": 400}
    with running(tmp_path, clock=lambda: now[0], **declared) as service:
        count = 0
        for jump_s in (1.0, -86_400.0, 30.0, 7 * 86_400.0, -30 * 86_400.0, 0.0, 1e-3):
            now[0] += jump_s
            for _ in range(5):
                answer = service.post("/v1/decisions", {**body, "id": f"d{count}"}, status=200)
                assert answer["fallback_used"] is None
                path = f"/v1/decisions/d{count}/outcome"
                service.post(path, {"cost_usd": 0.001, "latency_s": 1.0}, status=200)
                service.post("/v1/feedback", {"decision_id": f"d{count}", "value": 1.0}, status=200)
                count += 1
        service.until(service.settled)
        state = service.get(f"/v1/routes/{trial.ROUTE}/state")
        assert (state["decisions"], state["fallbacks"], state["broken"]) == (count, 0, None)
        assert state["spent_usd"] == pytest.approx(0.001 * count)
        served = states.arrays_of(service.service.engine.fold)
    store = open_store(f"sqlite:///{tmp_path}/log.db", read_only=True)
    rows = states.all_rows(store)
    store.close()
    assert [row.seq for row in rows] == sorted(row.seq for row in rows)
    assert states.differences(states.arrays_of(states.fold_rows(rows)), served) == []


def test_sigterm_answers_what_is_in_flight(tmp_path: Path) -> None:
    """Eight requests wait for a commit that is held up, when the process is asked to end."""
    with serving(tmp_path, trial.settings(tmp_path)) as server:
        asyncio.run(server.until_ready())
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        asking = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANGS_S) for _ in range(8)]
        for i, connection in enumerate(asking):
            body = {"route": trial.ROUTE, "features": [0.0] * trial.WIDTH, "id": f"d{i}"}
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/decisions", json.dumps(body), headers)
        metrics = f"http://127.0.0.1:{server.port}/metrics"
        end = time.monotonic() + HANGS_S
        # The request for the metrics is in flight itself.
        while "fairlead_requests_in_flight 9.0" not in httpx.get(metrics, timeout=HANGS_S).text:
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.7)
        assert server.alive(), "it waits for them"
        other.execute("ROLLBACK")
        other.close()
        answers = [connection.getresponse() for connection in asking]
        assert [answer.status for answer in answers] == [200] * 8
        assert {json.loads(answer.read())["id"] for answer in answers} == {f"d{i}" for i in range(8)}
        for connection in asking:
            connection.close()
        server.wait()
    store = open_store(f"sqlite:///{tmp_path}/log.db", read_only=True)
    rows = states.all_rows(store)
    store.close()
    assert {row.decision_id for row in rows if row.kind == "decision"} == {f"d{i}" for i in range(8)}
    saved = states.load_snapshot(tmp_path / "state", rows)
    assert saved.seq == rows[-1].seq, "a snapshot of everything was left"


def test_a_second_server_on_one_file_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    settings = trial.settings(tmp_path)
    with serving(tmp_path / "first", settings) as first:
        second = Server(tmp_path / "second", settings)
        with pytest.raises(ServerFailed, match="use PostgreSQL") as refused:
            second.start()
        assert second.wait() == 2
        assert len(str(refused.value).strip().splitlines()) == 1
        assert httpx.get(f"http://127.0.0.1:{first.port}/livez").status_code == 200
        first.kill()
    with serving(tmp_path / "third", settings) as third:
        assert httpx.get(f"http://127.0.0.1:{third.port}/livez").status_code == 200


def test_a_file_has_one_lock_under_all_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("log.db")
    store = open_store(f"sqlite:///{tmp_path}/log.db")
    try:
        with pytest.raises(InvalidInput, match="use PostgreSQL"):
            open_store(f"sqlite:///{tmp_path}/link.db")
    finally:
        store.close()


def test_a_process_that_dies_while_it_creates_the_tables_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's driver for SQLite opens no transaction for statements that change tables."""
    execute, steps, die_at = DefaultImpl._exec, 0, 0

    def dying(self: DefaultImpl, *arguments: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == die_at:
            raise InterruptedError("the process died here")
        return execute(self, *arguments, **named)

    monkeypatch.setattr(DefaultImpl, "_exec", dying)
    open_store(f"sqlite:///{tmp_path}/whole.db").close()
    last = steps
    assert last > 4
    for step in range(1, last + 1):
        steps, die_at = 0, step
        with pytest.raises(InterruptedError):
            open_store(f"sqlite:///{tmp_path}/log{step}.db")
        die_at = 0
        store = open_store(f"sqlite:///{tmp_path}/log{step}.db")
        assert store.last_seq() == 0
        store.close()


def test_a_half_written_file_of_settings_is_refused_or_whole(tmp_path: Path) -> None:
    """Cut anywhere, it is either one sentence, or settings that the file up to there really says."""
    path = tmp_path / "fairlead.yaml"
    refused = 0
    for length in range(0, len(STARTER), 7):
        path.write_text(STARTER[:length], encoding="utf-8")
        try:
            read = read_settings(path, environment={})
        except InvalidInput as error:
            refused += 1
            assert str(path) in str(error)
            assert len(str(error).splitlines()) == 1
        else:
            json.loads(read.model_dump_json())
    assert refused > 20


def test_a_server_on_a_half_written_file_ends_in_a_sentence(tmp_path: Path) -> None:
    server = Server(tmp_path, {})
    (tmp_path / "fairlead.yaml").write_text(
        "port: 0\nroutes:\n  - name: r\n    providers: [a, ", encoding="utf-8"
    )
    with pytest.raises(ServerFailed) as refused:
        server.start()
    assert server.wait() == 2
    assert len(str(refused.value).strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fairlead.yaml", "report.txt"]
