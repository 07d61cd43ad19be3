"""Stores: what all of them do, and what only SQLite or PostgreSQL can get wrong."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from fairlead.api.store import Query, Row, StoreUnavailable, open_store
from fairlead.api.store import postgres as postgres_module
from fairlead.api.store import sqlite as sqlite_module
from fairlead.optimizer.errors import InvalidInput
from tests.contracts.check_store import CHECKS, event


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_store(check: Callable[[str], None], store_url: str) -> None:
    check(store_url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://x/y", "postgresql://"),
        ("sqlite:///", "give a file"),
        ("sqlite:///:memory:", "give a file"),
        ("sqlite:////nowhere/at/all/f.db", "create it first"),
        ("postgresql://127.0.0.1:1/none", "cannot be reached"),
    ],
)
def test_a_store_that_cannot_be_is_refused_in_a_sentence(url: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        open_store(url)


# SQLite


def test_sqlite_is_opened_for_power_cuts_and_by_one_writer(tmp_path: Path) -> None:
    store = sqlite_module.SQLiteStore(str(tmp_path / "log.db"))
    assert store._writer is not None
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store._reader().execute("DELETE FROM events")
    with pytest.raises(InvalidInput, match="use PostgreSQL"):
        sqlite_module.SQLiteStore(str(tmp_path / "log.db"))
    store.close()
    sqlite_module.SQLiteStore(str(tmp_path / "log.db")).close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"no database at all, but long enough to be read" * 100)
    with pytest.raises(InvalidInput, match="cannot be used as a log"):
        sqlite_module.SQLiteStore(str(tmp_path / "log.db"))


def test_an_old_sqlite_is_refused() -> None:
    with pytest.raises(InvalidInput, match="newer"):
        sqlite_module.check_version((3, 22, 0))


# PostgreSQL


def test_rows_are_numbered_in_the_order_of_commits(postgres_url: str) -> None:
    """A reader that goes on from the last row it saw misses nothing, though four writers compete."""
    writers = [postgres_module.PostgresStore(postgres_url) for _ in range(4)]
    reader = postgres_module.PostgresStore(postgres_url)
    done = threading.Event()
    seen: list[int] = []

    def tail() -> None:
        while True:
            finished = done.is_set()
            rows = reader.rows(Query(after=seen[-1] if seen else 0))
            seen.extend(row.seq for row in rows)
            if finished and not rows:
                return

    def write(number: int) -> None:
        for i in range(40):
            writers[number].append([event(f"{number}-{i}-{j}") for j in range(3)])

    tailer = threading.Thread(target=tail)
    threads = [threading.Thread(target=write, args=[i]) for i in range(4)]
    for thread in [tailer, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    tailer.join()
    assert seen == list(range(1, 481))
    for store in [*writers, reader]:
        store.close()


def kill_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )


def test_a_lost_connection_is_made_again(postgres_url: str) -> None:
    store = postgres_module.PostgresStore(postgres_url)
    store.append([event("a")])
    store.rows(Query())
    kill_connections(postgres_url)
    assert store.append([event("b")]).fresh == [True]
    kill_connections(postgres_url)
    assert [row.uid for row in store.rows(Query())] == ["a", "b"]
    store.close()


def test_a_commit_whose_answer_was_lost_is_not_written_twice(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = postgres_module.PostgresStore(postgres_url)
    original = postgres_module.PostgresStore._append
    lost: list[int] = []

    def lose_answer(self: postgres_module.PostgresStore, connection: object, rows: list[Row]) -> object:
        appended = original(self, connection, rows)  # type: ignore[arg-type]
        if not lost:
            lost.append(1)
            kill_connections(postgres_url)
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return appended

    monkeypatch.setattr(postgres_module.PostgresStore, "_append", lose_answer)
    appended = store.append([event("a"), event("b")])
    assert appended.fresh == [False, False]
    assert [row.seq for row in appended.rows] == [1, 2]
    assert appended.rows[0].digest == "d", "the same digest: the same answer"
    assert len(store.rows(Query())) == 2
    store.close()


def test_a_server_that_is_gone_is_unavailable_and_not_an_error(postgres_url: str) -> None:
    store = postgres_module.PostgresStore(postgres_url)
    store.append([event("a")])
    store._drop_writer()
    store._info = postgres_module.connection_info("postgresql://127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        store.append([event("b")])
    store.close()
