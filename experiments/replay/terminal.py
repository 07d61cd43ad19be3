"""A replay in the terminal: a table, the estimators, the slices, and the verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.replay.result import Replay, TargetResult
from fairlead.experiments.replay.run import Progress as Stages
from fairlead.experiments.simulation.pool import Tick


@contextmanager
def stages(console: Console, *, quiet: bool) -> Iterator[Stages]:
    """Show a bar per stage of a replay, if standard error is a terminal and not ``quiet``."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bars:

        def begin(stage: str, tasks: int) -> Tick:
            bar = bars.add_task(stage, total=tasks)
            return lambda done: bars.advance(bar, done)

        yield begin


def interval(estimate: Estimate, *, sign: bool = False, digits: int = 4) -> str:
    """Write a value with the ends of its interval, and a dash for what is unknown."""
    return _interval(estimate, f"{'+' if sign else ''}.{digits}f", 1.0)


def money(estimate: Estimate) -> str:
    """Write a value in USD per 1,000 requests with its interval."""
    return _interval(estimate, ".4g", 1000.0)


def _interval(estimate: Estimate, form: str, scale: float) -> str:
    value, low, high = (
        f"{scale * number:{form}}" if math.isfinite(number) else "–"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return value if low == high == "–" else f"{value} [{low}, {high}]"


def summary_table(result: Replay) -> Table:
    """One row per policy: quality, cost, gain and lift, with intervals, and the effective sample size."""
    settings = result.settings
    title = f"{result.n:,} decisions; {settings.primary}, {settings.level:.0%} intervals"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    has_cost = "cost_usd" in result.incumbent
    heads = ["policy", "quality", *(["USD per 1,000"] if has_cost else []), f"gain in {settings.quantity}",
             *(["lift over fixed mix"] if result.hull is not None else []), "ESS", "verdict"]  # fmt: skip
    for name in heads:
        table.add_column(name, justify="left" if name in ("policy", "verdict") else "right")
    row = ["as logged", interval(result.incumbent["reward"])]
    row += [money(result.incumbent["cost_usd"])] if has_cost else []
    table.add_row(*row, "–", *(["–"] if result.hull is not None else []), f"{result.n:,}", "")
    for target in result.targets:
        row = [target.label, interval(target.estimates["reward"][settings.primary])]
        row += [money(target.estimates["cost_usd"][settings.primary])] if has_cost else []
        row.append(interval(target.gains[target.quantity], sign=True))
        if result.hull is not None:
            row.append("–" if target.mix is None else interval(target.mix.lift, sign=True))
        table.add_row(*row, f"{target.effective_size:,.0f}", target.verdict.recommendation)
    return table


def estimators_table(result: Replay, target: TargetResult) -> Table:
    """Every estimate of one target's quality."""
    table = Table(title=f"{target.label}: quality by every estimator", title_justify="left", box=SIMPLE)
    table.add_column("estimator")
    table.add_column(f"value [{result.settings.level:.0%} interval]", justify="right")
    for name, estimate in target.estimates["reward"].items():
        table.add_row(name, interval(estimate), style="bold" if name == result.settings.primary else "")
    return table


def slices_table(result: Replay) -> Table:
    """One row per slice and target."""
    title = f"Slices: quality, and the gain in {result.settings.quantity}"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("slice", "policy", "decisions", "as logged", "target", "gain", "ESS"):
        table.add_column(name, justify="left" if name in ("slice", "policy") else "right")
    for target in result.targets:
        for part in target.slices:
            table.add_row(
                f"{part.by}={part.value}", target.label, f"{part.n:,}", f"{part.incumbent.value:.4f}",
                interval(part.target), interval(part.gain, sign=True), f"{part.effective_size:,.0f}",
            )  # fmt: skip
    return table


def show(console: Console, result: Replay, *, every_estimator: bool) -> None:
    """Print the table, the estimators, the slices, the notes, and last what `show_verdicts` does."""
    console.print(summary_table(result))
    if every_estimator:
        for target in result.targets:
            console.print(estimators_table(result, target))
    if result.settings.by and any(target.slices for target in result.targets):
        console.print(slices_table(result))
    for note in result.notes:
        console.print(note, highlight=False)
    show_verdicts(console, result)


def show_verdicts(console: Console, result: Replay) -> None:
    """Print what the verdicts rest on, and then the verdicts."""
    console.print(result.account, highlight=False)
    for target in result.targets:
        console.print(target.verdict.sentence, highlight=False, style="bold")
