"""What a section measured, as a markdown table for a reader and as JSON for a program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number. `met` is None where it is shown for comparison and has no target."""

    name: str
    measured: float
    error: float = math.nan
    target: str = ""
    met: bool | None = None
    digits: int = 4

    def cells(self) -> tuple[str, ...]:
        """Format the row of the markdown table."""
        error = f"{self.error:.{self.digits}f}" if math.isfinite(self.error) else "–"
        met = "" if self.met is None else ("yes" if self.met else "**no**")
        measured = f"{self.measured:.{self.digits}f}" if math.isfinite(self.measured) else "–"
        return (self.name, self.target, measured, error, met)


@dataclass(kw_only=True)
class Section:
    """A numbered part of the benchmark. `notes` say what was left out and why."""

    number: int
    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def at_least(self, name: str, values: Sequence[float], bound: float, *, digits: int = 4) -> None:
        """Add a row whose mean over seeds must reach `bound`."""
        mean, error = mean_and_error(values)
        met = mean >= bound
        self.rows.append(
            Row(name=name, measured=mean, error=error, target=f"≥ {bound:g}", met=met, digits=digits)
        )

    def at_most(self, name: str, values: Sequence[float], bound: float, *, digits: int = 4) -> None:
        """Add a row whose mean over seeds must not exceed `bound`."""
        mean, error = mean_and_error(values)
        met = mean <= bound
        self.rows.append(
            Row(name=name, measured=mean, error=error, target=f"≤ {bound:g}", met=met, digits=digits)
        )

    def no_less_than_zero(self, name: str, values: Sequence[float]) -> None:
        """Add a row whose mean over seeds must be at least 0 within one standard error."""
        mean, error = mean_and_error(values)
        met = mean + (error if math.isfinite(error) else 0.0) >= 0.0
        self.rows.append(Row(name=name, measured=mean, error=error, target="≥ 0 within 1 s.e.", met=met))

    def show(self, name: str, values: Sequence[float], *, digits: int = 4) -> None:
        """Add a row for comparison."""
        mean, error = mean_and_error(values)
        self.rows.append(Row(name=name, measured=mean, error=error, digits=digits))

    def markdown(self) -> str:
        """Heading, notes and table."""
        lines = [f"## {self.number}. {self.title}", ""]
        if self.rows:
            lines += ["| | target | measured | ± s.e. | met |", "|---|---|---|---|---|"]
            lines += ["| " + " | ".join(row.cells()) + " |" for row in self.rows]
            lines.append("")
        lines += [f"- {note}" for note in self.notes]
        lines.append(f"- Took {self.seconds:.1f} s.")
        return "\n".join(lines) + "\n"

    def plain(self) -> dict[str, Any]:
        """Return the section as in JSON; numbers that are not finite are null."""
        rows = [
            {
                "name": row.name,
                "target": row.target or None,
                "measured": _finite(row.measured),
                "standard_error": _finite(row.error),
                "met": row.met,
            }
            for row in self.rows
        ]
        title, seconds = self.title, round(self.seconds, 2)
        return {"number": self.number, "title": title, "rows": rows, "notes": self.notes, "seconds": seconds}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error over seeds; one seed has no standard error: NaN."""
    if not values:
        return math.nan, math.nan
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return mean, error


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
