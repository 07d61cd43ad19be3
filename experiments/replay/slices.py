"""Which slice of the traffic a decision belongs to: its task, its week, or the value of an attribute."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.batch import Indices, LogBatch
from fairlead.experiments.logs.log import Log

WITHOUT: Final = "(none)"
MOST_SLICES: Final = 50
TIME_BUCKETS: Final = 24


def slices(columns: LogBatch, by: str) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """The slices of some decisions by name, each with the places of its decisions."""
    names, which = np.unique(np.array(_labels(columns, by), dtype=object), return_inverse=True)
    for i, name in enumerate(names.tolist()):
        yield str(name), np.flatnonzero(which == i)


def _labels(columns: LogBatch, by: str) -> list[str]:
    if by == "task":
        return [columns.tasks[task] if task >= 0 else WITHOUT for task in columns.task.tolist()]
    if by == "week":
        return [_week(at_s) for at_s in columns.decided_at_s.tolist()]
    texts = columns.attributes if columns.attributes is not None else [None] * len(columns)
    return [_shown(json.loads(text).get(by)) if text else WITHOUT for text in texts]


def _week(at_s: float) -> str:
    year, week, _ = datetime.fromtimestamp(at_s, UTC).isocalendar()
    return f"{year}-W{week:02d}"


def _shown(value: object) -> str:
    if value is None:
        return WITHOUT
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def time_bucket(columns: LogBatch, log: Log) -> Indices:
    """Which of `TIME_BUCKETS` equal spans of the log each decision falls into."""
    span = max(log.last_s - log.first_s, 1e-9)
    place = ((columns.decided_at_s - log.first_s) / span * TIME_BUCKETS).astype(np.intp)
    return np.minimum(place, TIME_BUCKETS - 1)
