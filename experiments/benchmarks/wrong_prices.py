"""Synthetic worlds in which price lists are wrong, answers are one token long, or a call has a fee.

Run with `python -m fairlead.experiments.benchmarks.wrong_prices`. Every world has the same requests, six
providers whose real costs span a factor of 130, and qualities that depend on the kind of request. What
differs is how calls are charged, and what the declared lists say of it. Two numbers judge a world: the
highest utilisation of any budget from the 300th request on, and the lift of the second half of the stream.
Costs come with the outcomes; in the worlds of usage, some calls or all report tokens only.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.simulation.pool import LocalPool, ProcessPool, Tick, ignore
from fairlead.experiments.simulation.records import measure
from fairlead.experiments.simulation.run import play
from fairlead.experiments.simulation.scenario import ListError, Settings, goals
from fairlead.experiments.simulation.stream import make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable

Matrix = NDArray[np.float64]

REQUESTS: Final = 1_500
SETTLED_AFTER: Final = 300
MOST_USED: Final = 1.05
LEAST_LIFT: Final = -0.002

_NAMES: Final = ("nano", "mini", "small", "medium", "large", "frontier")
_INPUT: Final = np.array([0.05, 0.15, 0.5, 1.0, 3.0, 10.0])
"""USD per million tokens, as is `_OUTPUT`."""
_OUTPUT: Final = np.array([0.4, 0.6, 1.5, 5.0, 15.0, 50.0])
_QUALITY: Final = np.array([0.55, 0.66, 0.71, 0.79, 0.85, 0.89])
_KINDS: Final = (
    ("summary", "Summarise the minutes of the meeting about the harbour and name who does what."),
    ("code", "Write a function that merges sorted streams of records, and test it on empty input."),
    ("support", "The invoice of my account was charged twice this month: what should I do now?"),
    ("proof", "Prove that the sum of the first odd numbers is a square, and find all exceptions."),
)
_KIND_EFFECT: Final = 0.03
_NOISE: Final = 0.12


@dataclass(frozen=True, kw_only=True)
class World:
    """How calls are charged, and by what factor the lists of some providers are wrong.

    `lengths` are mean output tokens per provider; None makes every answer one token long. `fee_usd` is
    charged per call, instead of tokens.
    """

    name: str
    lengths: tuple[float, ...] | None = (300.0,) * 6
    fees_usd: tuple[float, ...] | None = None
    errors: tuple[tuple[str, float], ...] = ()
    invoice_rate: float = 1.0

    @property
    def list_errors(self) -> tuple[ListError, ...]:
        """The errors of the lists, as a simulation takes them."""
        return tuple(ListError(provider=name, factor=factor) for name, factor in self.errors)


_TOO_HIGH: Final = (("mini", 1e3), ("large", 1e3))
_TOO_LOW: Final = (("small", 1e-3), ("frontier", 1e-3))
_BOTH: Final = (("medium", 1e3), ("frontier", 1e-3))
_FEES: Final = (1e-4, 2e-4, 5e-4, 2e-3, 5e-3, 2e-2)
_SPREAD: Final = (400.0, 60.0, 1_500.0, 50.0, 300.0, 90.0)
WORLDS: Final = (
    World(name="right lists"),
    World(name="1,000 x too high", errors=_TOO_HIGH),
    World(name="1,000 x too low", errors=_TOO_LOW),
    World(name="too high and too low", errors=_BOTH),
    World(name="the cheapest 1,000 x too high", errors=(("nano", 1e3),)),
    World(name="all 1,000 x too high", errors=tuple((name, 1e3) for name in _NAMES)),
    World(name="one-token answers", lengths=None),
    World(name="one-token answers, wrong lists", lengths=None, errors=_BOTH),
    World(name="fees per call", fees_usd=_FEES),
    World(name="fees per call, wrong lists", fees_usd=_FEES, errors=_BOTH),
    World(name="lengths that differ 30 x", lengths=_SPREAD),
    World(name="lengths that differ 30 x, wrong lists", lengths=_SPREAD, errors=_BOTH),
    World(name="usage only", lengths=_SPREAD, invoice_rate=0.0),
    World(name="half with usage only, wrong lists", errors=_BOTH, invoice_rate=0.5),
)


def world_table(world: World, *, requests: int = REQUESTS, seed: int = 0) -> OutcomeTable:
    """Draw the outcomes of one world; equal seeds give equal values."""
    rng = np.random.default_rng(seed)
    k = len(_NAMES)
    kind = rng.integers(len(_KINDS), size=requests)
    effect = _KIND_EFFECT * rng.standard_normal((len(_KINDS), k))
    effect -= effect.mean(axis=0)
    hard = _NOISE * rng.standard_normal((requests, 1))
    noise = _NOISE * rng.standard_normal((requests, k))
    quality = np.clip(_QUALITY + effect[kind] + hard + noise, 0.0, 1.0)
    words = rng.integers(3, 60, size=requests)
    prompts = [
        f"{_KINDS[which][1]} {' '.join(f'item{i * 7919 % 97}' for i in range(count))}"
        for which, count in zip(kind.tolist(), words.tolist(), strict=True)
    ]
    tokens_in = np.array([math.ceil(len(text) / 4.0) for text in prompts], dtype=np.float64)
    inputs = np.repeat(tokens_in[:, None], k, axis=1)
    outputs = np.ones((requests, k))
    if world.lengths is not None:
        spread = 0.6 * rng.standard_normal((requests, k)) + 0.4 * rng.standard_normal((requests, 1))
        outputs = np.maximum(np.rint(np.array(world.lengths) * np.exp(spread - 0.26)), 1.0)
    cost = (inputs * _INPUT + outputs * _OUTPUT) / 1e6
    if world.fees_usd is not None:
        cost = np.repeat(np.array(world.fees_usd)[None], requests, axis=0)
    order = np.argsort(cost.mean(axis=0), kind="stable")
    return OutcomeTable(
        providers=tuple(_NAMES[j] for j in order),
        prompt_ids=tuple(f"w{i}" for i in range(requests)),
        splits=np.full(requests, None, dtype=object),
        tasks=tuple(_KINDS[which][0] for which in kind.tolist()),
        prompts=tuple(prompts),
        quality=quality[:, order],
        cost_usd=cost[:, order],
        latency_s=np.full((requests, k), np.nan),
        input_tokens=inputs[:, order],
        output_tokens=outputs[:, order],
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: budget, utilisation from the 300th request on, and lift of the second half."""

    budget_usd: float
    used: float
    lift: float


