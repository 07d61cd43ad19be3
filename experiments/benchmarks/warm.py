"""Section 1: the three-provider protocol of ParetoBandit (arXiv 2604.00136).

Learn through `val` in random order, keep learning through `test`, score `test`; seven budgets between the
mean costs of the cheapest and the dearest provider on `val`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from fairlead.experiments.benchmarks.peers import play_paretobandit
from fairlead.experiments.benchmarks.report import Row, Section
from fairlead.experiments.benchmarks.tables import (
    OURS,
    PEER,
    PLAIN,
    THREE,
    Options,
    of,
    per_budget,
    per_seed,
    value,
)
from fairlead.experiments.simulation.records import Record
from fairlead.experiments.simulation.run import simulate
from fairlead.experiments.simulation.scenario import Settings, goals
from fairlead.experiments.tables.outcome_table import OutcomeTable

_SEEDS: Final = 20
_BUDGETS: Final = 7
_ROUNDS: Final = 505_000
_PUBLISHED: Final = 0.8762
_PUBLISHED_MIX: Final = 0.8785


def warm(options: Options) -> Section:
    """Measure quality over the budgets, utilisation and lift at each, and the time of it all."""
    table = options.table("paretobandit", providers=THREE)
    settings = Settings(
        policies=(OURS,),
        budget_count=_BUDGETS,
        warmup_split="val",
        score_split="test",
        seeds=options.seed_count(_SEEDS),
    )
    if options.budgets is not None:
        grid = goals(table, settings)[-options.budgets :]
        settings = replace(
            settings, budget_count=None, budgets_usd=tuple(goal.budget_usd or 0.0 for goal in grid)
        )
    section = Section(number=1, title=f"ParetoBandit's protocol, {settings.seeds} seeds")
    started = time.perf_counter()
    result = simulate(table, settings, jobs=options.jobs)
    seconds = time.perf_counter() - started
    _own_rows(section, of(result.records, OURS), options)
    _peer_rows(section, table, settings, options=options)
    if result.supervised is not None:
        points = result.supervised.points
        mean = sum(point.mean_quality for point in points) / len(points)
        section.rows.append(Row(name="supervised reference", measured=mean))
    section.rows.append(Row(name="oracle", measured=sum(result.oracle) / len(result.oracle)))
    rounds = settings.seeds * len(result.goals) * len(table)
    _time(section, seconds, rounds, jobs=options.jobs)
    return section


def _own_rows(section: Section, ours: list[Record], options: Options) -> None:
    quality, lift, used = value("mean_quality"), value("lift"), value("utilisation")
    if options.budgets is None:
        section.at_least("Fairlead: mean quality over the budgets", per_seed(ours, quality), 0.886)
    else:
        section.show("Fairlead: mean quality over the budgets", per_seed(ours, quality))
        section.notes.append(f"Only {options.budgets} of {_BUDGETS} budgets: no target applies to the mean.")
    section.no_less_than_zero("Fairlead: mean lift", per_seed(ours, lift))
    for budget, values in per_budget(ours, used).items():
        section.at_most(f"utilisation at ${budget:.2e}", values, 1.02)
        section.no_less_than_zero(f"lift at ${budget:.2e}", per_budget(ours, lift)[budget])
    _compare(section, ours, "best fixed mix at Fairlead's spend", what="best_fixed_mix_at_spend")


def _peer_rows(section: Section, table: OutcomeTable, settings: Settings, *, options: Options) -> None:
    peers = simulate(table, replace(settings, policies=PLAIN, supervised=False), jobs=options.jobs)
    for name in PLAIN:
        _compare(section, of(peers.records, name), f"{name}: mean quality", what="mean_quality")
        _compare(section, of(peers.records, name), f"{name}: mean lift", what="lift")
    played, note = play_paretobandit(options, table, settings)
    section.notes += note
    if played:
        _compare(section, played, f"{PEER}, same features, cold: mean quality", what="mean_quality")
        _compare(section, played, f"{PEER}: mean lift", what="lift")
        _compare(section, played, f"{PEER}: mean utilisation", what="utilisation")
    if options.budgets is None:
        section.rows.append(Row(name=f"{PEER}, published, its own features", measured=_PUBLISHED))
        section.rows.append(Row(name="best fixed mix at its spend, published", measured=_PUBLISHED_MIX))


def _time(section: Section, seconds: float, rounds: int, *, jobs: int) -> None:
    full = seconds * _ROUNDS / rounds
    name = f"seconds for {_ROUNDS:,} rounds in {jobs} processes"
    if rounds >= _ROUNDS:
        section.at_most(name, [full], 90.0, digits=1)
    else:  # what is done once per run, such as the supervised reference, weighs too much here
        section.rows.append(Row(name=f"{name}, extrapolated from {rounds:,}", measured=full, digits=1))


def _compare(section: Section, records: list[Record], name: str, *, what: str) -> None:
    section.show(name, per_seed(records, value(what)))
