"""A checked log: what is in it, what was left out of it, and its parts, read one at a time."""

from __future__ import annotations

import tempfile
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
"""Rows of a part: what each reader has in memory at one time."""

MOST_TASKS: Final = 200
_MOST_PROVIDERS: Final = 1000
TASK_SQL: Final = "(context ->> '$.task')"
"""SQL of a row's task label, NULL for none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProviderFacts:
    """One provider of a log: how often it was chosen, and the means of what came of it (NaN if unknown)."""

    name: str
    chosen: int
    judged: int
    mean_reward: float
    mean_cost_usd: float
    mean_latency_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """A log that was checked from end to end; other processes that see the same files can receive it.

    ``providers`` run from the lowest mean cost to the highest. ``sets`` maps the hash of a line's list of
    providers to their columns. ``left_out`` are the rows that parts leave out, each with the reason;
    ``positions`` counts all rows, those included. ``width`` is the number of features, 0 for none.

    >>> import tempfile
    >>> from fairlead.experiments.logs.write import write_log
    >>> row = {"decided_at": "2026-03-01T12:00:00Z", "providers": ["small", "large"], "reward": 1.0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "log.jsonl"
    ...     choices = [("d1", "small", 0.001), ("d2", "large", 0.01)]
    ...     write_log(path, [{**row, "decision_id": i, "provider": p, "cost_usd": c} for i, p, c in choices])
    ...     with open_log(path) as log:
    ...         log.providers, log.rows, log.has_propensities
    2
    (('small', 'large'), 2, False)
    """

    path: Path
    relation: str
    folder: Path
    positions: int
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
    left_out: tuple[rules.BadRow, ...]
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
        """List the first position of each part and the one after its last; together they are the log."""
        size = self.part_rows
        return [(start, min(start + size, self.positions)) for start in range(0, self.positions, size)]

    def notes(self) -> list[str]:
        """Sentences that belong beside every result from this log."""
        notes = []
        if self.left_out:
            total = len(self.bad_rows)
            listed = "; ".join(f"row {row}: {reason}" for row, reason in self.left_out[:5])
            more = f"; and {total - 5:,} more" if total > 5 else ""
            were = "row was" if total == 1 else "rows were"
            notes.append(f"{total:,} {were} left out ({listed}{more}).")
        unjudged = self.rows - sum(fact.judged for fact in self.facts)
        if unjudged:
            notes.append(f"{unjudged:,} of {self.rows:,} decisions have no reward.")
        return notes


@contextmanager
def open_log(path: str | Path, *, skip_bad: bool = False, part_rows: int = PART_ROWS) -> Iterator[Log]:
    """Check a log and yield it, in parts of ``part_rows``; its work files are removed afterwards.

    A row that breaks a rule raises `InvalidInput`, or is left out with ``skip_bad``. Memory stays bounded:
    DuckDB keeps within `source.MEMORY` and spills to the temporary folder.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="fairlead-") as temporary:
        folder = Path(temporary)
        source = read_source(path, folder)
        try:
            with bounded(folder) as connection:
                log = _check(connection, path, source, folder=folder, skip_bad=skip_bad)
        except duckdb.Error as error:
            raise InvalidInput(unreadable(path, error)) from None
        yield replace(log, part_rows=part_rows)


def _check(
    connection: duckdb.DuckDBPyConnection, path: Path, source: Source, *, folder: Path, skip_bad: bool
) -> Log:
    relation = source.relation
    columns = rules.count_columns(connection, relation)
    left_out = rules.first_reasons([*source.unread, *rules.broken_rows(connection, relation, columns)])
    if left_out and not skip_bad:
        raise InvalidInput(rules.sentence(path, left_out[0], others=len(left_out) - 1))
    rows = [row for row, _ in left_out]
    connection.execute("CREATE TEMP TABLE bad AS SELECT unnest(?::BIGINT[]) AS row", [rows])
    good = f"(FROM {relation} ANTI JOIN bad USING (row))" if left_out else relation
    facts = _provider_facts(connection, path, good)
    tasks, hashes = _tasks(connection, good)
    span = connection.execute(f"SELECT count(*), min(seconds), max(seconds) FROM {good}").fetchone()
    assert span is not None
    return Log(
        path=path,
        relation=relation,
        folder=folder,
        positions=columns.positions,
        rows=int(span[0]),
        facts=facts,
        tasks=tasks,
        task_hashes=hashes,
        sets=_provider_sets(connection, good, [fact.name for fact in facts]),
        has_propensities=columns.propensities > 0,
        has_targets=columns.targets > 0,
        has_predictions=columns.predictions > 0,
        width=columns.width,
        first_s=float(span[1]),
        last_s=float(span[2]),
        left_out=left_out,
    )


def _provider_facts(
    connection: duckdb.DuckDBPyConnection, path: Path, good: str
) -> tuple[ProviderFacts, ...]:
    """Summarise all providers that could be chosen, the cheapest first."""
    query = (
        "SELECT provider, count(*), count(reward), avg(reward), avg(cost_usd), avg(latency_s) "
        f"FROM {good} GROUP BY provider"
    )
    means: dict[str, tuple[Any, ...]] = {row[0]: row[1:] for row in connection.execute(query).fetchall()}
    facts = []
    for name in _provider_names(connection, path, good):
        chosen, judged, *values = means.get(name, (0, 0, None, None, None))
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


def _provider_names(connection: duckdb.DuckDBPyConnection, path: Path, good: str) -> list[str]:
    query = f"SELECT DISTINCT unnest(providers) FROM (SELECT DISTINCT providers FROM {good})"
    names = [str(row[0]) for row in connection.execute(query).fetchall()]
    if not names:
        raise InvalidInput(
            f"{path}: the log is empty, as no row is left: give one with at least one decision."
        )
    if len(names) == 1:
        raise InvalidInput(
            f"{path}: {names[0]!r} is the only provider in all rows, so there was nothing to choose: "
            "give a log of two providers or more."
        )
    if len(names) > _MOST_PROVIDERS:
        raise InvalidInput(
            f"{path}: there are {len(names):,} providers, more than {_MOST_PROVIDERS:,}: check what the "
            "column holds."
        )
    return names


def _provider_sets(
    connection: duckdb.DuckDBPyConnection, good: str, names: list[str]
) -> dict[int, tuple[int, ...]]:
    column = {name: j for j, name in enumerate(names)}
    query = f"SELECT hash(providers), providers FROM {good} GROUP BY providers"
    rows = connection.execute(query).fetchall()
    return {int(key): tuple(column[name] for name in providers) for key, providers in rows}


def _tasks(connection: duckdb.DuckDBPyConnection, good: str) -> tuple[tuple[str, ...], NDArray[np.uint64]]:
    """List the commonest tasks by name, and the hashes of their labels."""
    query = (
        f"SELECT task, hash(task) FROM (SELECT {TASK_SQL} AS task FROM {good}) WHERE task IS NOT NULL "
        f"GROUP BY task ORDER BY count(*) DESC, task LIMIT {MOST_TASKS}"
    )
    rows = sorted(connection.execute(query).fetchall())
    return tuple(str(row[0]) for row in rows), np.array([row[1] for row in rows], dtype=np.uint64)
