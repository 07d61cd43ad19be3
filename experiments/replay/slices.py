"""The slice of the traffic that a decision belongs to: its task, its week, or the value of an attribute."""

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


def slices(batch: LogBatch, by: str) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Cut decisions into slices; yields the name of each and the indices of its decisions."""
    names, slice_of = np.unique(np.array(_labels(batch, by), dtype=object), return_inverse=True)
    for i, name in enumerate(names.tolist()):
        yield str(name), np.flatnonzero(slice_of == i)


def _labels(batch: LogBatch, by: str) -> list[str]:
    if by == "task":
        return [batch.tasks[task] if task >= 0 else WITHOUT for task in batch.task.tolist()]
    if by == "week":
        return [_week(at_s) for at_s in batch.decided_at_s.tolist()]
    texts = batch.attributes if batch.attributes is not None else [None] * len(batch)
    return [_shown(json.loads(text).get(by)) if text else WITHOUT for text in texts]


def _week(at_s: float) -> str:
    year, week, _ = datetime.fromtimestamp(at_s, UTC).isocalendar()
    return f"{year}-W{week:02d}"


def _shown(value: object) -> str:
    if value is None:
        return WITHOUT
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def time_bucket(batch: LogBatch, log: Log) -> Indices:
    """Find the one of `TIME_BUCKETS` equal spans of the log that each decision falls into."""
    span = max(log.last_s - log.first_s, 1e-9)
    bucket = ((batch.decided_at_s - log.first_s) / span * TIME_BUCKETS).astype(np.intp)
    return np.minimum(bucket, TIME_BUCKETS - 1)
