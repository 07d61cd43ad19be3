"""Checks that every store must pass; each takes the URL of an empty database.

A new kind of store joins through the fixture `store_url`; `tests/api/store/test_store.py` runs them all.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final
from unittest import mock

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlmodel import SQLModel

from fairlead.api.store import Query, Row, SchemaMismatch, Store, migrate_store, open_store, schema
from fairlead.api.store import postgres as postgres_module


def event(uid: str, *, digest: str = "d", kind: str = "decision", decision_id: str | None = None) -> Row:
    """Return any event of the log."""
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


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """Open a store, and close it at the end."""
    with closing(open_store(url)) as store:
        yield store


# Rows


def check_that_a_new_store_is_empty(url: str) -> None:
    with opened(url) as store:
        assert store.last_seq() == 0
        assert store.rows(Query()) == []


def check_that_rows_are_numbered_in_the_order_of_appending(url: str) -> None:
    with opened(url) as store:
        first = store.append([event("a"), event("b")])
        second = store.append([event("c")])
        assert (first.previous, second.previous) == (0, 2)
        assert [row.seq for row in first.rows + second.rows] == [1, 2, 3]
        assert all(first.fresh + second.fresh)
        assert store.rows(Query()) == first.rows + second.rows
        assert store.last_seq() == 3


def check_that_a_repetition_is_recognised_and_not_written_again(url: str) -> None:
    with opened(url) as store:
        (original,) = store.append([event("a")]).rows
        again = store.append([event("a", digest="other"), event("b"), event("b")])
        assert again.fresh == [False, True, False]
        assert again.rows[0] == original, "the first one stays, so that the digests can be compared"
        assert again.rows[1] == again.rows[2]
        assert [row.uid for row in store.rows(Query())] == ["a", "b"]


def check_that_many_repetitions_at_once_are_recognised(url: str) -> None:
    names = [f"u{i}" for i in range(1_200)]
    with opened(url) as store:
        store.append([event(name) for name in names])
        again = store.append([event(name) for name in [*names, "new"]])
        assert again.fresh == [False] * 1_200 + [True]
        assert len(store.rows(Query(limit=5_000))) == 1_201


def check_that_queries_select_by_seq_kind_decision_and_uid(url: str) -> None:
    with opened(url) as store:
        judged = event("b", kind="feedback", decision_id="x")
        store.append([event("a", decision_id="x"), judged, event("c", kind="config")])

        def uids(query: Query) -> list[str]:
            return [row.uid for row in store.rows(query)]

        assert uids(Query(after=1)) == ["b", "c"]
        assert uids(Query(until=2)) == ["a", "b"]
        assert uids(Query(kind="config")) == ["c"]
        assert uids(Query(decision_id="x")) == ["a", "b"]
        assert uids(Query(uids=("c", "a", "z"))) == ["a", "c"]
        assert uids(Query(limit=2, newest_first=True)) == ["c", "b"]
        assert uids(Query(decision_id="x' OR 1=1 --")) == []


def check_that_appended_rows_are_there_after_opening_again(url: str) -> None:
    with opened(url) as store:
        written = store.append([event("a"), event("b")]).rows
    with opened(url) as store:
        assert store.rows(Query()) == written
        assert store.append([event("c")]).rows[0].seq == 3


def check_that_readers_in_other_threads_see_what_is_committed(url: str) -> None:
    with opened(url) as store:
        store.append([event("a")])
        counts: list[int] = []
        threads = [threading.Thread(target=lambda: counts.append(len(store.rows(Query())))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == [1] * 4


def check_that_reading_needs_no_right_to_write(url: str) -> None:
    with opened(url) as store:
        store.append([event("a")])
        with closing(open_store(url, read_only=True)) as reader:
            assert reader.last_seq() == 1


# Tables


def execute(url: str, statement: str) -> None:
    """Run a statement on the database without a store."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            file.execute(statement)
    else:
        with psycopg.connect(url) as connection:
            connection.execute(statement)


def check_that_the_tables_are_those_of_the_models(url: str) -> None:
    open_store(url).close()
    engine = sqlalchemy.create_engine(url) if url.startswith("sqlite") else postgres_module.alchemy(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    engine.dispose()


def check_that_tables_of_a_newer_release_are_refused(url: str) -> None:
    open_store(url).close()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    for use in (open_store, migrate_store):
        with pytest.raises(SchemaMismatch, match="newer than this release"):
            use(url)


def check_that_tables_of_an_older_release_ask_for_the_migration(url: str) -> None:
    open_store(url).close()
    newer = [*schema.versions(), "9998"]
    with (
        mock.patch.object(schema, "versions", lambda: newer),
        pytest.raises(SchemaMismatch, match="fairlead migrate"),
    ):
        open_store(url)


def check_that_the_migration_creates_the_tables_and_is_idempotent(url: str) -> None:
    latest = schema.versions()[-1]
    assert migrate_store(url) == (None, latest)
    assert migrate_store(url) == (latest, latest)
    with opened(url) as store:
        assert store.last_seq() == 0


def check_that_a_foreign_table_is_left_alone(url: str) -> None:
    execute(url, "CREATE TABLE events (a int)")
    with pytest.raises(SchemaMismatch, match="database of its own"):
        open_store(url)


CHECKS: Final[tuple[Callable[[str], None], ...]] = tuple(
    value for name, value in list(globals().items()) if name.startswith("check_")
)
