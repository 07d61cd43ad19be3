"""A simulation for people: progress, a table, one sentence, a chart; and its summary for JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fairlead.experiments.baselines.frontier import oracle, provider_means
from fairlead.experiments.files import printable
from fairlead.experiments.simulation.pool import Tick
from fairlead.experiments.simulation.records import Record, Values, averaged, fixed_mix, mean_share
from fairlead.experiments.simulation.run import Result
from fairlead.experiments.simulation.scenario import PEERS, Goal, split_rows
from fairlead.experiments.tables.price_list import PriceEstimate

_FILE_WIDTH: Final = 120
_VERSIONS: Final = ("fairlead", "numpy", "scipy", "scikit-learn", "duckdb")


class PlainConsole(Console):
    """A console that shows text as it is: no markup, no emoji, escapes for what would steer a terminal."""

    def __init__(self, *, width: int | None = None) -> None:
        super().__init__(width=width, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a text, that of the cell of a table too."""
        return super().render_str(printable(text), **options)


def make_console() -> Console:
    """Make a console on standard output, wide enough for the whole table if that is no terminal."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=_FILE_WIDTH)


@contextmanager
def progress_bar(console: Console, rounds: int, *, quiet: bool) -> Iterator[Tick]:
    """Show a bar over rounds played, if standard error is a terminal and not ``quiet``."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("playing", total=rounds)
        yield lambda played: bar.advance(task, played)


def _of(result: Result, policy: str, goal: Goal | None = None) -> list[Record]:
    return [r for r in result.records if r.policy == policy and goal in (None, r.goal)]


def summary(result: Result) -> dict[str, Any]:
    """Means and standard errors over seeds, what they are compared with, and how it was all made."""
    policies, overall = [], []
    for policy in result.settings.policies:
        for goal in result.goals:
            records = _of(result, policy, goal)
            means, errors = averaged(records)
            entry = {"policy": policy, **asdict(goal), "mean": means, "standard_error": errors}
            policies.append({**entry, "share": mean_share(records)})
        means, errors = averaged(_of(result, policy))
        overall.append({"policy": policy, "mean": means, "standard_error": errors})
    rows = split_rows(result.table, result.settings)[1]
    table = result.table
    return {
        "policies": policies,
        "overall": overall,
        "oracle": [
            {**asdict(goal), "mean_quality": value}
            for goal, value in zip(result.goals, result.oracle, strict=True)
        ],
        "supervised": None if result.supervised is None else asdict(result.supervised),
        "providers": {
            name: {
                "scored": int(table.available[rows, j].sum()),
                "missing": int((~table.available[rows, j]).sum()),
                "mean_quality": _mean(table.quality[rows, j]),
                "mean_cost_usd": _mean(table.cost_usd[rows, j]),
                "price_list": _price(result.prices.get(name)),
            }
            for j, name in enumerate(table.providers)
        },
        "notes": list(result.notes),
        "settings": asdict(result.settings),
        "versions": {name: _version(name) for name in _VERSIONS} | {"python": platform.python_version()},
    }


def _mean(values: Any) -> float | None:
    present = values[values == values]
    return float(present.mean()) if len(present) else None


