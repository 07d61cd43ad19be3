"""The log in one SQLite file: one process, one writing connection, a commit that survives a power cut.

SQLite 3.7.0 to 3.51.2 can lose committed rows when two connections write or checkpoint at the same moment.
So exactly one connection writes, a lock on a file next to the log keeps other processes out, and readers open
the file read-only, so that they can neither write nor checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.pool import NullPool

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

OLDEST: Final = (3, 37, 0)
_MAX_ROWS: Final = 64
_MAX_PARAMETERS: Final = 500
_BUSY_S: Final = 5.0


class SQLiteStore(Store):
    """A log in the file ``path``, which ``read_only`` stores may read while another process writes."""

    shared = False
    mark = "?"

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        check_version(sqlite3.sqlite_version_info)
        self._path = Path(path)
        self._readers: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._guard = threading.Lock()
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        if read_only:
            if not self._path.is_file():
                raise InvalidInput(f"{path}: no such file: check database_url")
        elif not self._path.parent.is_dir():
            raise InvalidInput(f"{path}: the folder {self._path.parent} does not exist: create it first")
        else:
            self._lock = lock_file(self._path)
        try:
            if not read_only:
                # The files that SQLite puts beside it get the same mode.
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with _alchemy(self._open_reader if read_only else self._open_writer) as connection:
                schema.check(connection, shown=str(path), create=not read_only)
            if not read_only:
                self._writer = self._open_writer()
                self._last = self._read_last(self._writer)
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error | sqlalchemy.exc.DatabaseError):
                raise _unusable(path, error) from None
            raise
        self._doubtful = False

    def _open_writer(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=_BUSY_S, check_same_thread=False, cached_statements=16
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def append(self, rows: Sequence[Row]) -> Appended:
        """Write the new rows; returns after the commit was synced to the disk."""
        connection = self._writer
        assert connection is not None, "opened read-only"
        try:
            if self._doubtful:
                # The result of the last commit is unknown: it may be in the log after all.
                self._last = self._read_last(connection)
                self._doubtful = False
            return self._append(connection, rows)
        except sqlite3.Error as error:
            self._doubtful = True
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
                raise  # a row that can never be written, now or later
            raise StoreUnavailable(f"the log cannot be written: {error}") from error

    def _append(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> Appended:
        previous = self._last
        batch = distinct(rows) if len(rows) > 1 else list(rows)
        existing: list[Row] = []
        connection.execute("BEGIN IMMEDIATE")
        written = _number(batch, previous)
        before = connection.total_changes
        _insert(connection, written)
        if connection.total_changes - before < len(written):
            connection.execute("ROLLBACK")
            existing = self._existing(connection, [row.uid for row in batch])
            uids = {row.uid for row in existing}
            written = _number([row for row in batch if row.uid not in uids], previous)
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, written)
        connection.execute("COMMIT")
        self._last = previous + len(written)
        return match_rows(rows, written=written, existing=existing, previous=previous)

    def write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run ``work`` on the writing connection in one transaction; only from the writer's thread."""
        assert self._writer is not None, "opened read-only"
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            result = work(self._writer)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._writer.rollback()
            raise StoreUnavailable(f"the log cannot be written: {error}") from error
        return result

    def read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Return the rows of an SQL statement."""
        try:
            return self._reader().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the log cannot be read: {error}") from error

    @staticmethod
    def _existing(connection: sqlite3.Connection, uids: Sequence[str]) -> list[Row]:
        rows: list[Row] = []
        for start in range(0, len(uids), _MAX_PARAMETERS):
            part = tuple(uids[start : start + _MAX_PARAMETERS])
            rows += map(Row._make, connection.execute(*Query(uids=part).sql("?")))
        return rows

    @staticmethod
    def _read_last(connection: sqlite3.Connection) -> int:
        (last,) = connection.execute(LAST_SEQ).fetchone()
        return int(last)

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._open_reader()
            with self._guard:
                self._readers.append(connection)
        return connection

    def _open_reader(self) -> sqlite3.Connection:
        address = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        return sqlite3.connect(
            address, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )

    def close(self) -> None:
        """Close every connection, the writing one last, and release the file to other processes."""
        with self._guard:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextlib.contextmanager
def _alchemy(connect: Callable[[], sqlite3.Connection]) -> Iterator[sqlalchemy.Connection]:
    """Open an SQLAlchemy connection for the migrations, closed before the log is written to."""
    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def migrate(path: str) -> tuple[str | None, str]:
    """Bring the tables of a file to the version of this release; returns the versions before and after."""
    lock = lock_file(Path(path))
    try:
        with _alchemy(lambda: sqlite3.connect(path)) as connection:
            return schema.migrate(connection, shown=path)
    except (sqlite3.Error, sqlalchemy.exc.DatabaseError) as error:
        raise _unusable(path, error) from None
    finally:
        os.close(lock)


def _unusable(path: str, error: Exception) -> InvalidInput:
    reason = getattr(error, "orig", error)
    return InvalidInput(f"{path} cannot be used as a log ({reason}): check the file and its folder")


@cache
def _insert_statement(count: int) -> str:
    row = f"({', '.join('?' * len(COLUMNS))})"
    rows = ", ".join([row] * count)
    return f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES {rows} ON CONFLICT (uid) DO NOTHING"


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert rows, many per statement.

    Python's lock is released and acquired again around each statement, and the event loop competes for it.
    Counts are powers of two, so that the statements stay prepared.
    """
    start = 0
    while start < len(rows):
        count = min(1 << (len(rows) - start).bit_length() - 1, _MAX_ROWS)
        values = list(chain.from_iterable(rows[start : start + count]))
        connection.execute(_insert_statement(count), values)
        start += count


def _number(rows: Sequence[Row], last: int) -> list[Row]:
    return [row._replace(seq=seq) for seq, row in enumerate(rows, last + 1)]


def lock_file(path: Path) -> int:
    """Lock the log until this process ends, however it ends; raise `InvalidInput` if another one has it."""
    import fcntl

    # A file with several names must have one lock.
    path = path.resolve()
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(
            f"{path}.lock cannot be opened for writing ({error.strerror}): choose a folder that this "
            "process may write to"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise InvalidInput(
            f"{path} is in use by another process, and SQLite serves one only: "
            "for several processes use PostgreSQL (database_url: postgresql://...)"
        ) from None
    return lock


def check_version(version: tuple[int, ...]) -> None:
    """Raise `InvalidInput` if this SQLite is too old for the log."""
    if version < OLDEST:
        raise InvalidInput(
            f"SQLite is {'.'.join(map(str, version))}, and the log needs {'.'.join(map(str, OLDEST))} or "
            "newer: use a newer Python, or PostgreSQL"
        )
