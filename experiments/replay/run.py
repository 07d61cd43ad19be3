"""A replay from end to end: targets learn in the order of the log; then all parts; then the merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Final

import numpy as np

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.log import Log
from fairlead.experiments.logs.read import Part, Reader
from fairlead.experiments.ope.tuning import slope
from fairlead.experiments.ope.weights import Tame, clip, shrink, switch
from fairlead.experiments.replay.executors import Engine, Tick
from fairlead.experiments.replay.partial_results import PartResult, Tuning
from fairlead.experiments.replay.partition import decisions_of, evaluate, predictions
from fairlead.experiments.replay.rejection import rejected, with_rejection
from fairlead.experiments.replay.result import Replay
from fairlead.experiments.replay.settings import ReplaySettings, metrics_of, needs_contexts
from fairlead.experiments.replay.summary import summarised
from fairlead.experiments.targets.base import TargetSpec, check_target
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

Progress = Callable[[str, int], Tick]
"""Begins a stage of so many tasks, and gives what is told of each that is done."""


def quiet(stage: str, tasks: int) -> Tick:
    """No progress."""
    return lambda done: None


def replay(log: Log, settings: ReplaySettings, engine: Engine, *, progress: Progress = quiet) -> Replay:
    """Judge the targets on the log; see `result.Replay`."""
    if not log.has_propensities:
        raise InvalidInput(without_propensities(log.path))
    metrics_of(log)
    for spec in settings.targets:
        check_target(spec, log)
    learning = [(i, spec) for i, spec in enumerate(settings.targets) if spec.learns]
    learn_tasks = [(log, spec, i) for i, spec in learning]
    engine.map(learn, learn_tasks, progress("learning from the log", len(learn_tasks)))
    tuning: Sequence[Tuning] = [{} for _ in settings.targets]
    if settings.tune:
        tasks = [(log, settings, i) for i in range(len(settings.targets))]
        tuning = engine.map(tuned, tasks, progress("tuning", len(tasks)))
    parts = [(log, settings, number, part, tuning) for number, part in enumerate(log.parts())]
    found = engine.map(judge_part, parts, progress("estimating", len(parts)))
    whole = reduce(PartResult.merge, [one for one in found if one is not None])
    result = summarised(log, settings, whole, tuning)
    if not settings.rejection or not learning:
        return result
    if not whole.log.smallest > 0.0:
        raise InvalidInput(
            f"{log.path} has propensities of 0 for eligible providers, so that no rejection can stand for a "
            "policy that would choose them: leave --rejection out, or log with a floor"
        )
    by_rejection = [(log, settings, i, 1.0 / whole.log.smallest) for i, _ in learning]
    played = engine.map(rejected, by_rejection, progress("playing by rejection", len(by_rejection)))
    return with_rejection(result, dict(zip((i for i, _ in learning), played, strict=True)))


def without_propensities(path: Path) -> str:
    """Why importance weighting is refused, and what the log does support."""
    return (
        f"{path} has no propensities, so nothing tells how likely each choice was, and a reward cannot "
        "be weighted "
        "to stand for another policy: log the distribution that choices are drawn from, declare known random "
        "splits with `fairlead import-log --weights`, or give --descriptive for what this log supports "
        "(means, "
        "cost by provider, and a biased model estimate)"
    )


def _saved(log: Log, place: int, number: int) -> Path:
    return log.folder / f"target-{place}-{number}.npy"


def learn(log: Log, spec: TargetSpec, place: int) -> None:
    """Run a target that learns over the whole log, and keep its probabilities in the log's work folder."""
    with Reader(log) as reader:
        target = make_target(spec, log, reader)
        for number, part in enumerate(log.parts()):
            columns = reader.read(part, contexts=True)
            np.save(_saved(log, place, number), target.probabilities(columns), allow_pickle=False)


def judge_part(
    log: Log, settings: ReplaySettings, number: int, part: Part, tuning: Sequence[Tuning]
) -> PartResult | None:
    """One part with every target; None where all of its rows were left out."""
    columns, targets = _read(log, settings, number, part)
    return evaluate(columns, log, settings, number, targets, tuning) if len(columns) else None


def _read(log: Log, settings: ReplaySettings, number: int, part: Part) -> tuple[LogBatch, list[FloatArray]]:
    """A part, and every target's probabilities for it, shape (n, k): kept, or made from the columns."""
    found: list[FloatArray] = []
    with Reader(log) as reader:
        columns = reader.read(part, contexts=needs_contexts(settings, log))
        for i, spec in enumerate(settings.targets):
            if spec.learns:
                found.append(np.load(_saved(log, i, number), allow_pickle=False))
            else:
                found.append(make_target(spec, log, reader).probabilities(columns))
    return columns, found


def tuned(log: Log, settings: ReplaySettings, place: int) -> Tuning:
    """λ of every estimator that has one, by SLOPE on the quality of the first part."""
    columns, targets = _read(log, settings, 0, log.parts()[0])
    rows = np.flatnonzero(np.isfinite(columns.reward))
    probabilities = targets[place]
    if not len(rows):
        return {}
    valued = columns.select(rows)
    model = predictions(valued, log, settings, 0, ("reward",))["reward"]
    decisions = decisions_of(valued, "reward", probabilities[rows], model)
    return {
        name: slope(decisions, tame, model=with_model).lam
        for name, (tame, with_model) in TUNED.items()
        if name in settings.estimators
    }
