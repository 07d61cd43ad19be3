"""Removing old events: first the state that stands for them is kept, then roll-ups, then they go.

A base is a snapshot at one place in the log, in the database and not beside it, since without the events
before it nothing could be rebuilt. Changes of the configuration are never removed: they are the audit trail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from fairlead.api.store.base import Row, Store
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.types import Decision, Feedback, Outcome

REMOVED_AT_ONCE: Final = 2_000
"""Events that go in one transaction, so that nobody waits long behind it."""

_SUMS: Final = ("decisions", "fallbacks", "outcomes", "failures", "cost_usd", "feedback", "value_sum")
Sums = dict[str, float]


class Rollup:
    """Sums of removed events by day, route and provider."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, str], Sums] = {}
        self._selected: dict[str, tuple[str, str]] = {}

    def add(self, row: Row) -> None:
        """One event that is going to be removed."""
        if row.kind not in ("decision", "outcome", "feedback"):
            return
        event = decode(row.line)
        if isinstance(event, Decision):
            self._selected[event.id] = (event.route, event.selected)
            sums = self._of(row, event.route, event.selected)
            sums["decisions"] += 1
            sums["fallbacks"] += event.fallback_used is not None
            return
        # Of what came before its decision, or for one removed earlier, only the route may be known.
        route, selected = self._selected.get(row.decision_id or "", (row.route or "", ""))
        if isinstance(event, Outcome):
            sums = self._of(row, route, event.served_provider or selected)
            sums["outcomes"] += 1
            sums["failures"] += event.status != "ok"
            sums["cost_usd"] += event.cost_usd or 0.0
        elif isinstance(event, Feedback) and event.value is not None:
            sums = self._of(row, route, selected)
            sums["feedback"] += 1
            sums["value_sum"] += event.value

    def _of(self, row: Row, route: str, provider: str) -> Sums:
        day = datetime.fromtimestamp(row.at_s, UTC).date().isoformat()
        return self.sums.setdefault((day, route, provider), dict.fromkeys(_SUMS, 0))


def last_before(store: Store, at_s: float) -> int:
    """The place of the last event before the first one that is not older than ``at_s``; 0 for none."""
    found = store.read(f"SELECT seq FROM events WHERE at_s >= {store.mark} ORDER BY seq LIMIT 1", [at_s])
    if found:
        return int(found[0][0]) - 1
    ((last,),) = store.read("SELECT coalesce(max(seq), 0) FROM events", [])
    return int(last)


def base_seq(store: Store) -> int:
    """The place that the base stands for; 0 without one."""
    ((seq,),) = store.read("SELECT coalesce(max(seq), 0) FROM bases", [])
    return int(seq)


def base_files(store: Store, seq: int) -> dict[str, bytes]:
    """The files of the base of a place."""
    rows = store.read(f"SELECT name, content FROM bases WHERE seq = {store.mark}", [seq])
    return {name: bytes(content) for name, content in rows}


def keep_base(store: Store, seq: int, files: Mapping[str, bytes], rollup: Iterable[Sequence[Any]]) -> bool:
    """Make a snapshot the base, with the roll-ups of what it stands for; False where a later one is there."""
    mark = store.mark
    columns = ("day", "route", "provider", *_SUMS)
    added = ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in _SUMS)
    upsert = (
        f"INSERT INTO rollups ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))}) "
        f"ON CONFLICT (day, route, provider) DO UPDATE SET {added}"
    )

    def work(connection: Any) -> bool:
        ((known,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM bases").fetchall()
        if known >= seq:
            return False
        for name, content in files.items():
            statement = f"INSERT INTO bases (seq, name, content) VALUES ({mark}, {mark}, {mark})"
            connection.execute(statement, [seq, name, content])
        connection.execute(f"DELETE FROM bases WHERE seq < {mark}", [seq])
        for values in rollup:
            connection.execute(upsert, list(values))
        return True

    return bool(store.write(work))


def remove_some(store: Store, until: int) -> int:
    """Remove some of the oldest events up to a place that a base stands for; how many went."""
    mark = store.mark
    some = f"SELECT seq FROM events WHERE seq <= {mark} AND kind <> 'config' ORDER BY seq LIMIT {mark}"

    def work(connection: Any) -> int:
        done = connection.execute(f"DELETE FROM events WHERE seq IN ({some})", [until, REMOVED_AT_ONCE])
        return int(done.rowcount)

    return int(store.write(work))
