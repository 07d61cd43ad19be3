"""A checked log: what is in it, what was left out of it, and its parts, read one at a time."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs import rules
from fairlead.experiments.logs.source import Source, bounded, read_source, unreadable
from fairlead.optimizer.errors import InvalidInput

PART_ROWS: Final = 100_000
"""Rows of a part: what is in memory at one time for each reader."""

MOST_TASKS: Final = 200
_MOST_PROVIDERS: Final = 1000
_LISTED: Final = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class ProviderFacts:
    """One provider of a log: how often it was chosen, and its means of what came of it (NaN: unknown)."""

    name: str
    chosen: int
    judged: int
    mean_reward: float
    mean_cost_usd: float
    mean_latency_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """A log that was checked from end to end; it can be sent to other processes that see the same files.

    ``providers`` run from the lowest mean cost to the highest. ``sets`` maps the hash of a line's list of
    providers to their places. ``left_out`` are rows that a part leaves out, with the reasons.
    """

    path: Path
    relation: str
    folder: Path
    places: int
    rows: int
    facts: tuple[ProviderFacts, ...]
    tasks: tuple[str, ...]
    task_hashes: NDArray[np.uint64]
    sets: dict[int, tuple[int, ...]]
    has_propensities: bool
    has_targets: bool
    has_predictions: bool
    width: int
    first_s: float
    last_s: float
    left_out: tuple[rules.Bad, ...]
    part_rows: int = PART_ROWS

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of all providers of the log."""
        return tuple(fact.name for fact in self.facts)

    @cached_property
    def bad_rows(self) -> NDArray[np.int64]:
        """The rows that are left out, in their order."""
        return np.array(sorted({row for row, _ in self.left_out}), dtype=np.int64)

    def parts(self) -> list[tuple[int, int]]:
        """From where to where each part goes; together they are the log."""
        size = self.part_rows
        return [(start, min(start + size, self.places)) for start in range(0, self.places, size)]

    def reasons(self) -> dict[str, int]:
        """What was left out and how often, by the reason without its particulars."""
        return dict(Counter(reason.partition(": ")[2] or reason for _, reason in self.left_out))

    def notes(self) -> list[str]:
        """What a reader of any result ought to be told about the log, one sentence each."""
        found = []
        if self.left_out:
            total = len(self.bad_rows)
            listed = "; ".join(f"row {row}: {reason}" for row, reason in self.left_out[:5])
            more = f"; and {total - 5:,} more" if total > 5 else ""
            were = "row was" if total == 1 else "rows were"
            found.append(f"{total:,} {were} left out ({listed}{more}).")
        unjudged = self.rows - sum(fact.judged for fact in self.facts)
        if unjudged:
            found.append(f"{unjudged:,} of {self.rows:,} decisions have no reward.")
        return found


