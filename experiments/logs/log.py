"""A checked log: what is in it, what was left out of it, and its parts, read one at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
from fairlead.optimizer.errors import InvalidInput, finite

PART_ROWS: Final = 100_000
"""Rows of a part: what each reader has in memory at one time."""

FAILURE_REWARD: Final = 0.0
"""Quality of a call that failed, unless another is set: as in the service, no answer is worth nothing."""

MOST_TASKS: Final = 200
_MOST_PROVIDERS: Final = 1000
TASK_SQL: Final = "(context ->> '$.task')"
"""SQL of a row's task label, NULL for none."""

FAILED_SQL: Final = "(coalesce(status, 'ok') <> 'ok')"
"""SQL of whether a row's call failed."""

_BESIDES_REWARD: Final = (("cost_usd",), ("latency_s",), ("cost_usd", "latency_s"))
_UNSEEN: Final = (*[0] * (4 + len(_BESIDES_REWARD)), *[None] * 5)
_NAMED: Final = 5
"""Providers that a sentence names, those with the highest counts; the JSON has all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProviderFacts:
    """One provider of a log: how often it was chosen, and the means of what came of it (NaN if unknown).

    Of the ``chosen`` calls ``failed`` did; of the others, which were answered, ``judged`` have a reward, and
    ``judged_with`` counts those that have a cost too, a latency too, or both. ``without_cost`` counts calls
    of either kind. The largest cost and latency are NaN too if unknown.
    ``left_out`` are its rows that break a rule, which nothing else counts. ``mean_reward`` is over all calls:
    failed ones with the log's failure reward, answered ones as those of them that were judged.
    """

    name: str
    chosen: int
    failed: int
    judged: int
    judged_with: Mapping[tuple[str, ...], int]
    without_cost: int
    left_out: int
    mean_reward: float
    mean_cost_usd: float
    mean_latency_s: float
    largest_cost_usd: float
    largest_latency_s: float

    @property
    def answered(self) -> int:
        """Count the calls that did not fail."""
        return self.chosen - self.failed

    @property
    def unjudged(self) -> int:
        """Count the answered calls that have no reward."""
        return self.answered - self.judged


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """A log that was checked from end to end; other processes that see the same files can receive it.

    ``providers`` run from the lowest mean cost to the highest. ``sets`` maps the hash of a line's list of
    providers to their columns. ``left_out`` are the rows that parts leave out, each with the reason;
    ``positions`` counts all rows, those included. ``width`` is the number of features, 0 for none.
    ``normalised`` counts rows whose probabilities were rounded, so that their sum is not quite 1; they are
    read with a sum of 1. ``failure_reward`` is the quality of a call that failed, whatever reward its row
    has.

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
    normalised: int = 0
    failure_reward: float = FAILURE_REWARD
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
        if self.normalised:
            rows = "row has" if self.normalised == 1 else "rows have"
            notes.append(
                f"{self.normalised:,} of {self.rows:,} {rows} probabilities whose sum is 1 only within the "
                "rounding of their digits: they were normalised."
            )
        return notes

    def account(self) -> str:
        """Say what the rows are that a result rests on: failures, unjudged, without cost and left out."""
        failed, failing = self._total("failed")
        unjudged, silent = self._total("unjudged")
        unpriced, costless = self._total("without_cost")
        parts = ["none failed", "every answered one has a reward"]
        if failed:
            parts[0] = f"{failed:,} failed{failing} and count as quality {self.failure_reward:g}"
        if unjudged:
            parts[1] = f"{unjudged:,} answered ones have no reward{silent}"
        if unpriced == self.rows:
            parts.append("none has a cost")
        elif unpriced:
            parts.append(f"{unpriced:,} have no cost{costless}, of which failed ones count as free")
        left_out, dropped = len(self.bad_rows), self._total("left_out")[1]
        if left_out:
            rows = "row is" if left_out == 1 else "rows are"
            parts.append(f"{left_out:,} more {rows} left out as bad{dropped}")
        return f"Of {self.rows:,} decisions {'; '.join(parts)}."

    def _total(self, name: str) -> tuple[int, str]:
        """Sum a count over providers, and list in brackets those that have most of it."""
        counts = {fact.name: int(getattr(fact, name)) for fact in self.facts if getattr(fact, name)}
        largest = sorted(counts, key=lambda provider: -counts[provider])
        listed = ", ".join(f"{provider} {counts[provider]:,}" for provider in largest[:_NAMED])
        more = f" and {len(largest) - _NAMED} more providers" if len(largest) > _NAMED else ""
        return sum(counts.values()), f" ({listed}{more})" if counts else ""


