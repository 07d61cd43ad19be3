"""The log in PostgreSQL: many processes, one total order.

The order in which a sequence hands out numbers is not the order of commits: a reader that continues after the
last number it saw misses rows that commit later with a lower one. So each batch first takes a transaction
lock and then its numbers, and the commit releases the lock: rows are numbered and become visible in the same
order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fairlead.api.store import schema
from fairlead.api.store.base import (
    COLUMNS,
    LAST_SEQ,
    Appended,
    Query,
    Row,
    Store,
    StoreUnavailable,
    distinct,
    match_rows,
)
from fairlead.optimizer.errors import InvalidInput

CHANNEL: Final = "fairlead_events"
CONFIGURATION_CHANNEL: Final = "fairlead_configuration"
"""Notified of changes of the configuration, besides the channel of all events."""
LOCK: Final = 0x6661_6972
"""Number of the advisory lock that permits writing to the log ("fair")."""

_LOG = logging.getLogger("fairlead.store")
_RECONNECT_S: Final = 1.0
_TAKE_LOCK: Final = f"SELECT pg_advisory_xact_lock({LOCK})"
_NOTIFY: Final = "SELECT pg_notify(%s, %s)"
_TYPES: Final = ("text", "text", "text", "text", "float8", "text", "text", "text")
_INSERT: Final = (
    f"INSERT INTO events ({', '.join(COLUMNS)}) SELECT %s + n, {', '.join(COLUMNS[1:])} "
    f"FROM unnest({', '.join(f'%s::{kind}[]' for kind in _TYPES)}) "
    f"WITH ORDINALITY AS batch({', '.join(COLUMNS[1:])}, n) "
    "ON CONFLICT (uid) DO NOTHING RETURNING seq, uid"
)
_CONNECTION_LOST: Final = (None, "57P01", "57P02")
"""SQL states after which a new connection may work: none, and two kinds of shutdown by the server."""
_PARAMETERS: Final = {
    # Bounds on waiting for a server that does not answer.
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "fairlead",
    "options": (
        "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=10000"
    ),
}


def connection_info(url: str) -> str:
    """Return the connection string of a URL, with bounds on waiting for a server that does not answer."""
    try:
        own = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The reason repeats parts of the URL, and so perhaps of the password.
        raise InvalidInput(
            "database_url cannot be parsed: write it as postgresql://USER:PASSWORD@HOST/DATABASE, with "
            "%-codes for characters that have a meaning in a URL"
        ) from None
    return make_conninfo(url, **{name: value for name, value in _PARAMETERS.items() if name not in own})


def alchemy(url: str) -> sqlalchemy.Engine:
    """Return an SQLAlchemy engine for the migrations."""
    info = connection_info(url)
    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(info), poolclass=sqlalchemy.NullPool
    )


def migrate(url: str) -> tuple[str | None, str]:
    """Bring the tables to the version of this release; returns the versions before and after."""
    with _locked(url) as connection:
        return schema.migrate(connection, shown=_shown(url))


@contextlib.contextmanager
def _locked(url: str) -> Iterator[sqlalchemy.Connection]:
    """Open a connection for the migrations, with the lock of writers; `InvalidInput` if that fails.

    Two processes that start on an empty database at once must not both create the tables.
    """
    try:
        with alchemy(url).connect() as connection:
            connection.execute(sqlalchemy.text(_TAKE_LOCK))
            yield connection
    except sqlalchemy.exc.DatabaseError as error:
        is_away = isinstance(error, sqlalchemy.exc.OperationalError)
        raise InvalidInput(
            f"{_shown(url)} cannot be {'reached' if is_away else 'used as a log'} ({_reason(error.orig)}): "
            "check database_url"
        ) from None


async def listen(url: str, wakes: Mapping[str, Callable[[], None]]) -> None:
    """Call the function of a channel whenever any process has notified it, until cancelled.

    Only a shortcut: while the connection is lost, readers still poll.
    """
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                connection_info(url), autocommit=True
            ) as connection:
                for channel in wakes:
                    await connection.execute(f"LISTEN {channel}")
                for wake in wakes.values():
                    wake()  # for what was written while nothing listened
                async for notification in connection.notifies():
                    wakes[notification.channel]()
        except psycopg.Error as error:
            _LOG.warning("no notifications from PostgreSQL (%s): polling instead", type(error).__name__)
        await asyncio.sleep(_RECONNECT_S)


class PostgresStore(Store):
    """A log in the tables of one database."""

    shared = True
    mark = "%s"

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._info = connection_info(url)
        self._writer: psycopg.Connection[Any] | None = None
        self._local = threading.local()
        self._readers: list[psycopg.Connection[Any]] = []
        self._guard = threading.Lock()
        with _locked(url) as connection:
            schema.check(connection, shown=_shown(url), create=not read_only)

    def append(self, rows: Sequence[Row]) -> Appended:
        """Write the new rows; returns after the commit.

        If the answer to a commit is lost, its result is unknown: the same rows are sent again, and those that
        were written are recognised by their uid.
        """
        for last_try in (False, True):
            try:
                return self._append(self._writing_connection(), rows)
            except psycopg.Error as error:
                self._drop_writer()
                if isinstance(error, psycopg.DataError | psycopg.IntegrityError | psycopg.ProgrammingError):
                    raise  # a row that can never be written, now or later
                lost = isinstance(error, psycopg.OperationalError) and error.sqlstate in _CONNECTION_LOST
                if last_try or not lost:
                    raise StoreUnavailable(f"the log cannot be written: {_reason(error)}") from error
        raise AssertionError("unreachable")

    def _append(self, connection: psycopg.Connection[Any], rows: Sequence[Row]) -> Appended:
        batch = distinct(rows) if len(rows) > 1 else list(rows)
        columns = [list(column) for column in zip(*(row[1:] for row in batch), strict=True)]
        existing: list[Row] = []
        with connection.transaction(), connection.cursor(binary=True) as cursor:
            cursor.execute(_TAKE_LOCK)
            # A statement of its own: it must see what the previous holder of the lock committed.
            (previous,) = cursor.execute(LAST_SEQ).fetchone() or (0,)
            seqs = {uid: seq for seq, uid in cursor.execute(_INSERT, [previous, *columns]).fetchall()}
            if len(seqs) < len(batch):
                missing = tuple(row.uid for row in batch if row.uid not in seqs)
                statement, values = Query(uids=missing, limit=len(missing)).sql(self.mark)
                existing = list(map(Row._make, cursor.execute(statement, values).fetchall()))
            if seqs:
                cursor.execute(_NOTIFY, [CHANNEL, str(max(seqs.values()))])
                if any(row.kind == "config" for row in batch):
                    cursor.execute(_NOTIFY, [CONFIGURATION_CHANNEL, ""])
        written = [row._replace(seq=seqs[row.uid]) for row in batch if row.uid in seqs]
        return match_rows(rows, written=written, existing=existing, previous=int(previous))

    def write(self, work: Callable[[psycopg.Connection[Any]], Any]) -> Any:
        """Run ``work`` on the writing connection in one transaction; only from the writer's thread."""
        try:
            connection = self._writing_connection()
            with connection.transaction():
                connection.execute(_TAKE_LOCK)
                return work(connection)
        except psycopg.Error as error:
            self._drop_writer()
            raise StoreUnavailable(f"the log cannot be written: {_reason(error)}") from error

    def _writing_connection(self) -> psycopg.Connection[Any]:
        if self._writer is None or self._writer.closed:
            self._writer = psycopg.connect(self._info)
        return self._writer

    def _drop_writer(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(psycopg.Error):
                self._writer.close()
            self._writer = None

    def read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Return the rows of an SQL statement."""
        for last_try in (False, True):
            connection: psycopg.Connection[Any] | None = getattr(self._local, "connection", None)
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(self._info, autocommit=True)
                    connection.read_only = True
                    self._local.connection = connection
                    with self._guard:
                        self._readers = [reader for reader in self._readers if not reader.closed]
                        self._readers.append(connection)
                return connection.execute(statement, values).fetchall()
            except psycopg.Error as error:
                if connection is not None:
                    connection.close()
                self._local.connection = None
                if last_try or not isinstance(error, psycopg.OperationalError):
                    raise StoreUnavailable(f"the log cannot be read: {_reason(error)}") from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close every connection."""
        self._drop_writer()
        with self._guard:
            for reader in self._readers:
                with contextlib.suppress(psycopg.Error):
                    reader.close()
            self._readers.clear()


def _shown(url: str) -> str:
    """Name the database of a URL, without user and password."""
    own = conninfo_to_dict(url)
    return f"postgresql database {own.get('dbname', 'of the user')!r} on {own.get('host', 'this host')!r}"


def _reason(error: BaseException | None) -> str:
    return " ".join(str(error).split())
