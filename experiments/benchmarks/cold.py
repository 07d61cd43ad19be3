"""Section 2: cold start on four tables, text only, distinct prompts, against the supervised reference."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from fairlead.experiments.benchmarks.peers import play_paretobandit
from fairlead.experiments.benchmarks.report import Row, Section, mean_and_error
from fairlead.experiments.benchmarks.tables import (
    OURS,
    PEER,
    PLAIN,
    THREE,
    DataMissing,
    Options,
    highest,
    of,
    per_budget,
    per_seed,
    value,
)
from fairlead.experiments.simulation.run import simulate
from fairlead.experiments.simulation.scenario import Settings, goals

_SEEDS: Final = 10
_TABLES: Final = ("routerbench", "paretobandit", "logparse", "lookahead")
_SHARE: Final = 0.8
_LEAST_LOOKAHEAD: Final = -0.002
_LEAST_WHOLE: Final = -0.005


def cold(options: Options) -> Section:
    """Second-half lift as a share of the reference's, whole-stream lift, and utilisation once settled."""
    seeds = options.seed_count(_SEEDS)
    section = Section(number=2, title=f"Cold start on four tables, {seeds} seeds")
    for name in _TABLES:
        try:
            _add_rows(section, name, seeds, options=options)
        except DataMissing as missing:
            section.notes.append(f"Skipped: {missing}")
    return section


def _add_rows(section: Section, name: str, seeds: int, *, options: Options) -> None:
    table = options.table(name, providers=THREE if name == "paretobandit" else None, distinct=True)
    settings = Settings(policies=(OURS, *PLAIN), seeds=seeds)
    if options.budgets is not None:
        grid = goals(table, settings)[-options.budgets :]
        settings = replace(settings, budgets_usd=tuple(goal.budget_usd or 0.0 for goal in grid))
    result = simulate(table, settings, jobs=options.jobs)
    ours = of(result.records, OURS)
    late = per_seed(ours, value("lift_second_half"))
    mean, error = mean_and_error(late)
    reference = result.supervised.mean_lift if result.supervised is not None else math.nan
    if name == "lookahead":
        section.at_least(f"{name}: second-half lift", late, _LEAST_LOOKAHEAD)
    else:
        target = f"≥ {_SHARE * reference:.4f} (80 % of reference)"
        met = mean >= _SHARE * reference
        section.rows.append(
            Row(name=f"{name}: second-half lift", measured=mean, error=error, target=target, met=met)
        )
    section.show(f"{name}: lift of the supervised reference", [reference])
    section.show(f"{name}: share of the reference", [mean / reference], digits=2)
    section.at_least(f"{name}: whole-stream lift", per_seed(ours, value("lift")), _LEAST_WHOLE)
    budget, used = highest(per_budget(ours, value("utilisation_after_1000")))
    section.at_most(f"{name}: highest utilisation after 1,000 requests (at ${budget:.2e})", used, 1.05)
    for peer in PLAIN:
        values = per_seed(of(result.records, peer), value("lift_second_half"))
        section.show(f"{name}: second-half lift of {peer}", values)
    played, notes = play_paretobandit(options, table, replace(settings, policies=(OURS,)))
    section.notes += [note for note in notes if note not in section.notes]
    if played:
        values = per_seed(played, value("lift_second_half"))
        section.show(f"{name}: second-half lift of {PEER}", values)
