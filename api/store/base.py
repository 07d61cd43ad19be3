"""What every store offers: rows are appended, numbered in one total order, and read in that order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

COLUMNS: Final = ("seq", "uid", "kind", "route", "decision_id", "at_s", "digest", "line", "extra")
LAST_SEQ: Final = "SELECT coalesce(max(seq), 0) FROM events"
PAGE_ROWS: Final = 2_000
"""Rows read at a time, so that a long log is read in bounded memory."""


class Row(NamedTuple):
    """One event of the log; ``seq`` is its number in the total order, 0 until it has been written."""

    seq: int
    uid: str
    """Identifies the event: a second row with the same uid is never written."""
    kind: str
    """``decision``, ``outcome``, ``feedback``, ``encoder``, ``evidence`` or ``config``."""
    route: str | None
    decision_id: str | None
    """The decision that the event belongs to; for feedback on a session see `of_session`."""
    at_s: float
    """When the event was received, in seconds since 1970 UTC."""
    digest: str
    """Digest of what the client sent: a repetition with another digest is refused."""
    line: str
    """The event as a line of the core's log (`fairlead.optimizer.persistence.event_log`)."""
    metadata: str
    """What only the service needs to know about the event, as a JSON object (the column ``extra``)."""

    @classmethod
    def config(cls, line: str, *, uid: str, at_s: float, by: str | None = None) -> Row:
        """Return the row of a configuration change, made by a key, ``command``, ``file`` or ``clock``."""
        return cls(
            0, uid, "config", None, None, at_s, "", line, json.dumps({"by": by}, separators=(",", ":"))
        )

    @classmethod
    def decision(
        cls, line: str, *, decision_id: str, route: str, at_s: float, digest: str = "", metadata: str = "{}"
    ) -> Row:
        """Return the row of a decision."""
        return cls(0, f"d:{decision_id}", "decision", route, decision_id, at_s, digest, line, metadata)

    @classmethod
    def encoder(cls, line: str, *, digest: str, route: str, at_s: float) -> Row:
        """Return the row of a fitted text encoder; two processes that fitted the same write one row."""
        return cls(0, f"e:{digest}:{route}", "encoder", route, None, at_s, "", line, "{}")

    @classmethod
    def evidence(cls, line: str, *, uid: str, route: str, at_s: float, digest: str, metadata: str) -> Row:
        """Return the row of what is known of a route's providers."""
        return cls(0, uid, "evidence", route, None, at_s, digest, line, metadata)

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
        """Return the row of an outcome or feedback; ``route`` is None while its decision is unknown."""
        return cls(0, uid, kind, route, decision_id, at_s, digest, line, metadata)


def of_session(session_id: str) -> str:
    """Stand-in for the decision id in feedback on a session; the slash keeps it apart from real ids."""
    return f"session/{session_id}"


class Appended(NamedTuple):
    """Result of an `append`: for each row of the batch the row in the log, and whether it is new."""

    previous: int
    """The last seq of the log before this batch."""
    rows: list[Row]
    fresh: list[bool]


@dataclass(frozen=True, kw_only=True)
class Query:
    """Rows with ``after < seq <= until`` that match every given condition, in the order of the log."""

    after: int = 0
    until: int | None = None
    limit: int = PAGE_ROWS
    kind: str | None = None
    decision_id: str | None = None
    uids: tuple[str, ...] = ()
    newest_first: bool = False

    def sql(self, mark: str) -> tuple[str, list[Any]]:
        """Return the statement, with ``mark`` for each parameter, and the parameters."""
        conditions: list[tuple[str, Any]] = [
            ("seq >", self.after),
            ("seq <=", self.until),
            ("kind =", self.kind),
            ("decision_id =", self.decision_id),
        ]
        values = [value for _, value in conditions if value is not None]
        where = [f"{test} {mark}" for test, value in conditions if value is not None]
        if self.uids:
            where.append(f"uid IN ({', '.join([mark] * len(self.uids))})")
            values += self.uids
        order = "DESC" if self.newest_first else "ASC"
        text = f"SELECT {', '.join(COLUMNS)} FROM events WHERE {' AND '.join(where)} ORDER BY seq {order}"
        return f"{text} LIMIT {mark}", [*values, self.limit]


class StoreUnavailable(RuntimeError):
    """The log can be neither read nor written now; trying again later may help."""


class Store(Protocol):
    """One log. `append` and `write` are called by one thread at a time; the rest by any."""

    shared: bool
    """Whether other processes may write to the same log."""
    mark: str
    """Placeholder of a parameter in an SQL statement."""

    def append(self, rows: Sequence[Row]) -> Appended:
        """Write the new rows at the end, all or none, and return once they are durable."""

    def write(self, work: Callable[[Any], Any]) -> Any:
        """Run ``work`` on the writing connection in one transaction; only from the writer's thread."""

    def read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Return the rows of an SQL statement, run on a read-only connection of the calling thread."""

    def rows(self, query: Query) -> list[Row]:
        """Return the events that match a query."""
        return list(map(Row._make, self.read(*query.sql(self.mark))))

    def last_seq(self) -> int:
        """Return the last seq of the log; 0 if the log is empty."""
        ((last,),) = self.read(LAST_SEQ, [])
        return int(last)

    def close(self) -> None:
        """Close every connection; whatever was appended stays."""


def distinct(rows: Sequence[Row]) -> list[Row]:
    """Return the first row of each uid, in their order."""
    first_rows: dict[str, Row] = {}
    for row in rows:
        first_rows.setdefault(row.uid, row)
    return list(first_rows.values())


def match_rows(
    rows: Sequence[Row], *, written: Sequence[Row], existing: Sequence[Row], previous: int
) -> Appended:
    """Return for each row of a batch the row in the log: its own, or the one that was there before."""
    by_uid = {row.uid: row for row in existing}
    new = {row.uid: row for row in written}
    kept, fresh = [], []
    for row in rows:
        # If two rows of a batch share a uid, only the first is new; the second repeats it.
        own = new.pop(row.uid, None)
        if own is not None:
            by_uid[row.uid] = own
        kept.append(by_uid[row.uid])
        fresh.append(own is not None)
    return Appended(previous, kept, fresh)


# The metadata of an event: what the service keeps beside its line, in the column ``extra``.


class DecisionMetadata(msgspec.Struct):
    """The part of a decision's metadata that the fold needs."""

    session_id: str | None = None
    explored: bool = False


class ReportMetadata(msgspec.Struct):
    """The part of the metadata of an outcome or feedback that the fold needs."""

    key: str | None = None
    """Id of the key that sent it; None if there were no keys yet."""
    routes: tuple[str, ...] | None = None
    """The routes that the key may report on; None for all of them."""
    session_id: str | None = None
    quarantined: tuple[str, ...] = ()
    """Fields of an outcome that were not believed when it was reported."""
    unjudged: bool = False
    """Whether nobody could say what to believe, since its decision was not known or not learned yet."""


decode_decision_metadata: Final = msgspec.json.Decoder(DecisionMetadata).decode
"""Read the metadata of a decision."""

decode_report_metadata: Final = msgspec.json.Decoder(ReportMetadata).decode
"""Read the metadata of an outcome or feedback."""

_ENCODER: Final = msgspec.json.Encoder()


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    """Encode metadata as the log keeps it, leaving out values that are None."""
    return _ENCODER.encode({name: value for name, value in metadata.items() if value is not None}).decode()