def _price(estimate: PriceEstimate | None) -> dict[str, Any]:
    """Describe a price list entry with its source."""
    if estimate is None:
        return {"source": "none"}
    by_token = (estimate.usd_per_million_input, estimate.usd_per_million_output)
    source = "mean cost of a call, rounded" if by_token == (None, None) else "tokens and costs"
    return {"source": source, **asdict(estimate)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _number(value: float | None, error: float | None = None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    shown = f"{value:+.4f}" if sign else f"{value:.4f}"
    return shown if error is None else f"{shown} ± {error:.4f}"


def results_table(result: Result) -> Table:
    """One row per policy and goal, a mean per policy, the oracle and the supervised reference."""
    seeds = result.settings.seeds
    title = f"Mean over {seeds} seeds ± standard error" if seeds > 1 else "One seed"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("policy", "budget USD", "quality", "cost USD", "used", "fixed mix", "lift", "2nd-half lift"):
        first = name == "policy"
        table.add_column(name, justify="left" if first else "right", no_wrap=first)
    for policy in result.settings.policies:
        for goal in result.goals:
            table.add_row(policy, str(goal), *_cells(*averaged(_of(result, policy, goal))))
        if len(result.goals) > 1:
            table.add_row(policy, "mean", *_cells(*averaged(_of(result, policy))), style="bold")
        table.add_section()
    for goal, value in zip(result.goals, result.oracle, strict=True):
        table.add_row("oracle", str(goal), _number(value), style="dim")
    table.add_section()
    for point in () if result.supervised is None else result.supervised.points:
        quality = _number(point.mean_quality, point.quality_se)
        used = f"{point.mean_cost_usd / point.budget_usd:.2f}"
        lift = _number(point.lift, point.lift_se, sign=True)
        mix = _number(point.mean_quality - point.lift)
        budget, cost = str(Goal(budget_usd=point.budget_usd)), f"{point.mean_cost_usd:.3g}"
        table.add_row("supervised", budget, quality, cost, used, mix, lift, style="dim")
    return table


def _cells(means: Values, errors: Values) -> tuple[str, ...]:
    cost, used = means["mean_cost_usd"], means["utilisation"]
    return (
        _number(means["mean_quality"], errors["mean_quality"]),
        "–" if cost is None else f"{cost:.3g}",
        "–" if used is None else f"{used:.2f}",
        _number(means["best_fixed_mix_at_spend"]),
        _number(means["lift"], errors["lift"], sign=True),
        _number(means["lift_second_half"], errors["lift_second_half"], sign=True),
    )


def shown_policy(policies: Sequence[str]) -> str:
    """Find the policy that sentence and chart are about: the first that is no baseline."""
    learned = [p for p in policies if p not in (*PEERS, "uniform") and not p.startswith("fixed:")]
    return (learned or list(policies))[0]


def verdict(result: Result) -> str:
    """Write the outcome in one sentence."""
    policy = shown_policy(result.settings.policies)
    means, errors = averaged(_of(result, policy))
    lift, error = means["lift"] or 0.0, errors["lift"]
    margin = "" if error is None else f" ± {error:.4f}"
    against = "above" if lift > 0.0 else "below"
    unsure = ", within the noise," if error is not None and abs(lift) <= 2.0 * error else ""
    late = _number(means["lift_second_half"], sign=True)
    text = f"{policy} earned {abs(lift):.4f}{margin} points of quality {against}{unsure} the best fixed mix "
    text += f"at its own spend ({late} in the second half)"
    if result.supervised is not None and result.supervised.mean_lift > 0.0:
        share = (means["lift_second_half"] or 0.0) / result.supervised.mean_lift
        text += f"; the second half is {share:.0%} of what full information earns with these features"
    return text + "."


def write_chart(result: Result, path: Path) -> None:
    """Draw the cost–quality plane with providers, best fixed mix, router, supervised reference and oracle."""
    from fairlead.experiments.charts.cost_quality import PlanePoint, cost_quality_chart
    from fairlead.experiments.charts.theme import save_chart

    table, policy = result.table, shown_policy(result.settings.policies)
    rows = split_rows(table, result.settings)[1]
    quality, cost = table.quality[rows], table.cost_usd[rows]
    served = [j for j in range(len(table.providers)) if table.available[rows, j].any()]
    mean_cost, mean_quality = provider_means(quality[:, served], cost[:, served])
    points = [
        PlanePoint(cost_usd=c, quality=q, name=table.providers[j])
        for j, c, q in zip(served, mean_cost.tolist(), mean_quality.tolist(), strict=True)
    ]
    router = []
    for goal in result.goals:
        means, errors = averaged(_of(result, policy, goal))
        router.append(
            PlanePoint(
                cost_usd=means["mean_cost_usd"] or 0.0,
                quality=means["mean_quality"] or 0.0,
                cost_error=errors["mean_cost_usd"] or 0.0,
                quality_error=errors["mean_quality"] or 0.0,
            )
        )
    reference = () if result.supervised is None else result.supervised.points
    supervised = [PlanePoint(cost_usd=p.mean_cost_usd, quality=p.mean_quality) for p in reference]
    subtitle = f"{len(rows):,} prompts, policy {printable(policy)}, mean of {result.settings.seeds} seeds "
    subtitle += "with standard errors; diamonds are always one provider"
    chart = cost_quality_chart(
        providers=points,
        lines={"Router": router, "Supervised reference": supervised},
        fixed_mix=fixed_mix(quality, cost),
        oracle=oracle(quality, cost),
        title="Quality against cost",
        subtitle=subtitle,
    )
    save_chart(chart, path)
