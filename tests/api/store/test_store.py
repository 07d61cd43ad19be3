"""Every store does the same: what is in it, in which order, and what it does with repetitions."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlmodel import SQLModel

from fairlead.api.store import Query, Row, SchemaMismatch, Store, StoreUnavailable, migrate_store, open_store
from fairlead.api.store import postgres as postgres_module
from fairlead.api.store import sqlite as sqlite_module
from fairlead.api.store.schema import versions
from fairlead.optimizer.errors import InvalidInput


def row(uid: str, *, digest: str = "d", kind: str = "decision", decision_id: str | None = None) -> Row:
    """Any event of the log."""
    return Row(
        seq=0,
        uid=uid,
        kind=kind,
        route="r",
        decision_id=decision_id or uid,
        at_s=1.5,
        digest=digest,
        line=f'{{"of":"{uid}"}}',
        metadata="{}",
    )


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.last_seq() == 0
    assert store.rows(Query()) == []


def test_rows_get_their_places_in_the_order_they_are_given(store: Store) -> None:
    first = store.append([row("a"), row("b")])
    second = store.append([row("c")])
    assert (first.previous, second.previous) == (0, 2)
    assert [one.seq for one in first.rows + second.rows] == [1, 2, 3]
    assert all(first.fresh + second.fresh)
    assert store.rows(Query()) == first.rows + second.rows
    assert store.last_seq() == 3


def test_a_repetition_is_found_and_not_written_again(store: Store) -> None:
    (kept,) = store.append([row("a")]).rows
    again = store.append([row("a", digest="other"), row("b"), row("b")])
    assert again.fresh == [False, True, False]
    assert again.rows[0] == kept, "the first one stays, so that the digests can be compared"
    assert again.rows[1] == again.rows[2]
    assert [one.uid for one in store.rows(Query())] == ["a", "b"]


def test_many_repetitions_at_once_are_all_found(store: Store) -> None:
    names = [f"u{i}" for i in range(1_200)]
    store.append([row(name) for name in names])
    again = store.append([row(name) for name in [*names, "new"]])
    assert again.fresh == [False] * 1_200 + [True]
    assert len(store.rows(Query(limit=5_000))) == 1_201


def test_queries_select_by_place_kind_decision_and_uid(store: Store) -> None:
    store.append(
        [row("a", decision_id="x"), row("b", kind="feedback", decision_id="x"), row("c", kind="config")]
    )

    def found(query: Query) -> list[str]:
        return [one.uid for one in store.rows(query)]

    assert found(Query(after=1)) == ["b", "c"]
    assert found(Query(until=2)) == ["a", "b"]
    assert found(Query(kind="config")) == ["c"]
    assert found(Query(decision_id="x")) == ["a", "b"]
    assert found(Query(uids=("c", "a", "z"))) == ["a", "c"]
    assert found(Query(limit=2, newest_first=True)) == ["c", "b"]
    assert found(Query(decision_id="x' OR 1=1 --")) == []


def test_what_was_appended_is_there_after_opening_again(store_url: str) -> None:
    store = open_store(store_url)
    written = store.append([row("a"), row("b")]).rows
    store.close()
    store = open_store(store_url)
    assert store.rows(Query()) == written
    assert store.append([row("c")]).rows[0].seq == 3
    store.close()


def test_readers_in_other_threads_see_what_is_committed(store: Store) -> None:
    store.append([row("a")])
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(len(store.rows(Query())))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 4


def test_the_tables_are_those_of_the_models(store_url: str) -> None:
    open_store(store_url).close()
    if store_url.startswith("sqlite"):
        engine = sqlalchemy.create_engine(store_url)
    else:
        engine = postgres_module.alchemy(store_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    engine.dispose()


def set_version(url: str, version: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            file.execute("UPDATE alembic_version SET version_num = ?", [version])
        file.close()
    else:
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [version])


def test_tables_of_a_newer_release_are_refused(store_url: str) -> None:
    open_store(store_url).close()
    set_version(store_url, "9999")
    with pytest.raises(SchemaMismatch, match="newer than this release"):
        open_store(store_url)
    with pytest.raises(SchemaMismatch, match="newer than this release"):
        migrate_store(store_url)


def test_tables_of_an_older_release_ask_for_the_migration(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(store_url).close()
    newer = [*versions(), "9998"]
    monkeypatch.setattr("fairlead.api.store.schema.versions", lambda: newer)
    with pytest.raises(SchemaMismatch, match="fairlead migrate"):
        open_store(store_url)


def test_the_migration_creates_the_tables_and_is_idempotent(store_url: str) -> None:
    latest = versions()[-1]
    assert migrate_store(store_url) == (None, latest)
    assert migrate_store(store_url) == (latest, latest)
    store = open_store(store_url)
    assert store.last_seq() == 0
    store.close()


def test_a_table_of_somebody_else_is_left_alone(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        with sqlite3.connect(store_url.removeprefix("sqlite:///")) as file:
            file.execute("CREATE TABLE events (a int)")
        file.close()
    else:
        with psycopg.connect(store_url) as connection:
            connection.execute("CREATE TABLE events (a int)")
    with pytest.raises(SchemaMismatch, match="database of its own"):
        open_store(store_url)


def test_looking_at_a_log_does_not_need_the_right_to_write(store_url: str) -> None:
    store = open_store(store_url)
    store.append([row("a")])
    looking = open_store(store_url, read_only=True)
    assert looking.last_seq() == 1
    looking.close()
    store.close()


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


def test_places_are_given_in_the_order_of_commits(postgres_url: str) -> None:
    """A reader that goes on from the last place it saw misses nothing, though four writers compete."""
    writers = [postgres_module.PostgresStore(postgres_url) for _ in range(4)]
    reader = postgres_module.PostgresStore(postgres_url)
    done = threading.Event()
    seen: list[int] = []

    def tail() -> None:
        while True:
            finished = done.is_set()
            rows = reader.rows(Query(after=seen[-1] if seen else 0))
            seen.extend(one.seq for one in rows)
            if finished and not rows:
                return

    def write(number: int) -> None:
        for i in range(40):
            writers[number].append([row(f"{number}-{i}-{j}") for j in range(3)])

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
    store.append([row("a")])
    store.rows(Query())
    kill_connections(postgres_url)
    assert store.append([row("b")]).fresh == [True]
    kill_connections(postgres_url)
    assert [one.uid for one in store.rows(Query())] == ["a", "b"]
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
    appended = store.append([row("a"), row("b")])
    assert appended.fresh == [False, False]
    assert [one.seq for one in appended.rows] == [1, 2]
    assert appended.rows[0].digest == "d", "the same digest: the same answer"
    assert len(store.rows(Query())) == 2
    store.close()


def test_a_server_that_is_gone_is_unavailable_and_not_an_error(postgres_url: str) -> None:
    store = postgres_module.PostgresStore(postgres_url)
    store.append([row("a")])
    store._drop_writer()
    store._info = postgres_module.connection_info("postgresql://127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        store.append([row("b")])
    store.close()
