"""Section 4: a tenth of the feedback, and feedback that comes 500 decisions late."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.benchmarks.tables import (
    OURS,
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
from fairlead.experiments.simulation.scenario import Settings
from fairlead.experiments.tables.outcome_table import OutcomeTable

_SEEDS: Final = 10


def feedback(options: Options) -> Section:
    """Lift and the highest utilisation of any budget, per table and kind of feedback."""
    seeds = options.seed_count(_SEEDS)
    section = Section(number=4, title=f"Scarce and late feedback, {seeds} seeds")
    warmed = Settings(
        policies=(OURS,),
        budget_count=7,
        warmup_split="val",
        score_split="test",
        seeds=seeds,
        supervised=False,
    )
    plain = Settings(policies=(OURS,), seeds=seeds, supervised=False)
    for name, settings in (("paretobandit", warmed), ("logparse", plain)):
        try:
            table = options.table(
                name, providers=THREE if name == "paretobandit" else None, distinct=name == "logparse"
            )
        except DataMissing as missing:
            section.notes.append(f"Skipped: {missing}")
            continue
        _both(section, name, table, settings=settings, jobs=options.jobs)
    return section


def _both(section: Section, name: str, table: OutcomeTable, *, settings: Settings, jobs: int) -> None:
    for label, changed in (
        ("10 % of feedback", replace(settings, feedback_rate=0.1)),
        ("500 decisions late", replace(settings, feedback_delay=500)),
    ):
        ours = of(simulate(table, changed, jobs=jobs).records, OURS)
        section.no_less_than_zero(f"{name}, {label}: mean lift", per_seed(ours, value("lift")))
        budget, used = highest(per_budget(ours, value("utilisation")))
        section.at_most(f"{name}, {label}: highest utilisation (at ${budget:.2e})", used, 1.02)
