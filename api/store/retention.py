"""Removal of old events: the state that replaces them is saved first, with roll-ups; then they are deleted.

A base is a snapshot at one seq of the log. It lies in the database, not beside it: without the events
before it nothing could be rebuilt. Changes of the configuration are never removed: they are the audit trail.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from fairlead.api.store.base import Row, Store
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.types import Decision, Feedback, Outcome

REMOVED_AT_ONCE: Final = 2_000
"""Events removed in one transaction, so that no commit waits long behind it."""

_SUMS: Final = ("decisions", "fallbacks", "outcomes", "failures", "cost_usd", "feedback", "value_sum")
Sums = dict[str, float]


class Rollup:
    """Sums of removed events by day, route and provider."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, str], Sums] = {}
        self._selected: dict[str, tuple[str, str]] = {}

    def add(self, row: Row) -> None:
        """Add an event that is going to be removed."""
        if row.kind not in ("decision", "outcome", "feedback"):
            return
        event = decode(row.line)
        if isinstance(event, Decision):
            self._selected[event.id] = (event.route, event.selected)
            sums = self._of(row, event.route, event.selected)
            sums["decisions"] += 1
            sums["fallbacks"] += event.fallback_used is not None
            return
        # If the event came before its decision, or the decision was removed earlier, only the route is known.
        route, selected = self._selected.get(row.decision_id or "", (row.route or "", ""))
        if isinstance(event, Outcome):
            sums = self._of(row, route, event.served_provider or selected)
            sums["outcomes"] += 1
            sums["failures"] += event.status != "ok"
            # Without a reported cost, what its usage cost by the list in force at its decision.
            priced_usd = json.loads(row.metadata).get("priced_usd")
            sums["cost_usd"] += (priced_usd if event.cost_usd is None else event.cost_usd) or 0.0
        elif isinstance(event, Feedback) and event.value is not None:
            sums = self._of(row, route, selected)
            sums["feedback"] += 1
            sums["value_sum"] += event.value

    def table(self) -> list[list[str | float]]:
        """Return the sums as rows of the table ``rollups``."""
        return [[*key, *sums.values()] for key, sums in sorted(self.sums.items())]

    def _of(self, row: Row, route: str, provider: str) -> Sums:
        day = datetime.fromtimestamp(row.at_s, UTC).date().isoformat()
        return self.sums.setdefault((day, route, provider), dict.fromkeys(_SUMS, 0))


def last_before(store: Store, at_s: float) -> int:
    """Return the seq of the last event before the first one at or after ``at_s``; 0 if there is none."""
    newer = store.read(f"SELECT seq FROM events WHERE at_s >= {store.mark} ORDER BY seq LIMIT 1", [at_s])
    return int(newer[0][0]) - 1 if newer else store.last_seq()


def base_seq(store: Store) -> int:
    """Return the seq up to which the base stands for the log; 0 without a base."""
    ((seq,),) = store.read("SELECT coalesce(max(seq), 0) FROM bases", [])
    return int(seq)


def base_files(store: Store, seq: int) -> dict[str, bytes]:
    """Return the files of the base at ``seq``."""
    rows = store.read(f"SELECT name, content FROM bases WHERE seq = {store.mark}", [seq])
    return {name: bytes(content) for name, content in rows}


def save_base(
    store: Store, *, seq: int, files: Mapping[str, bytes], rollups: Iterable[Sequence[Any]]
) -> bool:
    """Make a snapshot the base and add its roll-ups; False if there is a base at ``seq`` or later already."""
    mark = store.mark
    columns = ("day", "route", "provider", *_SUMS)
    added = ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in _SUMS)
    upsert = (
        f"INSERT INTO rollups ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))}) "
        f"ON CONFLICT (day, route, provider) DO UPDATE SET {added}"
    )

    def work(connection: Any) -> bool:
        ((current,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM bases").fetchall()
        if current >= seq:
            return False
        for name, content in files.items():
            statement = f"INSERT INTO bases (seq, name, content) VALUES ({mark}, {mark}, {mark})"
            connection.execute(statement, [seq, name, content])
        connection.execute(f"DELETE FROM bases WHERE seq < {mark}", [seq])
        for values in rollups:
            connection.execute(upsert, list(values))
        return True

    return bool(store.write(work))


def remove_some(store: Store, until: int) -> int:
    """Remove some of the oldest events up to ``until``, for which a base must stand; returns how many."""
    mark = store.mark
    oldest = f"SELECT seq FROM events WHERE seq <= {mark} AND kind <> 'config' ORDER BY seq LIMIT {mark}"

    def work(connection: Any) -> int:
        statement = f"DELETE FROM events WHERE seq IN ({oldest})"
        return int(connection.execute(statement, [until, REMOVED_AT_ONCE]).rowcount)

    return int(store.write(work))
