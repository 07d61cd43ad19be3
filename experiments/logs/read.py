"""Reading the parts of a checked log into batches; each reader has a connection of its own."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.batch import Indices, LogBatch
from fairlead.experiments.logs.log import FAILED_SQL, TASK_SQL, Log
from fairlead.experiments.logs.rules import EXACT
from fairlead.experiments.logs.source import bounded
from fairlead.optimizer.types import FloatArray

Part = tuple[int, int]
DISTRIBUTIONS: Final = {"propensities", "target_propensities"}
"""The lists of a row that are probabilities."""

_SCALARS = (
    f"row, seconds, hash({TASK_SQL}) AS task, hash(providers) AS provider_set, len(providers) AS length, "
    "list_position(providers, provider) AS chosen, coalesce(hash(served_provider), 0) AS served, "
    "served_provider IS NULL AS as_chosen, reward, cost_usd, latency_s, "
    f"{FAILED_SQL} AS failed"
)
_ATTRIBUTES = ", (context -> '$.attributes')::VARCHAR AS attributes, route"


class Reader:
    """Reads parts of one log, in order within a part. Use it as a context."""

    def __init__(self, log: Log) -> None:
        self._log = log
        # One thread: rows and the elements of their lists come in the order of the file.
        self._connection = bounded(log.folder, threads=1)
        self._served = self._hashes(log.providers)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _hashes(self, names: tuple[str, ...]) -> NDArray[np.uint64]:
        query = "SELECT hash(name) FROM (SELECT unnest(?::VARCHAR[]) AS name)"
        rows = self._connection.execute(query, [list(names)]).fetchall()
        return np.array([row[0] for row in rows], dtype=np.uint64)

    def read(self, part: Part, *, contexts: bool = False) -> LogBatch:
        """Read the decisions of a part; with ``contexts`` also their features and attributes."""
        log = self._log
        rows = f"FROM {log.relation} WHERE position >= {part[0]} AND position < {part[1]}"
        scalars = self._fetch(f"SELECT {_SCALARS}{_ATTRIBUTES if contexts else ''} {rows}")
        if len(log.bad_rows):
            keep = ~np.isin(scalars["row"], log.bad_rows)
            scalars = {name: values[keep] for name, values in scalars.items()}
        optional = {
            "propensities": log.has_propensities,
            "target_propensities": log.has_targets,
            "reward_predictions": log.has_predictions,
        }
        lists = {name: self._elements(name, rows) for name, is_logged in optional.items() if is_logged}
        features = None
        if contexts and log.width:
            features = self._elements("features", rows).reshape(-1, log.width)
        return self._batch(scalars, lists, features)

    def _fetch(self, query: str) -> dict[str, NDArray[Any]]:
        """Fetch columns by name, with NaN for missing numbers and None for missing text."""
        columns = self._connection.execute(query).fetchnumpy()
        return {name: _fill(values) for name, values in columns.items()}

    def _elements(self, name: str, rows: str) -> FloatArray:
        """Fetch the elements of the list of all kept rows, one after the other."""
        columns = self._fetch(f"SELECT row, unnest({name}) AS element {rows}")
        elements: FloatArray = columns["element"]
        bad = self._log.bad_rows
        return elements[~np.isin(columns["row"], bad)] if len(bad) else elements

    def _batch(
        self, scalars: dict[str, NDArray[Any]], lists: dict[str, FloatArray], features: FloatArray | None
    ) -> LogBatch:
        log, n = self._log, len(scalars["row"])
        eligible = np.zeros((n, len(log.providers)), dtype=bool)
        matrices = {name: np.zeros(eligible.shape) for name in lists}
        provider: Indices = np.empty(n, dtype=np.intp)
        ends = np.cumsum(scalars["length"])
        sets, set_of = np.unique(scalars["provider_set"], return_inverse=True)
        for i, key in enumerate(sets.tolist()):
            rows = np.flatnonzero(set_of == i)
            columns = np.array(log.sets[int(key)], dtype=np.intp)
            eligible[rows[:, None], columns] = True
            provider[rows] = columns[scalars["chosen"][rows].astype(np.intp) - 1]
            elements = (ends[rows] - len(columns))[:, None] + np.arange(len(columns))
            for name, values in lists.items():
                matrices[name][rows[:, None], columns] = values[elements.astype(np.intp)]
        for name in DISTRIBUTIONS & matrices.keys():
            _normalise(matrices[name])
        return LogBatch(
            row=scalars["row"].astype(np.int64),
            decided_at_s=scalars["seconds"].astype(np.float64),
            task=_indices(scalars["task"], log.task_hashes),
            provider=provider,
            served=np.where(scalars["as_chosen"], provider, _indices(scalars["served"], self._served)),
            eligible=eligible,
            propensities=matrices.get("propensities"),
            reward=np.where(scalars["failed"], log.failure_reward, scalars["reward"]),
            cost_usd=scalars["cost_usd"],
            latency_s=scalars["latency_s"],
            failed=scalars["failed"].astype(np.bool_),
            target_propensities=matrices.get("target_propensities"),
            reward_predictions=matrices.get("reward_predictions"),
            features=features,
            attributes=scalars.get("attributes"),
            routes=scalars.get("route"),
            tasks=log.tasks,
        )


def attribute_names(log: Log, *, rows: int | None = None) -> list[str]:
    """List the names of the attributes in a log, or in its first ``rows``, the commonest first."""
    source = log.relation if rows is None else f"(FROM {log.relation} WHERE position < {rows})"
    keys = f"SELECT unnest(json_keys(context, '$.attributes')) AS name FROM {source}"
    with bounded(log.folder) as connection:
        names = connection.execute(f"SELECT name FROM ({keys}) GROUP BY name ORDER BY count(*) DESC, name")
        return [str(name) for (name,) in names.fetchall()]


def _normalise(probabilities: FloatArray) -> None:
    """Scale the rows whose sum is not 1, as of probabilities that were rounded, in place."""
    totals = probabilities.sum(axis=1)
    rounded = np.abs(totals - 1.0) > EXACT
    probabilities[rounded] /= totals[rounded, None]


def _fill(values: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if values.dtype.kind == "f":
        return np.ma.filled(values, np.nan)
    if values.dtype.kind != "O":
        return np.ma.filled(values, 0)
    texts: NDArray[Any] = values.data.copy()
    texts[np.ma.getmaskarray(values)] = None
    return texts


def _indices(hashes: NDArray[Any], table: NDArray[np.uint64]) -> Indices:
    """Look up the index of each hash in the table, −1 where it is not there."""
    if not len(table):
        return np.full(len(hashes), -1, dtype=np.intp)
    order = np.argsort(table)
    at = np.minimum(np.searchsorted(table[order], hashes.astype(np.uint64)), len(table) - 1)
    indices: Indices = np.where(table[order][at] == hashes, order[at], -1)
    return indices
