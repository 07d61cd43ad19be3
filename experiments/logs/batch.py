"""A part of a log as arrays, all that an estimator or a policy needs to know of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.types import Context, FloatArray

Places = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class LogBatch:
    """n decisions over the k providers of a log, in its order.

    ``row`` counts from 1 as the file does. ``provider`` and ``served`` are columns of the matrices, −1 for
    somebody who is not among the log's providers. ``eligible`` and ``propensities`` have shape (n, k); who is
    not eligible has propensity 0. ``reward`` in [0, 1], ``cost_usd`` and ``latency_s`` are NaN where unknown.
    ``propensities``, ``target_propensities`` and ``reward_predictions`` are None where the log has none.
    ``task`` is a place in the log's tasks, −1 for none.
    """

    row: NDArray[np.int64]
    decided_at_s: FloatArray
    task: Places
    provider: Places
    served: Places
    eligible: NDArray[np.bool_]
    propensities: FloatArray | None
    reward: FloatArray
    cost_usd: FloatArray
    latency_s: FloatArray
    failed: NDArray[np.bool_]
    target_propensities: FloatArray | None = None
    reward_predictions: FloatArray | None = None
    features: FloatArray | None = None
    attributes: NDArray[np.object_] | None = None
    tasks: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of decisions."""
        return len(self.row)

    def contexts(self) -> list[Context]:
        """What was known of each request, for an encoder; needs ``attributes``."""
        given: list[Any] = [None] * len(self) if self.attributes is None else self.attributes.tolist()
        return [
            Context(
                task=self.tasks[task] if task >= 0 else None,
                attributes=json.loads(text) if text else {},
            )
            for task, text in zip(self.task.tolist(), given, strict=True)
        ]

    def where(self, chosen: NDArray[Any]) -> LogBatch:
        """The decisions at these places, or where the mask is true."""
        arrays = {
            name: value[chosen] for name, value in self.__dict__.items() if isinstance(value, np.ndarray)
        }
        return replace(self, **arrays)
