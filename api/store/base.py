"""What every store is: rows go in at the end, get their place in one total order, and are read by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from fairlead.optimizer.errors import InvalidInput

COLUMNS: Final = ("seq", "uid", "kind", "route", "decision_id", "at_s", "digest", "line", "extra")
PAGE_ROWS: Final = 2_000
"""Rows that are read at a time, so that a long log is read in bounded memory."""


class Row(NamedTuple):
    """One event of the log. ``seq`` is its place in the total order, 0 while it has none."""

    seq: int
    uid: str
    """What makes a repetition the same event: a second row with it is never written."""
    kind: str
    """decision, outcome, feedback or config."""
    route: str | None
    decision_id: str | None
    """The decision it is of; of feedback on a session `of_session`."""
    at_s: float
    """When it was received, seconds since 1970 UTC."""
    digest: str
    """Of what the client sent: a repetition with another digest is refused, not taken for the same."""
    line: str
    """The event as the core's log has it (`fairlead.optimizer.persistence.event_log`)."""
    metadata: str
    """What only the service needs to know about the event, as a JSON object (the column ``extra``)."""

    @classmethod
    def config(cls, line: str, *, uid: str, at_s: float, by: str | None = None) -> Row:
        """A change of the configuration, made by the key (or ``command``, ``file``, ``clock``) ``by``."""
        return cls(
            0, uid, "config", None, None, at_s, "", line, json.dumps({"by": by}, separators=(",", ":"))
        )

    @classmethod
    def decision(
        cls, line: str, *, decision_id: str, route: str, at_s: float, digest: str = "", metadata: str = "{}"
    ) -> Row:
        """A decision of a route."""
        return cls(0, f"d:{decision_id}", "decision", route, decision_id, at_s, digest, line, metadata)

    @classmethod
    def report(
        cls,
        line: str,
        *,
        kind: Literal["outcome", "feedback"],
        uid: str,
        decision_id: str,
        route: str | None,
        at_s: float,
        digest: str = "",
        metadata: str = "{}",
    ) -> Row:
        """An outcome of a decision or feedback on it; ``route`` is None while its decision is unknown."""
        return cls(0, uid, kind, route, decision_id, at_s, digest, line, metadata)


def of_session(session_id: str) -> str:
    """What stands for a decision in feedback on a session. With the slash it is the id of none."""
    return f"session/{session_id}"


class Appended(NamedTuple):
    """What became of a batch: the row of each that was given, and whether it is new."""

    previous: int
    """The last place in the log before this batch."""
    rows: list[Row]
    fresh: list[bool]


@dataclass(frozen=True, kw_only=True)
class Query:
    """Rows with ``after < seq <= until`` that match everything that is given, in the order of the log."""

    after: int = 0
    until: int | None = None
    limit: int = PAGE_ROWS
    kind: str | None = None
    decision_id: str | None = None
    uids: tuple[str, ...] = ()
    newest_first: bool = False

    def sql(self, mark: str) -> tuple[str, list[Any]]:
        """The statement, with ``mark`` in the place of each of the parameters."""
        tests: list[tuple[str, Any]] = [(f"seq > {mark}", self.after)]
        if self.until is not None:
            tests.append((f"seq <= {mark}", self.until))
        if self.kind is not None:
            tests.append((f"kind = {mark}", self.kind))
        if self.decision_id is not None:
            tests.append((f"decision_id = {mark}", self.decision_id))
        values = [value for _, value in tests]
        where = [test for test, _ in tests]
        if self.uids:
            where.append(f"uid IN ({', '.join([mark] * len(self.uids))})")
            values += self.uids
        order = "DESC" if self.newest_first else "ASC"
        text = f"SELECT {', '.join(COLUMNS)} FROM events WHERE {' AND '.join(where)} ORDER BY seq {order}"
        return f"{text} LIMIT {mark}", [*values, self.limit]


class StoreUnavailable(RuntimeError):
    """Nothing can be written or read now; trying again later may help."""


class SchemaMismatch(InvalidInput):
    """The tables are of another version than this release needs."""


class Store(Protocol):
    """One log. `append` is called by one thread at a time; `rows` and `last_seq` by any."""

    shared: bool
    """Whether other processes may write to it too."""
    mark: str
    """What stands for a parameter in a statement."""

    def append(self, rows: Sequence[Row]) -> Appended:
        """Write the rows that are new at the end, all or none, and return once they are durable."""

    def rows(self, query: Query) -> list[Row]:
        """What is in the log."""

    def last_seq(self) -> int:
        """The last place in the log; 0 where it is empty."""

    def write(self, work: Callable[[Any], Any]) -> Any:
        """Run ``work`` on the writing connection in one transaction; only from the writer's thread."""

    def read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Rows of a statement."""

    def close(self) -> None:
        """Let go of the log; whatever was appended is in it."""


def distinct(rows: Sequence[Row]) -> list[Row]:
    """The first row of each uid, in their order."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row.uid, row)
    return list(found.values())


def outcome_of(
    rows: Sequence[Row], written: Sequence[Row], existing: Sequence[Row], previous: int
) -> Appended:
    """For each row given, the row that is in the log: its own, or the one that was there before."""
    known = {row.uid: row for row in existing}
    new = {row.uid: row for row in written}
    found, fresh = [], []
    for row in rows:
        # Of two with one uid in a batch only the first is new; the second repeats it.
        own = new.pop(row.uid, None)
        if own is not None:
            known[row.uid] = own
        found.append(known[row.uid])
        fresh.append(own is not None)
    return Appended(previous, found, fresh)


def migrate_store(url: str) -> tuple[str | None, str]:
    """Bring the tables behind a URL to the version of this release; the versions before and after."""
    if url.startswith("sqlite:"):
        from fairlead.api.store import sqlite

        return sqlite.migrate(sqlite_path(url))
    from fairlead.api.store import postgres

    return postgres.migrate(url)


def open_store(url: str, *, read_only: bool = False) -> Store:
    """The store behind a URL: ``sqlite:///FILE`` or ``postgresql://...``, at the version of this release."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        from fairlead.api.store.sqlite import SQLiteStore

        return SQLiteStore(sqlite_path(url), read_only=read_only)
    if scheme in ("postgresql", "postgres") and rest:
        from fairlead.api.store.postgres import PostgresStore

        return PostgresStore(url, read_only=read_only)
    # Without a scheme it may be anything, with a password in it.
    start = f"starts with {scheme!r}" if "://" in url else "has no scheme"
    raise InvalidInput(
        f"database_url {start}: give sqlite:///FILE for one process, "
        "or postgresql://USER@HOST/DATABASE for several"
    )


def sqlite_path(url: str) -> str:
    """The file of a SQLite URL: three slashes before a relative path, four before an absolute one."""
    path = url.removeprefix("sqlite:///")
    if not url.startswith("sqlite:///") or not path or path.startswith(":memory:") or "?" in path:
        raise InvalidInput(
            f"database_url is {url!r}: give a file, as in sqlite:///fairlead.db or sqlite:////var/lib/f.db"
        )
    return path