def play_world(
    world: World,
    seed: int,
    *,
    requests: int = REQUESTS,
    budgets: Sequence[int] = range(5),
    tick: Tick = ignore,
) -> list[Run]:
    """Play one world at its budgets, as `simulate` sets them: the stream and the dice follow the seed."""
    table = world_table(world, requests=requests, seed=seed)
    settings = Settings(
        seeds=1,
        first_seed=seed,
        supervised=False,
        features="surface",
        list_errors=world.list_errors,
        invoice_rate=world.invoice_rate,
    )
    stream = make_stream(table, settings, seed)
    runs = []
    every = goals(table, settings)
    for goal in (every[i] for i in budgets):
        trace = play(table, settings, stream, policy="default", goal=goal, tick=tick)
        record = measure(table, settings, stream, policy="default", goal=goal, columns=trace.columns)
        spent = stream.cost_usd[np.arange(len(stream)), trace.columns]
        budget = goal.budget_usd or math.nan
        used = float(spent[SETTLED_AFTER:].mean()) / budget
        lift = record.values["lift_second_half"]
        runs.append(Run(budget_usd=budget, used=used, lift=math.nan if lift is None else lift))
    return runs


def wrong_prices(worlds: Sequence[World], *, seeds: Sequence[int], jobs: int = 1) -> Section:
    """Measure the worlds: a row for utilisation and one for lift each, and every budget for comparison."""
    section = Section(number=8, title="Price lists that are wrong")
    pool = ProcessPool(jobs) if jobs > 1 else LocalPool()
    for world in worlds:
        tasks = [(seed,) for seed in seeds]
        runs = pool.map(play_world, tasks, ignore, shared=(world,), reports=True)
        used = np.array([[each.used for each in run] for run in runs])
        lift = np.array([[each.lift for each in run] for run in runs])
        at = int(used.mean(axis=0).argmax())
        name = f"{world.name}: highest utilisation from request {SETTLED_AFTER} on (budget {at + 1} of 5)"
        section.at_most(name, used[:, at].tolist(), MOST_USED)
        section.at_least(f"{world.name}: second-half lift", lift.mean(axis=1).tolist(), LEAST_LIFT)
        each = ", ".join(f"{value:.4f}" for value in lift.mean(axis=0))
        uses = ", ".join(f"{value:.3f}" for value in used.mean(axis=0))
        section.notes.append(f"{world.name}, by budget: lift {each}; utilisation {uses}.")
    section.notes.append(f"Seeds {seeds[0]} to {seeds[-1]}, {REQUESTS} requests each.")
    return section


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the worlds whose names are asked for, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m fairlead.experiments.benchmarks.wrong_prices", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds per world (5)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="the first of them (0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--worlds", default="", metavar="TEXT", help="only worlds whose name has this")
    chosen = parser.parse_args(arguments)
    worlds = [world for world in WORLDS if chosen.worlds in world.name]
    if not worlds:
        names = ", ".join(world.name for world in WORLDS)
        parser.error(f"no world has {chosen.worlds!r} in its name: choose among {names}")
    started = time.perf_counter()
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    section = wrong_prices(worlds, seeds=seeds, jobs=chosen.jobs)
    section.seconds = time.perf_counter() - started
    print(section.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
