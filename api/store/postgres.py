"""The log in PostgreSQL: many processes, one order.

A sequence is not commit order: who reads on from the last number seen misses rows that commit later with a
lower one. So each batch takes a lock of its transaction first and its places after it, and the lock is let
go by the commit: places are given and become visible in the same order.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fairlead.api.store import schema
from fairlead.api.store.base import COLUMNS, Appended, Query, Row, StoreUnavailable, distinct, outcome_of
from fairlead.optimizer.errors import InvalidInput

CHANNEL: Final = "fairlead_events"
LOCK: Final = 0x6661_6972
"""Number of the lock that gives the right to write to the log ("fair")."""

_TYPES: Final = ("text", "text", "text", "text", "float8", "text", "text", "text")
_INSERT: Final = (
    f"INSERT INTO events ({', '.join(COLUMNS)}) SELECT %s + n, {', '.join(COLUMNS[1:])} "
    f"FROM unnest({', '.join(f'%s::{kind}[]' for kind in _TYPES)}) "
    f"WITH ORDINALITY AS given({', '.join(COLUMNS[1:])}, n) "
    "ON CONFLICT (uid) DO NOTHING RETURNING seq, uid"
)
_OPTIONS: Final = (
    "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=10000"
)


def connection_info(url: str) -> str:
    """The URL with what bounds the waiting for a server that does not answer."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Its reason repeats parts of the URL, and so perhaps of the password.
        raise InvalidInput(
            "database_url cannot be understood: write it as postgresql://USER:PASSWORD@HOST/DATABASE, with "
            "%-codes for signs that mean something in a URL"
        ) from None
    bounds = {
        "connect_timeout": "3",
        "keepalives_idle": "5",
        "keepalives_interval": "2",
        "keepalives_count": "3",
        "tcp_user_timeout": "10000",
        "application_name": "fairlead",
        "options": _OPTIONS,
    }
    return make_conninfo(url, **{name: value for name, value in bounds.items() if name not in given})


def shown(url: str) -> str:
    """The database of a URL, without user and password."""
    given = conninfo_to_dict(url)
    return f"postgresql database {given.get('dbname', 'of the user')!r} on {given.get('host', 'this host')!r}"


def alchemy(url: str) -> sqlalchemy.Engine:
    """An engine of SQLAlchemy for the migrations."""
    info = connection_info(url)
    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(info), poolclass=sqlalchemy.NullPool
    )


def migrate(url: str) -> tuple[str | None, str]:
    """Bring the tables of a database to the version of this release; the versions before and after."""
    with alchemy(url).connect() as connection:
        connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        return schema.migrate(connection, shown=shown(url))


class PostgresStore:
    """A log in the tables of one database."""

    shared = True
    mark = "%s"

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._info = connection_info(url)
        self._writer: psycopg.Connection[Any] | None = None
        self._local = threading.local()
        self._readers: list[psycopg.Connection[Any]] = []
        self._guard = threading.Lock()
        try:
            with alchemy(url).connect() as connection:
                # Two that start on an empty database at once must not both create the tables.
                connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
                schema.check(connection, shown=shown(url), create=not read_only)
        except sqlalchemy.exc.OperationalError as error:
            reason = " ".join(str(error.orig).split())
            raise InvalidInput(f"{shown(url)} cannot be reached ({reason}): check database_url") from None

    def append(self, rows: Sequence[Row]) -> Appended:
        """Write the rows that are new; returns after the commit.

        Where the answer to a commit is lost, what came of it is unknown: the same rows are sent again, and
        those that are there already are found by their uid.
        """
        for last_try in (False, True):
            try:
                if self._writer is None or self._writer.closed:
                    self._writer = psycopg.connect(self._info)
                return self._append(self._writer, rows)
            except psycopg.Error as error:
                self._drop_writer()
                if isinstance(error, psycopg.DataError | psycopg.IntegrityError | psycopg.ProgrammingError):
                    raise  # a row that can never be written, now or later
                lost = isinstance(error, psycopg.OperationalError) and error.sqlstate in (
                    None,
                    "57P01",
                    "57P02",
                )
                if last_try or not lost:
                    reason = " ".join(str(error).split())
                    raise StoreUnavailable(f"the log cannot be written: {reason}") from error
        raise AssertionError("unreachable")

    def _append(self, connection: psycopg.Connection[Any], rows: Sequence[Row]) -> Appended:
        wanted = distinct(rows) if len(rows) > 1 else list(rows)
        columns = [list(column) for column in zip(*(row[1:] for row in wanted), strict=True)]
        existing: list[Row] = []
        with connection.transaction(), connection.cursor(binary=True) as cursor:
            cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            # A statement of its own: it must see what whoever had the lock before has committed.
            (previous,) = cursor.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone() or (0,)
            places = {uid: seq for seq, uid in cursor.execute(_INSERT, [previous, *columns]).fetchall()}
            if len(places) < len(wanted):
                missing = tuple(row.uid for row in wanted if row.uid not in places)
                statement, values = Query(uids=missing, limit=len(missing)).sql("%s")
                existing = list(map(Row._make, cursor.execute(statement, values).fetchall()))
            if places:
                cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(max(places.values()))])
        written = [row._replace(seq=places[row.uid]) for row in wanted if row.uid in places]
        return outcome_of(rows, written, existing, int(previous))

    def write(self, work: Callable[[psycopg.Connection[Any]], Any]) -> Any:
        """Run ``work`` on the writing connection in one transaction; only from the writer's thread."""
        try:
            if self._writer is None or self._writer.closed:
                self._writer = psycopg.connect(self._info)
            with self._writer.transaction():
                self._writer.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
                return work(self._writer)
        except psycopg.Error as error:
            self._drop_writer()
            reason = " ".join(str(error).split())
            raise StoreUnavailable(f"the log cannot be written: {reason}") from error

    def _drop_writer(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(psycopg.Error):
                self._writer.close()
            self._writer = None

    def rows(self, query: Query) -> list[Row]:
        """What is in the log, read by a connection of the calling thread."""
        return list(map(Row._make, self.read(*query.sql("%s"))))

    def last_seq(self) -> int:
        """The last place in the log; 0 where it is empty."""
        ((last,),) = self.read("SELECT coalesce(max(seq), 0) FROM events", [])
        return int(last)

    def read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Rows of a statement."""
        for last_try in (False, True):
            connection: psycopg.Connection[Any] | None = getattr(self._local, "connection", None)
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(self._info, autocommit=True)
                    connection.read_only = True
                    self._local.connection = connection
                    with self._guard:
                        self._readers = [one for one in self._readers if not one.closed] + [connection]
                return connection.execute(statement, values).fetchall()
            except psycopg.Error as error:
                if connection is not None:
                    connection.close()
                self._local.connection = None
                if last_try or not isinstance(error, psycopg.OperationalError):
                    reason = " ".join(str(error).split())
                    raise StoreUnavailable(f"the log cannot be read: {reason}") from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close every connection."""
        self._drop_writer()
        with self._guard:
            for reader in self._readers:
                with contextlib.suppress(psycopg.Error):
                    reader.close()
            self._readers.clear()
