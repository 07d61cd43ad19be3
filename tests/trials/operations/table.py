"""The figures of a trial as a table for people, on standard error: standard output has the JSON."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.trials.operations.result import Result

_FILE_WIDTH = 120


def show(result: Result) -> None:
    """Print a row for each figure."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=_FILE_WIDTH)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("what", "measured", "target", "met"):
        table.add_column(column)
    for figure in result.figures:
        met = {True: "yes", False: "NO", None: ""}[figure.met]
        style = "bold red" if figure.met is False else ""
        table.add_row(figure.what, figure.measured, figure.target, met, style=style)
    console.print(table)
