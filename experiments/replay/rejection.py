"""Playing targets that learn through the log by rejection: they learn from their own decisions alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.ope.intervals import Estimate, asymptotic
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.rejection import replay_learning
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.replay.partition import counted_rows
from fairlead.experiments.replay.result import Replay
from fairlead.experiments.replay.settings import ReplayJob
from fairlead.experiments.targets.base import LearningTarget
from fairlead.experiments.targets.factory import make_target
from fairlead.optimizer.types import FloatArray

REJECTION: Final = "rejection (learning)"
"""The name of the estimate among those of the other estimators."""


@dataclass(frozen=True)
class _PartOfTarget:
    """A target as `replay_learning` plays it, through the decisions ``rows`` of a part."""

    target: LearningTarget
    batch: LogBatch
    rows: NDArray[np.intp]

    def probabilities(self, row: int) -> FloatArray:
        return self.target.answer(self.batch, int(self.rows[row]))

    def learn(self, row: int, action: int, reward: float) -> None:
        self.target.learn(self.batch, int(self.rows[row]))


def play_by_rejection(job: ReplayJob, index: int, largest_weight: float) -> Estimate | None:
    """Estimate the quality of a target that learns as it goes, from the decisions that rejection keeps.

    The estimate's ``n`` is how many those are; None if there are none. `ope.rejection.replay_learning` says
    how they are chosen.
    """
    log, settings = job.log, job.settings
    moments: Moments | None = None
    with Reader(log) as reader:
        target = make_target(settings.targets[index], log, reader)
        for number, part in enumerate(log.parts()):
            batch = reader.read(part, contexts=True)
            rows = counted_rows(job, number, batch, metrics=("reward",))
            if not len(rows):
                continue
            assert batch.propensities is not None
            action, reward = batch.provider[rows], batch.reward[rows]
            terms = replay_learning(
                _PartOfTarget(target, batch, rows),  # type: ignore[arg-type]
                reward=reward,
                action=action,
                propensity=batch.propensities[rows, action],
                draws=np.random.default_rng([settings.seed, index, number]).random(len(rows)),
                largest_weight=largest_weight,
            )
            assert terms.weight is not None
            kept = terms.weight > 0.0
            if kept.any():
                # Of the kept alone, so that few of them have a wide interval, and a single one has none.
                kept_moments = Moments.of(Terms(plain=reward[kept]))
                moments = kept_moments if moments is None else moments.merge(kept_moments)
    return None if moments is None else asymptotic(moments, level=settings.level)


def add_rejection(result: Replay, estimates: Mapping[int, Estimate | None]) -> Replay:
    """Add the estimates by rejection, by the index of each target that learns, to the result."""
    targets, notes = list(result.targets), list(result.notes)
    for index, estimate in estimates.items():
        target = targets[index]
        if estimate is None:
            notes.append(f"By rejection {target.label} kept none of the decisions, so it has no value.")
            continue
        quality = {**target.estimates["reward"], REJECTION: estimate}
        targets[index] = replace(target, estimates={**target.estimates, "reward": quality})
        notes.append(
            f"{target.label}, learning from its own decisions alone (rejection kept {estimate.n:,} of "
            f"{result.n:,}): quality {estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]."
        )
    return replace(result, targets=tuple(targets), notes=tuple(notes))
