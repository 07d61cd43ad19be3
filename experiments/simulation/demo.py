"""The demonstration: the router on a bundled synthetic table, with a price cut and an outage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fairlead.experiments.baselines.frontier import provider_means
from fairlead.experiments.files import bundled_path
from fairlead.experiments.simulation.records import fixed_mix, oracle_quality
from fairlead.experiments.simulation.run import play
from fairlead.experiments.simulation.scenario import Goal, PriceChange, QualityChange, Settings, goals
from fairlead.experiments.simulation.stream import Stream, make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable, read_outcome_table

TABLE: Final = "synthetic_support.parquet"
# The table holds neither change: the demonstration applies them while it plays the table.
DEMO_PRICE_CUT: Final = PriceChange(provider="synthetic/frontier", factor=0.3, step=1200)
DEMO_OUTAGE: Final = QualityChange(provider="synthetic/mini", value=0.05, from_step=2000, to_step=2400)
_REACTION: Final = 100
_PER: Final = 1000  # requests that amounts of money speak of

_Columns = NDArray[np.intp]


def demo_settings() -> Settings:
    """Return the settings: the two changes of the bundled table, and no supervised reference."""
    return Settings(
        seeds=1,
        supervised=False,
        price_changes=(DEMO_PRICE_CUT,),
        quality_changes=(DEMO_OUTAGE,),
    )


def run_demo(console: Console, *, seed: int = 0) -> None:
    """Play the router, chance and the dearest provider on the same requests, and print the comparison."""
    started = time.perf_counter()
    table, settings = read_outcome_table(bundled_path(TABLE)), demo_settings()
    goal_list = goals(table, settings)
    goal = goal_list[len(goal_list) // 2]
    console.print(
        f"{len(table):,} requests, {len(table.providers)} providers; synthetic data, no real model."
        f" Budget {_money(goal.budget_usd or 0.0)} per {_PER:,} requests; only the chosen "
        "provider's outcome is seen.",
        highlight=False,
    )
    stream = make_stream(table, settings, seed)
    # The dearest by its list price: the price cut that comes later is no reason to have chosen another.
    dearest = table.providers[-1]
    traces = {
        "router": play(table, settings, stream, policy="default", goal=goal).columns,
        "uniform": play(table, settings, stream, policy="uniform", goal=goal).columns,
        f"always {dearest}": play(table, settings, stream, policy=f"fixed:{dearest}", goal=goal).columns,
    }
    console.print(_comparison(stream, goal, traces))
    console.print(_who_serves(table, stream, traces["router"]))
    for sentence in sentences(table, stream, traces["router"]):
        console.print(f"• {sentence}", highlight=False)
    console.print(f"Took {time.perf_counter() - started:.1f} s.", style="dim", highlight=False)


def _money(usd: float) -> str:
    return f"{usd * _PER:.2f} USD"


def _earned(stream: Stream, columns: _Columns) -> tuple[float, float]:
    """Compute the mean quality and the mean cost in USD of the choices."""
    every = np.arange(len(stream))
    return float(stream.quality[every, columns].mean()), float(stream.cost_usd[every, columns].mean())


def _comparison(stream: Stream, goal: Goal, traces: dict[str, _Columns]) -> Table:
    mix = fixed_mix(stream.quality, stream.cost_usd)
    table = Table(title="What it earned", title_justify="left")
    for name in ("policy", "quality", f"USD per {_PER:,}", "best fixed mix at that spend", "lift"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, columns in traces.items():
        quality, cost = _earned(stream, columns)
        at_spend = mix.quality_at(cost)
        style = "bold" if name == "router" else ""
        row = (f"{quality:.3f}", f"{cost * _PER:.2f}", f"{at_spend:.3f}", f"{quality - at_spend:+.3f}")
        table.add_row(name, *row, style=style)
    best = oracle_quality(stream.quality, stream.cost_usd, goal)
    table.add_row("oracle, which knows all outcomes", f"{best:.3f}", f"{(goal.budget_usd or 0) * _PER:.2f}",
                  style="dim")  # fmt: skip
    return table


def _who_serves(table: OutcomeTable, stream: Stream, columns: _Columns) -> Table:
    """Tabulate the two providers that serve most of each task in the last third, when most is learned."""
    late = len(stream) * 2 // 3
    tasks = np.array([table.tasks[row] for row in stream.rows[late:]])
    shown = Table(title="What it learned: which provider serves which task (last third; tasks were hidden)",
                  title_justify="left")  # fmt: skip
    for name in ("task", "most", "next"):
        shown.add_column(name)
    for task in sorted(set(tasks.tolist())):
        share = np.bincount(columns[late:][tasks == task], minlength=len(table.providers))
        share = share / share.sum()
        first, second = np.argsort(-share, kind="stable")[:2]
        shown.add_row(task, *(f"{table.providers[j]} {share[j]:.0%}" for j in (first, second)))
    return shown


def sentences(table: OutcomeTable, stream: Stream, columns: _Columns) -> Iterator[str]:
    """Write what was saved, and how the router reacted to the price cut and the outage."""
    quality, cost = _earned(stream, columns)
    dear = len(table.providers) - 1
    top_cost, top_quality = (values[dear] for values in provider_means(stream.quality, stream.cost_usd))
    yield (
        f"Saved {1.0 - cost / top_cost:.0%} of the cost of always {table.providers[dear]}: "
        f"{_money(cost)} instead of {_money(top_cost)} per {_PER:,} requests, at quality {quality:.3f} "
        f"instead of {top_quality:.3f}."
    )
    mix = fixed_mix(stream.quality, stream.cost_usd)
    if quality <= mix.quality[-1]:
        needed = float(np.interp(quality, mix.quality, mix.cost_usd))
        yield (
            f"For that quality the best fixed mix takes {_money(needed)} per {_PER:,} requests "
            f"({needed / cost - 1.0:+.0%})."
        )
    else:
        yield f"No fixed mix reaches that quality: the best of them gets {mix.quality[-1]:.3f}."
    cut, outage = DEMO_PRICE_CUT, DEMO_OUTAGE
    column = table.providers.index(cut.provider)
    before = _share(columns[cut.step - 400 : cut.step], column)
    after = _share(columns[cut.step : cut.step + 400], column)
    yield (
        f"Price cut: {cut.provider} costs {cut.factor:.0%} from request {cut.step:,} on; its "
        f"share went from {before:.0%} to {after:.0%} within 400 requests."
    )
    column = table.providers.index(outage.provider)
    before = _share(columns[outage.from_step - 200 : outage.from_step], column)
    after = _share(columns[outage.from_step + _REACTION : outage.to_step], column)
    later = _share(columns[-200:], column)
    yield (
        f"Outage: {outage.provider} answers badly in requests {outage.from_step:,} to {outage.to_step:,}; "
        f"its share went from {before:.0%} to {after:.0%} from {_REACTION} requests on, "
        f"and to {later:.0%} by the end."
    )


def _share(columns: _Columns, column: int) -> float:
    return float((columns == column).mean())
