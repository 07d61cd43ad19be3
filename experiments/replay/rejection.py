"""Targets that learn, played through the log by rejection: they learn from their own decisions alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.log import Log
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.ope.intervals import Estimate, asymptotic
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.rejection import replay_learning
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.replay.result import Replay
from fairlead.experiments.replay.settings import ReplaySettings
from fairlead.experiments.targets.base import LearningTarget
from fairlead.experiments.targets.factory import make_target
from fairlead.optimizer.types import FloatArray

REJECTION: Final = "rejection (learning)"
"""What the estimate is called among those of the other estimators."""


@dataclass(frozen=True)
class _AlongPart:
    """A target as `replay_learning` plays it, through the decisions ``rows`` of a part."""

    target: LearningTarget
    columns: LogBatch
    rows: NDArray[np.intp]

    def probabilities(self, row: int) -> FloatArray:
        return self.target.answer(self.columns, int(self.rows[row]))

    def learn(self, row: int, action: int, reward: float) -> None:
        self.target.learn(self.columns, int(self.rows[row]))


def rejected(log: Log, settings: ReplaySettings, place: int, largest_weight: float) -> Estimate | None:
    """Quality of a target that learns as it goes, over the decisions that rejection keeps; None if none.

    Its ``n`` is how many those are. `ope.rejection.replay_learning` says how they are chosen.
    """
    moments: Moments | None = None
    with Reader(log) as reader:
        target = make_target(settings.targets[place], log, reader)
        for number, part in enumerate(log.parts()):
            columns = reader.read(part, contexts=True)
            rows = np.flatnonzero(np.isfinite(columns.reward))
            if not len(rows):
                continue
            assert columns.propensities is not None
            action, reward = columns.provider[rows], columns.reward[rows]
            terms = replay_learning(
                _AlongPart(target, columns, rows),  # type: ignore[arg-type]
                reward=reward,
                action=action,
                propensity=columns.propensities[rows, action],
                draws=np.random.default_rng([settings.seed, place, number]).random(len(rows)),
                largest_weight=largest_weight,
            )
            assert terms.weight is not None
            kept = terms.weight > 0.0
            if kept.any():
                # Of the kept alone, so that few of them have a wide interval, and a single one has none.
                found = Moments.of(Terms(plain=reward[kept]))
                moments = found if moments is None else moments.merge(found)
    return None if moments is None else asymptotic(moments, level=settings.level)


def with_rejection(result: Replay, played: Mapping[int, Estimate | None]) -> Replay:
    """The result with what rejection found, by the place of each target that learns."""
    judged, notes = list(result.targets), list(result.notes)
    for place, estimate in played.items():
        one = judged[place]
        if estimate is None:
            notes.append(f"By rejection {one.label} kept none of the decisions, so it has no value.")
            continue
        quality = {**one.estimates["reward"], REJECTION: estimate}
        judged[place] = replace(one, estimates={**one.estimates, "reward": quality})
        notes.append(
            f"{one.label}, learning from its own decisions alone (rejection kept {estimate.n:,} of "
            f"{result.n:,}): quality {estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]."
        )
    return replace(result, targets=tuple(judged), notes=tuple(notes))
