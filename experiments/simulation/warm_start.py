"""What a simulated router knows before its first request: labelled prompts, not part of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.simulation.scenario import Matrix, Settings, split_rows
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.types import Context, Evidence
from fairlead.optimizer.types.evidence import MOST_ROWS

_SOURCE = "warm start"


@dataclass(frozen=True, kw_only=True, eq=False)
class WarmStart:
    """Labelled prompts: m contexts and their outcomes, (4, m, k), by provider of the table.

    ``rows`` of the table are not part of the stream.
    """

    rows: NDArray[np.intp]
    contexts: tuple[Context, ...]
    outcomes: NDArray[np.float64]

    def evidence(
        self, features: Matrix, names: Sequence[str], columns: Sequence[int], *, seq: int
    ) -> Evidence:
        """Say what is known of some columns of the table, whose names are ``names``."""
        outcomes = np.ascontiguousarray(self.outcomes[:, :, list(columns)])
        return Evidence(
            seq=seq,
            source=f"{_SOURCE} {seq}",
            providers=tuple(names[column] for column in columns),
            features=features,
            outcomes=outcomes,
            counts=np.ones(outcomes.shape[1:]),
            input_tokens=np.array([context.tokens for context in self.contexts]),
        )


def warm_start(table: OutcomeTable, settings: Settings, rng: np.random.Generator) -> WarmStart | None:
    """Return what is known before the first request of a stream; None without a warm start.

    Prompts of the table come from the warm-up split, if there is one. Of another table's, no more are drawn
    than a route keeps of one source.
    """
    source, count = table, settings.warm_start_prompts
    if settings.warm_start is not None:
        source = settings.warm_start
        rows, count = np.arange(len(source)), min(len(source), MOST_ROWS)
    else:
        warm, scored = split_rows(table, settings)
        rows = warm if len(warm) else scored
    if not count:
        return None
    rows = np.sort(rng.choice(rows, count, replace=False))
    outcomes = np.full((4, count, len(table.providers)), np.nan)
    matrices = (source.quality, source.output_tokens, source.cost_usd, source.latency_s)
    for target, matrix in zip(outcomes, matrices, strict=True):
        for column, name in enumerate(table.providers):
            if name in source.providers:
                target[:, column] = matrix[rows, source.providers.index(name)]
    return WarmStart(
        rows=rows if source is table else rows[:0],
        contexts=tuple(source.context(row) for row in rows.tolist()),
        outcomes=outcomes,
    )
