"""Coverage of whole replays: `python -m fairlead.experiments.benchmarks.replay_coverage`.

Logs are written as `fairlead simulate --log` writes them, by a router that explores and learns, from prompts
drawn anew from a table whose every outcome is known, and replayed as `fairlead replay` does. Counted is how
often the truth lies inside the intervals, and how often a verdict is wrong.

Truths: of a target that does not learn, its quality over the whole table. Of one that learns, and of every
gain over the logging policy (which learns), what the probabilities would have earned on the very prompts of
the log; such intervals are a little too wide, since they also allow for other prompts.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from fairlead.experiments.benchmarks.known_world import World, make_world
from fairlead.experiments.benchmarks.report import Row, Section
from fairlead.experiments.benchmarks.tables import DataMissing, Options, data_folder
from fairlead.experiments.logs.log import Log, open_log
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.logs.write import Line, write_log
from fairlead.experiments.ope.betting import METHOD
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.ope.validation import Integers, Matrix
from fairlead.experiments.replay.result import TargetResult
from fairlead.experiments.replay.run import replay
from fairlead.experiments.replay.settings import ReplaySettings
from fairlead.experiments.simulation.pool import LocalPool
from fairlead.experiments.simulation.run import simulated_lines
from fairlead.experiments.simulation.scenario import Goal, Settings
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.experiments.targets.base import TargetSpec
from fairlead.experiments.targets.factory import make_target

TABLES: Final = ("logparse", "paretobandit")
ESTIMATORS: Final = ("dr",)
_POLICY: Final = "epsilon-greedy:0.4"
_GOAL: Final = Goal(wtp_usd=0.01)
_PLAYED: Final = Settings(wtp_usd=(0.01,), features="surface", task_labels=True)

# By interval, and "wrong verdict": whether it held the truth (was wrong), and its width.
Held = dict[str, tuple[bool, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """A table in which every provider served every prompt, and the true values that follow from it."""

    table: OutcomeTable
    world: World

    @classmethod
    def of(cls, table: OutcomeTable) -> Population:
        """Take the complete prompts of a table."""
        complete = chosen(table, np.flatnonzero(table.available.all(axis=1)), table.prompt_ids)
        return cls(table=complete, world=make_world(table))

    def targets(self) -> tuple[TargetSpec, ...]:
        """List the targets: three that do not learn, `column` being greedy by a model, and one that does."""
        best = self.table.providers[int(self.table.quality.mean(axis=0).argmax())]
        return tuple(TargetSpec(name=name) for name in ("uniform", f"fixed:{best}", "column", "greedy"))


def chosen(table: OutcomeTable, rows: Integers, names: Sequence[str]) -> OutcomeTable:
    """Select rows of the table, perhaps repeatedly; `names` are the ids of its prompts."""
    matrices = ("quality", "cost_usd", "latency_s", "input_tokens", "output_tokens", "splits")
    indices = rows.tolist()
    repeated = len(set(indices)) < len(indices)
    return replace(
        table,
        prompt_ids=tuple(f"{names[row]}/{i}" if repeated else names[row] for i, row in enumerate(indices)),
        tasks=tuple(table.tasks[row] for row in indices),
        prompts=tuple(table.prompts[row] for row in indices),
        **{name: getattr(table, name)[rows] for name in matrices},
    )


def judge_replay(
    population: Population,
    specs: Sequence[TargetSpec],
    seed: int,
    *,
    folder: Path,
    decisions: int,
    resamples: int = 1_000,
) -> Mapping[str, Held]:
    """Write one log, replay it, and compare with the truth; by target."""
    rows_drawn = np.random.default_rng([seed, 6]).integers(len(population.table), size=decisions)
    table = chosen(population.table, rows_drawn, population.table.prompt_ids)
    row_of = dict(zip(table.prompt_ids, rows_drawn.tolist(), strict=True))
    path, rows = folder / "log.parquet", []

    def lines() -> Iterator[Line]:
        for line in simulated_lines(table, _PLAYED, policy=_POLICY, goal=_GOAL, seed=seed):
            rows.append(row_of[line["decision_id"]])
            chances = dict(
                zip(table.providers, population.world.targets["greedy"][rows[-1]].tolist(), strict=True)
            )
            yield {**line, "target_propensities": [chances[name] for name in line["providers"]]}

    write_log(path, lines())
    # The column's policy was made from other prompts.
    settings = ReplaySettings(targets=tuple(specs), seed=seed, resamples=resamples, trained_until_s=-math.inf)
    with open_log(path) as log:
        result = replay(log, settings, LocalPool())
        order = [population.table.providers.index(name) for name in log.providers]
        quality = population.world.quality[np.array(rows)][:, order]
        logged = _earned(log, None, quality)
        own = [_earned(log, spec, quality) for spec in specs]
    results = {}
    for spec, target, earned in zip(specs, result.targets, own, strict=True):
        truth = earned if spec.learns else _true_quality(population, spec)
        results[target.label] = _held(target, truth=truth, gain=earned - logged)
    return results


def _earned(log: Log, spec: TargetSpec | None, quality: Matrix) -> float:
    """Compute what a target's probabilities earn on the prompts of the log; the logging policy's for None."""
    total = 0.0
    with Reader(log) as reader:
        target = None if spec is None else make_target(spec, log, reader)
        for start, stop in log.parts():
            columns = reader.read((start, stop), contexts=True)
            chances = columns.propensities if target is None else target.probabilities(columns)
            assert chances is not None
            total += float((chances * quality[columns.row - 1]).sum())
    return total / log.rows


def _true_quality(population: Population, spec: TargetSpec) -> float:
    if spec.name.startswith("fixed:"):
        column = population.table.providers.index(spec.name.removeprefix("fixed:"))
        return float(population.table.quality[:, column].mean())
    return population.world.value("greedy" if spec.name == "column" else "uniform")


def _held(target: TargetResult, *, truth: float, gain: float) -> Held:
    intervals: dict[str, tuple[Estimate, float]] = {
        name: (target.estimates["reward"][name], truth) for name in ESTIMATORS
    }
    intervals[f"gain, {METHOD}"] = (target.intervals[METHOD], gain)
    held = {name: (e.low <= true <= e.high, e.high - e.low) for name, (e, true) in intervals.items()}
    wrong = {"promote": gain <= 0.0, "keep": gain > 0.0}.get(target.verdict.recommendation, False)
    return {**held, "wrong verdict": (wrong, 0.0)}


def replay_coverage(population: Population, name: str, *, logs: int, decisions: int) -> Section:
    """Judge so many logs of a table, and return a section of rows."""
    section = Section(number=6, title=f"Coverage through the whole replay: {name}")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fairlead-") as folder:
        results = [
            judge_replay(population, population.targets(), seed, folder=Path(folder), decisions=decisions)
            for seed in range(logs)
        ]
    for label in results[0]:
        for kind in results[0][label]:
            held = np.array([target[label][kind][0] for target in results], dtype=np.float64)
            share, width = float(held.mean()), float(np.mean([target[label][kind][1] for target in results]))
            text = (
                f"{label}, {kind}" if kind == "wrong verdict" else f"{label}, {kind}: mean width {width:.4f}"
            )
            error = float(np.sqrt(share * (1.0 - share) / logs))
            section.rows.append(Row(name=text, measured=share, error=error, digits=3))
    section.notes.append(
        f"{logs} logs of {decisions:,} decisions by {_POLICY}; shares of logs whose interval held the truth."
    )
    section.seconds = time.perf_counter() - started
    return section


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one section per table, as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m fairlead.experiments.benchmarks.replay_coverage")
    parser.add_argument("--logs", type=int, default=100, help="per table (default: 100)")
    parser.add_argument("--decisions", type=int, default=2_000, help="per log (default: 2000)")
    namespace = parser.parse_args(arguments)
    if namespace.logs < 1 or namespace.decisions < 100:
        parser.error("give at least 1 log of at least 100 decisions")
    options = Options(data=data_folder())
    for name in TABLES:
        try:
            table = options.table(name, distinct=name == "logparse")
        except DataMissing as missing:
            print(f"{name} is left out: {missing}")
            continue
        population = Population.of(table)
        section = replay_coverage(population, name, logs=namespace.logs, decisions=namespace.decisions)
        print(section.markdown(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
