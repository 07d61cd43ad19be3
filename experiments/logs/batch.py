"""A part of a log as arrays: everything that an estimator or a target policy reads of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.log import ProviderFacts
from fairlead.optimizer.types import Context, FloatArray

Indices = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class LogBatch:
    """n decisions over the k providers of a log, in the order of the log.

    ``row`` counts from 1 as the file does. ``provider`` (drawn) and ``served`` (answered) are columns of the
    matrices; ``served`` is −1 for a provider that the log never lists. ``eligible`` and ``propensities`` have
    shape (n, k); ineligible providers have propensity 0. ``reward`` in [0, 1], ``cost_usd`` and ``latency_s``
    are NaN where unknown, but the reward of a call that ``failed`` is the log's failure reward.
    ``propensities``, ``target_propensities`` and ``reward_predictions`` are None if the log has none.
    ``task`` indexes ``tasks``, −1 for none. ``attributes`` hold JSON texts or None, and
    ``routes`` names or None; both are there only if they were read.

    >>> import numpy as np
    >>> two = np.array([0.0, 1.0])
    >>> batch = LogBatch(
    ...     row=np.array([1, 2]), decided_at_s=two, task=np.array([0, -1]), provider=np.array([1, 0]),
    ...     served=np.array([1, 0]), eligible=np.ones((2, 2), bool), propensities=np.full((2, 2), 0.5),
    ...     reward=two, cost_usd=two, latency_s=two, failed=np.zeros(2, bool), tasks=("faq",))
    >>> len(batch), batch.contexts()[0].task, batch.select(batch.reward > 0.5).row.tolist()
    (2, 'faq', [2])
    """

    row: NDArray[np.int64]
    decided_at_s: FloatArray
    task: Indices
    provider: Indices
    served: Indices
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
    routes: NDArray[np.object_] | None = None
    tasks: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the decisions."""
        return len(self.row)

    def contexts(self) -> list[Context]:
        """Make the contexts that an encoder takes; attributes only if the batch was read with them."""
        texts: list[Any] = [None] * len(self) if self.attributes is None else self.attributes.tolist()
        return [
            Context(
                task=self.tasks[task] if task >= 0 else None,
                attributes=json.loads(text) if text else {},
            )
            for task, text in zip(self.task.tolist(), texts, strict=True)
        ]

    def counted(
        self, metrics: Sequence[str], *, facts: Sequence[ProviderFacts], draws: FloatArray
    ) -> Indices:
        """Return the indices of the decisions that estimates of these metrics rest on.

        Those are the answered calls of which all of ``metrics``, `reward` first, are known. A failed call has
        its quality without anybody's judgement, so it counts with the share of its
        provider's answered calls that do, by the
        ``facts`` of the log: else failures would outweigh the answers that nobody judged. ``draws`` (n,), in
        [0, 1), say which do.
        """
        shares = _counted_shares(facts, tuple(metrics[1:]))
        is_whole = np.logical_and.reduce([np.isfinite(getattr(self, metric)) for metric in metrics])
        return np.flatnonzero(np.where(self.failed, draws < shares[self.provider], is_whole))

    def select(self, rows: NDArray[Any]) -> LogBatch:
        """Return the decisions at these indices, or where the mask is true."""
        arrays = {name: value[rows] for name, value in self.__dict__.items() if isinstance(value, np.ndarray)}
        return replace(self, **arrays)


def _counted_shares(facts: Sequence[ProviderFacts], others: tuple[str, ...]) -> FloatArray:
    """Share of each provider's answered calls that have a reward and these other outcomes, shape (k,).

    A provider that never answered has the share of all.
    """
    counts = [fact.judged_with[others] if others else fact.judged for fact in facts]
    counted = np.array(counts, dtype=np.float64)
    answered = np.array([fact.answered for fact in facts], dtype=np.float64)
    overall = counted.sum() / max(answered.sum(), 1.0)
    return np.where(answered > 0.0, counted / np.maximum(answered, 1.0), overall)
