"""A replay from end to end: targets learn in the order of the log; then every part; then the merge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Final

import numpy as np

from fairlead.experiments.logs.log import Log
from fairlead.experiments.logs.read import Part, Reader, attribute_names
from fairlead.experiments.ope.estimators import Tame, clip, shrink, switch
from fairlead.experiments.ope.tuning import slope
from fairlead.experiments.replay.partial_results import PartResult
from fairlead.experiments.replay.partition import OutcomeBatch, summarise_part
from fairlead.experiments.replay.rejection import add_rejection, play_by_rejection
from fairlead.experiments.replay.result import Replay
from fairlead.experiments.replay.settings import SLICES, ReplayJob, ReplaySettings, Tuning
from fairlead.experiments.replay.summary import make_result
from fairlead.experiments.simulation.pool import Pool, Tick, ignore
from fairlead.experiments.targets.base import check_target
from fairlead.experiments.targets.factory import make_target
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.types import FloatArray

TUNED: Final[dict[str, tuple[Tame, bool]]] = {
    "clipped-ips": (clip, False),
    "clipped-dr": (clip, True),
    "switch-dr": (switch, True),
    "shrunk-dr": (shrink, True),
}
"""The estimators whose λ can be chosen: how they tame weights, and whether a model is part of them."""

KEYS: Final = ("session_id", "session", "user_id", "user")
"""Attributes that usually hold what decisions are made alike for."""

_LOOKED_AT: Final = 10_000
_LISTED: Final = 30
"""Names of attributes that an error lists, the commonest."""

Progress = Callable[[str, int], Tick]
"""Begins a stage with a number of tasks, and returns the function to call when one is done."""


def replay(
    log: Log, settings: ReplaySettings, pool: Pool, *, progress: Progress = lambda stage, tasks: ignore
) -> Replay:
    """Judge the targets on the log, and return estimates, intervals, diagnostics and verdicts."""
    if not log.has_propensities:
        raise InvalidInput(_without_propensities(log.path))
    job = ReplayJob(log=log, settings=settings)
    _ = job.metrics  # refuses a log without rewards before any work is done
    for spec in settings.targets:
        check_target(spec, log)
    _check_attributes(log, settings)
    job = replace(job, keys=_keys(log, settings))
    every = range(len(settings.targets))
    learning = [i for i in every if settings.targets[i].learns]
    pool.map(learn_target, [(job, i) for i in learning], progress("learning from the log", len(learning)))
    tuning: list[Tuning] = [{} for _ in every]
    if settings.tune:
        tuning = pool.map(tune_target, [(job, i) for i in every], progress("tuning", len(every)))
    job = replace(job, tuning=tuple(tuning))
    parts = [(job, number, part) for number, part in enumerate(log.parts())]
    results = pool.map(judge_part, parts, progress("estimating", len(parts)))
    merged = reduce(PartResult.merge, [result for result in results if result is not None])
    result = make_result(job, merged)
    if not settings.rejection or not learning:
        return result
    smallest = merged.log.smallest_propensity
    if not smallest > 0.0:
        raise InvalidInput(
            f"{log.path} has propensities of 0 for eligible providers, so that no rejection can stand for a "
            "policy that would choose them: leave --rejection out, or log with a floor"
        )
    tasks = [(job, i, 1.0 / smallest) for i in learning]
    estimates = pool.map(play_by_rejection, tasks, progress("playing by rejection", len(tasks)))
    return add_rejection(result, dict(zip(learning, estimates, strict=True)))


def _keys(log: Log, settings: ReplaySettings) -> tuple[str, ...]:
    """Return the attributes whose decisions may have been drawn together, those usual ones that there are."""
    if settings.cluster is not None:
        return ()
    names = attribute_names(log, rows=_LOOKED_AT)
    return tuple(name for name in KEYS if name in names)


def _check_attributes(log: Log, settings: ReplaySettings) -> None:
    """Refuse to slice or cluster by what no row has."""
    asked = [name for name in settings.by if name not in SLICES]
    asked += [settings.cluster] if settings.cluster is not None else []
    names = attribute_names(log) if asked else []
    for name in asked:
        if name not in names:
            listed = ", ".join([*SLICES, *names[:_LISTED]])
            more = f" and {len(names) - _LISTED:,} more attributes" if len(names) > _LISTED else ""
            raise InvalidInput(
                f"{log.path} has no attribute {name!r} in any row to slice or cluster by: choose among "
                f"{listed}{more}"
            )


def _without_propensities(path: Path) -> str:
    return (
        f"{path} has no propensities, so nothing tells how likely each choice was, and a reward cannot be "
        "weighted to stand for another policy: log the distribution that choices are drawn from, declare "
        "known random splits with `fairlead import-log --weights`, or give --descriptive for what this log "
        "supports (means, cost by provider, and a biased model estimate)"
    )


def learn_target(job: ReplayJob, index: int) -> None:
    """Run a target that learns over the whole log, and keep its probabilities in the log's work folder."""
    with Reader(job.log) as reader:
        target = make_target(job.settings.targets[index], job.log, reader)
        for number, part in enumerate(job.log.parts()):
            probabilities = target.probabilities(reader.read(part, contexts=True))
            np.save(_work_file(job.log, index, number), probabilities, allow_pickle=False)


def _work_file(log: Log, index: int, number: int) -> Path:
    return log.folder / f"target-{index}-{number}.npy"


def judge_part(job: ReplayJob, number: int, part: Part) -> PartResult | None:
    """Judge every target on one part; None if all of its rows were left out."""
    every = range(len(job.settings.targets))
    with Reader(job.log) as reader:
        batch = reader.read(part, contexts=job.needs_contexts)
        if not len(batch):
            return None
        probabilities: list[FloatArray] = []
        for i in every:
            if job.settings.targets[i].learns:
                probabilities.append(np.load(_work_file(job.log, i, number), allow_pickle=False))
            else:
                target = make_target(job.settings.targets[i], job.log, reader)
                probabilities.append(target.probabilities(batch))
    return summarise_part(OutcomeBatch(job, number, batch), probabilities)


def tune_target(job: ReplayJob, index: int) -> Tuning:
    """Choose λ of every estimator that has one, by SLOPE on the quality of the first part."""
    spec = job.settings.targets[index]
    with Reader(job.log) as reader:
        batch = reader.read(job.log.parts()[0], contexts=job.needs_contexts)
        if spec.learns:
            probabilities = np.load(_work_file(job.log, index, 0), allow_pickle=False)
        else:
            probabilities = make_target(spec, job.log, reader).probabilities(batch)
    outcomes = OutcomeBatch(job, 0, batch, metrics=("reward",))
    if not len(outcomes.rows):
        return {}
    decisions = outcomes.logged_batch("reward", probabilities[outcomes.rows])
    return {
        name: slope(decisions, tame, model=with_model).lam
        for name, (tame, with_model) in TUNED.items()
        if name in job.settings.estimators
    }