@contextmanager
def open_log(
    path: str | Path,
    *,
    skip_bad: bool = False,
    failure_reward: float = FAILURE_REWARD,
    part_rows: int = PART_ROWS,
) -> Iterator[Log]:
    """Check a log and yield it, in parts of ``part_rows``; its work files are removed afterwards.

    A row that breaks a rule raises `InvalidInput`, or is left out with ``skip_bad``. ``failure_reward``, in
    [0, 1], is the quality of every call that failed. Memory stays bounded: DuckDB keeps within
    `source.MEMORY` and spills to the temporary folder.
    """
    path = Path(path)
    remedy = "give the quality of a call that failed, from 0 to 1"
    failure_reward = finite("failure reward", failure_reward, low=0.0, high=1.0, remedy=remedy)
    with tempfile.TemporaryDirectory(prefix="fairlead-") as temporary:
        folder = Path(temporary)
        source = read_source(path, folder)
        try:
            with bounded(folder) as connection:
                log = _check(
                    connection, path, source, folder=folder, skip_bad=skip_bad, failure_reward=failure_reward
                )
        except duckdb.Error as error:
            raise InvalidInput(unreadable(path, error)) from None
        yield replace(log, part_rows=part_rows)


def _check(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    source: Source,
    *,
    folder: Path,
    skip_bad: bool,
    failure_reward: float,
) -> Log:
    relation = source.relation
    columns = rules.count_columns(connection, relation)
    left_out = rules.first_reasons([*source.unread, *rules.broken_rows(connection, relation, columns)])
    if left_out and not skip_bad:
        raise InvalidInput(rules.sentence(path, left_out[0], others=len(left_out) - 1))
    good, dropped = _without(connection, relation, left_out)
    facts = _provider_facts(connection, path, good, dropped=dropped, failure_reward=failure_reward)
    tasks, hashes = _tasks(connection, good)
    totals = f"count(*), min(seconds), max(seconds), count_if({rules.IS_ROUNDED})"
    span = connection.execute(f"SELECT {totals} FROM {good}").fetchone()
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
        normalised=int(span[3]),
        left_out=left_out,
        failure_reward=failure_reward,
    )


def _without(
    connection: duckdb.DuckDBPyConnection, relation: str, left_out: Sequence[rules.BadRow]
) -> tuple[str, dict[str, int]]:
    """Return the relation without some rows, and how many of these each provider has."""
    if not left_out:
        return relation, {}
    rows = [row for row, _ in left_out]
    connection.execute("CREATE TEMP TABLE bad AS SELECT unnest(?::BIGINT[]) AS row", [rows])
    query = f"SELECT provider, count(*) FROM {relation} SEMI JOIN bad USING (row) GROUP BY provider"
    dropped = {str(name): int(count) for name, count in connection.execute(query).fetchall()}
    return f"(FROM {relation} ANTI JOIN bad USING (row))", dropped


def _provider_facts(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    good: str,
    *,
    dropped: Mapping[str, int],
    failure_reward: float,
) -> tuple[ProviderFacts, ...]:
    """Summarise all providers that could be chosen, the cheapest first."""
    judged = f"NOT {FAILED_SQL} AND reward IS NOT NULL"
    present = (" AND ".join(f"{name} IS NOT NULL" for name in others) for others in _BESIDES_REWARD)
    with_others = ", ".join(f"count_if({judged} AND {each})" for each in present)
    query = (
        f"SELECT provider, count(*), count_if({FAILED_SQL}), count_if({judged}), count_if(cost_usd IS NULL), "
        f"{with_others}, avg(reward) FILTER ({judged}), avg(cost_usd), avg(latency_s), max(cost_usd), "
        f"max(latency_s) FROM {good} GROUP BY provider"
    )
    means: dict[str, tuple[Any, ...]] = {row[0]: row[1:] for row in connection.execute(query).fetchall()}
    facts = []
    for name in _provider_names(connection, path, good):
        *counts, reward, cost, latency, largest_cost, largest_latency = means.get(name, _UNSEEN)
        chosen, failed = counts[:2]
        facts.append(
            ProviderFacts(
                name=name,
                chosen=chosen,
                failed=failed,
                judged=counts[2],
                judged_with=dict(zip(_BESIDES_REWARD, counts[4:], strict=True)),
                without_cost=counts[3],
                left_out=dropped.get(name, 0),
                mean_reward=_mixed(_number(reward), failure_reward, failed / chosen if chosen else 0.0),
                mean_cost_usd=_number(cost),
                mean_latency_s=_number(latency),
                largest_cost_usd=_number(largest_cost),
                largest_latency_s=_number(largest_latency),
            )
        )
    return tuple(sorted(facts, key=lambda f: (f.mean_cost_usd != f.mean_cost_usd, f.mean_cost_usd, f.name)))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _mixed(answered: float, failed: float, share: float) -> float:
    """Mean reward of calls of which this share failed; what was answered is unknown only if anything was."""
    return failed if share == 1.0 else (1.0 - share) * answered + share * failed


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
