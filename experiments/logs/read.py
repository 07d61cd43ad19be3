"""Reading a part of a checked log into columns; each reader has a connection of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.batch import LogBatch, Places
from fairlead.experiments.logs.log import Log, task_sql
from fairlead.experiments.logs.source import bounded
from fairlead.optimizer.types import FloatArray

Part = tuple[int, int]


class Reader:
    """Reads parts of one log, in order within a part. Use it as a context, or close it."""

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
        return np.array(
            [row[0] for row in self._connection.execute(query, [list(names)]).fetchall()], dtype=np.uint64
        )

    def read(self, part: Part, *, contexts: bool = False) -> LogBatch:
        """The decisions of a part; with ``contexts`` also their features and attributes."""
        log = self._log
        where = f"FROM {log.relation} WHERE place >= {part[0]} AND place < {part[1]}"
        scalars = (
            f"row, seconds, hash({task_sql()}) AS task, hash(providers) AS listed, len(providers) AS length, "
            "list_position(providers, provider) AS chosen, coalesce(hash(served_provider), 0) AS served, "
            "served_provider IS NULL AS as_chosen, reward, cost_usd, latency_s, "
            "coalesce(status, 'ok') <> 'ok' AS failed"
        )
        if contexts:
            scalars += ", (context -> '$.attributes')::VARCHAR AS attributes"
        found = self._fetch(f"SELECT {scalars} {where}")
        keep = (
            ~np.isin(found["row"], log.bad_rows)
            if len(log.bad_rows)
            else np.ones(len(found["row"]), dtype=bool)
        )
        lists = {
            name: self._list(name, where, found["length"], keep)
            for name, there in (
                ("propensities", log.has_propensities),
                ("target_propensities", log.has_targets),
                ("reward_predictions", log.has_predictions),
            )
            if there
        }
        features = self._features(where, keep) if contexts and log.width else None
        return self._columns({name: values[keep] for name, values in found.items()}, lists, features)

    def _fetch(self, query: str) -> dict[str, NDArray[Any]]:
        """Columns by name, masked values as NaN where they are numbers and None where they are text."""
        found = self._connection.execute(query).fetchnumpy()
        return {name: _filled(values) for name, values in found.items()}

    def _list(self, name: str, where: str, length: NDArray[Any], keep: NDArray[np.bool_]) -> FloatArray:
        """The elements of the list of all kept rows, one after the other."""
        query = f"SELECT row, unnest({name}) AS element {where}"
        found = self._connection.execute(query).fetchnumpy()
        elements: FloatArray = _filled(found["element"])
        if keep.all():
            return elements
        return elements[~np.isin(found["row"], self._log.bad_rows)]

    def _features(self, where: str, keep: NDArray[np.bool_]) -> FloatArray:
        return self._list("features", where, keep, keep).reshape(-1, self._log.width)

    def _columns(
        self, found: dict[str, NDArray[Any]], lists: dict[str, FloatArray], features: FloatArray | None
    ) -> LogBatch:
        log, n = self._log, len(found["row"])
        eligible = np.zeros((n, len(log.providers)), dtype=bool)
        matrices = {name: np.zeros(eligible.shape) for name in lists}
        provider: Places = np.empty(n, dtype=np.intp)
        ends = np.cumsum(found["length"])
        listed, which = np.unique(found["listed"], return_inverse=True)
        for i, key in enumerate(listed.tolist()):
            rows = np.flatnonzero(which == i)
            places = np.array(log.sets[int(key)], dtype=np.intp)
            eligible[rows[:, None], places] = True
            provider[rows] = places[found["chosen"][rows].astype(np.intp) - 1]
            elements = (ends[rows] - len(places))[:, None] + np.arange(len(places))
            for name, values in lists.items():
                matrices[name][rows[:, None], places] = values[elements.astype(np.intp)]
        served = np.where(found["as_chosen"], provider, _places(found["served"], self._served))
        return LogBatch(
            row=found["row"].astype(np.int64),
            decided_at_s=found["seconds"].astype(np.float64),
            task=_places(found["task"], log.task_hashes),
            provider=provider,
            served=served,
            eligible=eligible,
            propensities=matrices.get("propensities"),
            reward=found["reward"],
            cost_usd=found["cost_usd"],
            latency_s=found["latency_s"],
            failed=found["failed"].astype(np.bool_),
            target_propensities=matrices.get("target_propensities"),
            reward_predictions=matrices.get("reward_predictions"),
            features=features,
            attributes=found.get("attributes"),
            tasks=log.tasks,
        )


def _filled(values: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if values.dtype.kind == "f":
        return np.ma.filled(values, np.nan)
    if values.dtype.kind != "O":
        return np.ma.filled(values, 0)
    texts: NDArray[Any] = values.data.copy()
    texts[np.ma.getmaskarray(values)] = None
    return texts


def _places(hashes: NDArray[Any], known: NDArray[np.uint64]) -> Places:
    """The place of each hash among the known ones, −1 where it is not among them."""
    if not len(known):
        return np.full(len(hashes), -1, dtype=np.intp)
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known[order], hashes.astype(np.uint64)), len(known) - 1)
    places: Places = np.where(known[order][at] == hashes, order[at], -1)
    return places