@contextmanager
def open_log(path: str | Path, *, skip_bad: bool = False, part_rows: int = PART_ROWS) -> Iterator[Log]:
    """Check a log and give it, in parts of ``part_rows``; its work files are gone afterwards.

    A row that breaks a rule raises `InvalidInput`, or is left out with ``skip_bad``. Memory stays bounded:
    DuckDB keeps to `source.MEMORY` and spills to the temporary folder.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="fairlead-") as made:
        folder = Path(made)
        source = read_source(path, folder)
        try:
            with bounded(folder) as connection:
                log = _checked(connection, path, source, folder, skip_bad=skip_bad)
        except duckdb.Error as error:
            raise InvalidInput(unreadable(path, error)) from None
        yield replace(log, part_rows=part_rows)


def _checked(
    connection: duckdb.DuckDBPyConnection, path: Path, source: Source, folder: Path, *, skip_bad: bool
) -> Log:
    relation = source.relation
    counted = connection.execute(
        "SELECT count(*), coalesce(max(place) + 1, 0), count(propensities), count(target_propensities), "
        f"count(reward_predictions), coalesce(mode(len(features)), 0) FROM {relation}"
    ).fetchone()
    assert counted is not None
    rows, places, logged, targets, predictions, width = map(int, counted)
    bad: list[rules.Bad] = list(source.unread)
    if rows:
        declared = rules.row_rules(
            propensities=logged > 0, targets=targets > 0, predictions=predictions > 0, width=width
        )
        bad += rules.broken_rows(connection, relation, declared)
        bad += rules.repeated_providers(connection, relation)
        bad += rules.repeated_ids(connection, relation)
        bad += rules.late_rows(connection, relation, places)
    first_reason: dict[int, str] = {}
    for row, reason in bad:
        first_reason.setdefault(row, reason)
    left_out = tuple(sorted(first_reason.items()))
    if left_out and not skip_bad:
        raise InvalidInput(rules.sentence(path, left_out[0], others=len(left_out) - 1))
    connection.execute(
        "CREATE TEMP TABLE bad AS SELECT unnest(?::BIGINT[]) AS row", [[r for r, _ in left_out]]
    )
    good = f"(FROM {relation} ANTI JOIN bad USING (row))" if left_out else relation
    facts = _provider_facts(connection, path, good)
    tasks, hashes = _tasks(connection, good)
    span = connection.execute(f"SELECT count(*), min(seconds), max(seconds) FROM {good}").fetchone()
    assert span is not None
    return Log(
        path=path,
        relation=relation,
        folder=folder,
        places=places,
        rows=int(span[0]),
        facts=facts,
        tasks=tasks,
        task_hashes=hashes,
        sets=_sets(connection, good, [fact.name for fact in facts]),
        has_propensities=logged > 0,
        has_targets=targets > 0,
        has_predictions=predictions > 0,
        width=width,
        first_s=float(span[1]),
        last_s=float(span[2]),
        left_out=left_out,
    )


def _provider_facts(
    connection: duckdb.DuckDBPyConnection, path: Path, good: str
) -> tuple[ProviderFacts, ...]:
    """All providers that could be chosen, cheapest first."""
    names = connection.execute(
        f"SELECT DISTINCT unnest(providers) FROM (SELECT DISTINCT providers FROM {good})"
    ).fetchall()
    if not names:
        raise InvalidInput(
            f"{path}: the log is empty, as no row is left: give one with at least one decision."
        )
    if len(names) == 1:
        raise InvalidInput(
            f"{path}: {names[0][0]!r} is the only provider in all rows, so there was nothing to choose: "
            "give a log "
            "of two providers or more."
        )
    if len(names) > _MOST_PROVIDERS:
        raise InvalidInput(
            f"{path}: there are {len(names):,} providers, more than {_MOST_PROVIDERS:,}: check what the "
            "column holds."
        )
    query = (
        "SELECT provider, count(*), count(reward), avg(reward), avg(cost_usd), avg(latency_s) "
        f"FROM {good} GROUP BY provider"
    )
    means: dict[str, tuple[Any, ...]] = {row[0]: row[1:] for row in connection.execute(query).fetchall()}
    never = (0, 0, None, None, None)
    facts = []
    for (name,) in names:
        chosen, judged, *values = means.get(name, never)
        reward, cost, latency = (float("nan") if value is None else float(value) for value in values)
        facts.append(
            ProviderFacts(
                name=name,
                chosen=chosen,
                judged=judged,
                mean_reward=reward,
                mean_cost_usd=cost,
                mean_latency_s=latency,
            )
        )
    return tuple(sorted(facts, key=lambda f: (f.mean_cost_usd != f.mean_cost_usd, f.mean_cost_usd, f.name)))


def _sets(connection: duckdb.DuckDBPyConnection, good: str, names: list[str]) -> dict[int, tuple[int, ...]]:
    column = {name: j for j, name in enumerate(names)}
    found = connection.execute(f"SELECT hash(providers), providers FROM {good} GROUP BY providers").fetchall()
    return {int(key): tuple(column[name] for name in listed) for key, listed in found}


def task_sql() -> str:
    """SQL of a row's task label, NULL for none."""
    return "(context ->> '$.task')"


def _tasks(connection: duckdb.DuckDBPyConnection, good: str) -> tuple[tuple[str, ...], NDArray[np.uint64]]:
    """The commonest tasks by name, and the hashes of their labels."""
    query = (
        f"SELECT task, hash(task) FROM (SELECT {task_sql()} AS task FROM {good}) WHERE task IS NOT NULL "
        f"GROUP BY task ORDER BY count(*) DESC, task LIMIT {MOST_TASKS}"
    )
    found = sorted(connection.execute(query).fetchall())
    return tuple(str(row[0]) for row in found), np.array([row[1] for row in found], dtype=np.uint64)
