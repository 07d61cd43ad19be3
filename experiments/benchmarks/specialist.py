"""A provider that is best on one kind of task alone: how many routers find it.

    python -m fairlead.experiments.benchmarks.specialist

Five tasks come equally often. Every provider but one is equally good at all of them; the specialist is worse
than each of these at four and better than all at the fifth. It looks dominated after a dozen judgements, so
a router must keep asking it what it has hardly seen of it. Judgements are graded, within .1 of the quality,
or right and wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.experiments.benchmarks.report import Row, Section, mean_and_error
from fairlead.experiments.simulation.scenario import Matrix
from fairlead.optimizer.features import Encoder, TaskLabel
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Context, Feedback
from fairlead.optimizer.types.route import Provider, Route

TASKS: Final = 5
_WIDTH: Final = 64
_GRADED_NOISE: Final = 0.2
_LATEST: Final = 40
"""Requests of the specialist's task by which it is judged whether it was found."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The quality of the generalists at every task, and that of the specialist at four of them and at one."""

    name: str
    generalists: tuple[float, ...]
    elsewhere: float
    best: float
    graded: bool

    def quality(self) -> Matrix:
        """Mean quality, (k, TASKS); the specialist and its task come last."""
        quality = np.tile(np.array([*self.generalists, self.elsewhere])[:, None], (1, TASKS))
        quality[-1, -1] = self.best
        return quality


WORLDS: Final = (
    World(name="4 providers, graded", generalists=(0.7, 0.66, 0.62), elsewhere=0.55, best=0.9, graded=True),
    World(
        name="8 providers, graded",
        generalists=(0.7, 0.68, 0.66, 0.64, 0.62, 0.6, 0.58),
        elsewhere=0.55,
        best=0.9,
        graded=True,
    ),
    World(
        name="4 providers, right or wrong",
        generalists=(0.7, 0.66, 0.62),
        elsewhere=0.55,
        best=0.95,
        graded=False,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of one run."""

    share: float
    """Mean probability of the specialist over the latest requests of its task."""
    regret: float
    """Quality lost per request against the best provider of each task."""


def find_specialist(world: World, *, seed: int, rounds: int = 2_000) -> Found:
    """Play a new router in this world."""
    rng = np.random.default_rng(seed)
    quality = world.quality()[rng.permutation(len(world.generalists) + 1)]
    specialist, k = int(quality[:, -1].argmax()), len(quality)
    names = [f"p{i}" for i in range(k)]
    router = Router(
        Route(name="specialist", providers=tuple(Provider(name=name) for name in names)),
        encoder=Encoder([TaskLabel(width=_WIDTH)]),
    )
    tasks, draws, luck = rng.integers(TASKS, size=rounds), rng.random(rounds), rng.random((rounds, k))
    if world.graded:
        judged = quality[:, tasks].T + _GRADED_NOISE * (luck - 0.5)
    else:
        judged = (luck < quality[:, tasks].T).astype(np.float64)
    shares, lost = [], 0.0
    for step, task in enumerate(tasks.tolist()):
        decision = router.decide(Context(task=f"task {task}"), decision_id=str(step), draw=float(draws[step]))
        chosen = names.index(decision.selected)
        if task == TASKS - 1:
            shares.append(float(decision.probabilities[specialist]))
        lost += float(quality[:, task].max() - quality[chosen, task])
        router.learn(decision)
        router.learn(Feedback(decision_id=decision.id, value=float(judged[step, chosen])))
    return Found(share=float(np.mean(shares[-_LATEST:])), regret=lost / rounds)


def specialists(*, seeds: int, rounds: int, worlds: Sequence[World] = WORLDS) -> Section:
    """Count the runs in which the specialist has most of its task in the end."""
    section = Section(number=5, title=f"A specialist among generalists, {seeds} seeds, {rounds} requests")
    started = time.perf_counter()
    for world in worlds:
        runs = [find_specialist(world, seed=seed, rounds=rounds) for seed in range(seeds)]
        share, error = mean_and_error([float(run.share > 0.5) for run in runs])
        section.rows.append(
            Row(name=f"{world.name}: share of runs that find it", measured=share, error=error)
        )
        section.show(f"{world.name}: quality lost per request", [run.regret for run in runs])
    section.seconds = time.perf_counter() - started
    return section


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the results of all worlds."""
    parser = argparse.ArgumentParser(prog="python -m fairlead.experiments.benchmarks.specialist")
    parser.add_argument("--seeds", type=int, default=20, help="runs per world (20)")
    parser.add_argument("--rounds", type=int, default=2_000, help="requests per run (2,000)")
    asked = parser.parse_args(arguments)
    if asked.seeds < 1 or asked.rounds < 1:
        parser.error("give at least 1 seed and 1 round")
    print(specialists(seeds=asked.seeds, rounds=asked.rounds).markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
