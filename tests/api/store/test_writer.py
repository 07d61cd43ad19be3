"""Commits in groups: what is acknowledged is written, what cannot be written is said to be so."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from fairlead.api.store import Appended, Query, Row, StoreUnavailable
from fairlead.api.store.sqlite import SQLiteStore
from fairlead.api.store.writer import QueueFull, Writer, Written
from tests.api.running import running


def row(uid: str, size: int = 2) -> Row:
    return Row.decision("x" * size, decision_id=uid, route="r", at_s=1.0)


class Gate:
    """A store whose commits a test can hold back or let fail."""

    shared = False

    def __init__(self, store: SQLiteStore) -> None:
        self.store, self.open, self.failure = store, threading.Event(), None
        self.open.set()
        self.batches: list[int] = []
        self.waiting = False
        self.failure: Exception | None = None

    def append(self, rows: Sequence[Row]) -> Appended:
        self.waiting = True
        self.open.wait()
        self.waiting = False
        self.batches.append(len(rows))
        if self.failure is not None:
            raise self.failure
        return self.store.append(rows)

    def rows(self, query: Query) -> list[Row]:
        return self.store.rows(query)

    def last_seq(self) -> int:
        return self.store.last_seq()

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(SQLiteStore(str(tmp_path / "log.db")))


def new_writer(
    gate: Gate, committed: list[Appended] | None = None, *, limit: int = 100, flight: int = 1
) -> Writer:
    seen = committed if committed is not None else []
    return Writer(gate, queue_limit=limit, in_flight=lambda: flight, committed=seen.append)


def test_what_comes_while_a_commit_runs_shares_the_next_one(gate: Gate) -> None:
    async def play() -> list[Written]:
        writer = new_writer(gate, committed)
        writer.start()
        gate.open.clear()
        first = asyncio.create_task(writer.append([row("first")]))
        while not gate.waiting:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(writer.append([row(f"r{i}")])) for i in range(30)]
        await asyncio.sleep(0.01)
        assert writer.depth == 31
        gate.open.set()
        written = [await task for task in [first, *others]]
        await writer.close()
        assert writer.depth == 0
        return written

    committed: list[Appended] = []
    written = asyncio.run(play())
    assert gate.batches == [1, 30]
    assert [kept.seq for ((kept, _),) in written] == list(range(1, 32))
    assert [event.seq for appended in committed for event in appended.rows] == list(range(1, 32))
    gate.close()


def test_with_more_than_one_in_flight_it_lingers(gate: Gate) -> None:
    async def play() -> None:
        writer = new_writer(gate, flight=5)
        writer.start()

        async def later(i: int) -> None:
            await asyncio.sleep(0.0001 * i)
            await writer.append([row(f"r{i}")])

        await asyncio.gather(*map(later, range(5)))
        await writer.close()

    asyncio.run(play())
    assert len(gate.batches) < 5
    gate.close()


def test_a_full_queue_refuses(gate: Gate) -> None:
    async def play() -> None:
        writer = new_writer(gate, limit=3)
        writer.start()
        gate.open.clear()
        waiting = [asyncio.create_task(writer.append([row(f"r{i}")])) for i in range(3)]
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFull):
            await writer.append([row("one too many")])
        gate.open.set()
        await asyncio.gather(*waiting)
        await writer.append([row("again")])
        await writer.close()

    asyncio.run(play())
    gate.close()


def test_a_failed_commit_is_told_to_everybody_in_it_and_forgotten(gate: Gate) -> None:
    async def play() -> None:
        writer = new_writer(gate)
        writer.start()
        gate.failure = StoreUnavailable("the disk is full")
        results = await asyncio.gather(
            *[writer.append([row(f"r{i}")]) for i in range(5)], return_exceptions=True
        )
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert (writer.failing, writer.depth) == ("the disk is full", 0)
        gate.failure = None
        await writer.append([row("after")])
        assert writer.failing is None
        await writer.close()

    asyncio.run(play())
    assert [event.uid for event in gate.rows(Query())] == ["d:after"]
    gate.close()


def test_one_event_that_cannot_be_written_does_not_take_others_with_it(gate: Gate) -> None:
    async def play() -> list[object]:
        writer = new_writer(gate)
        writer.start()
        gate.open.clear()
        tasks = [asyncio.create_task(writer.append([item])) for item in (row("a"), bad, row("b"))]
        await asyncio.sleep(0.01)
        gate.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await writer.close()
        return list(results)

    bad = row("bad")._replace(line=None)  # type: ignore[arg-type]
    results = asyncio.run(play())
    assert [isinstance(item, Exception) for item in results] == [False, True, False]
    assert {event.uid for event in gate.rows(Query())} == {"d:a", "d:b"}
    gate.close()


def test_relaxed_events_are_written_within_twenty_milliseconds(gate: Gate) -> None:
    async def play() -> None:
        writer = new_writer(gate)
        writer.start()
        for i in range(10):
            writer.post([row(f"r{i}")])
        while gate.last_seq() < 10:
            await asyncio.sleep(0.01)
        writer.post([row("at the end")])
        await writer.close()
        assert gate.last_seq() == 11, "ending writes what waits"

    asyncio.run(play())
    assert gate.batches == [10, 1]
    gate.close()


def test_relaxed_events_wait_for_a_store_that_fails(gate: Gate) -> None:
    async def play() -> None:
        writer = new_writer(gate)
        writer.start()
        gate.failure = StoreUnavailable("locked")
        writer.post([row("a")])
        await asyncio.sleep(0.1)
        assert writer.depth == 1
        gate.failure = None
        while gate.last_seq() < 1:
            await asyncio.sleep(0.01)
        await writer.close()

    asyncio.run(play())
    gate.close()


def test_a_full_disk_is_a_problem_until_there_is_space_again(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        store = service.service.store
        assert isinstance(store, SQLiteStore) and store._writer is not None
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count={pages}")
        body = {"route": "quickstart", "prompt": "x", "tags": {"a": "x" * 200, "b": "y" * 200}}
        kept = 0
        while (response := service.client.post("/v1/decisions", json=body)).status_code == 200:
            kept += 1
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["type"] == "urn:fairlead:problem:unavailable"
        assert service.get("/readyz")["writing"] is False
        store._writer.execute("PRAGMA max_page_count=1000000")
        assert service.client.post("/v1/decisions", json=body).status_code == 200
        service.until(service.settled)
        assert service.get("/v1/routes/quickstart/state")["decisions"] == kept + 1


def test_relaxed_decisions_are_answered_before_they_are_written(tmp_path: Path) -> None:
    with running(tmp_path, durability="relaxed") as service:
        ids = [service.decide()["id"] for _ in range(20)]
        feedback = service.post("/v1/feedback", {"decision_id": ids[0], "value": 1.0}, status=200)
        assert feedback["seq"] is None
        # With an id of the client's it matters whether it is new, so that it waits for the commit.
        first = service.decide(id="mine")
        assert service.decide(id="mine") == first
        service.until(lambda: service.get("/v1/routes/quickstart/state")["decisions"] == 21)
        assert service.get(f"/v1/decisions/{ids[0]}")["decision"]["id"] == ids[0]
