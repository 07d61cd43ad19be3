"""What a trial of operations measured, what it should have, and which bounds it missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

Progress = Callable[[str], None]
"""Shows one line of text about how far a trial is."""


class Trial(Protocol):
    """A trial of operations; ``seeds`` are the seeds of its worlds, one world after another."""

    def __call__(self, seeds: Sequence[int], progress: Progress) -> Result: ...


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number beside its target, in words; ``met`` is None for one that is only reported."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The figures of one or more trials, and a sentence for each bound that was missed."""

    problems: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


def result_of(figures: Iterable[Figure], *, problems: Iterable[str] = ()) -> Result:
    """Gather figures; those that are not met become problems, after the ``problems`` noticed otherwise."""
    figures = list(figures)
    missed = [f"{f.what}: {f.measured}, target {f.target}" for f in figures if f.met is False]
    return Result(problems=[*problems, *missed], figures=figures)


def joined(results: dict[str, Result]) -> Result:
    """Put the results of several trials together, each text after the name of its trial."""
    return Result(
        problems=[f"{name}: {problem}" for name, result in results.items() for problem in result.problems],
        figures=[
            Figure(what=f"{name}: {f.what}", measured=f.measured, target=f.target, met=f.met)
            for name, result in results.items()
            for f in result.figures
        ],
    )


def reported(what: str, value: float | str, *, unit: str = "") -> Figure:
    """Report a number without a target."""
    return Figure(what=what, measured=value if isinstance(value, str) else _shown(value, unit))


def at_most(what: str, value: float, bound: float, *, unit: str = "") -> Figure:
    """Compare with an upper bound; NaN never meets it."""
    return Figure(
        what=what, measured=_shown(value, unit), target=f"≤ {_shown(bound, unit)}", met=bool(value <= bound)
    )


def at_least(what: str, value: float, bound: float, *, unit: str = "") -> Figure:
    """Compare with a lower bound; NaN never meets it."""
    return Figure(
        what=what, measured=_shown(value, unit), target=f"≥ {_shown(bound, unit)}", met=bool(value >= bound)
    )


def within(what: str, values: Sequence[float], *, low: float, high: float) -> Figure:
    """Compare the mean of ``values`` (one a seed, say) with a range, and show their extremes too."""
    mean = float(np.mean(values)) if len(values) else float("nan")
    shown = f"{mean:.3f} ({min(values, default=mean):.3f} to {max(values, default=mean):.3f})"
    return Figure(what=what, measured=shown, target=f"{low:g} to {high:g}", met=bool(low <= mean <= high))


def in_most(what: str, successes: Sequence[bool], *, share: float) -> Figure:
    """Demand that at least a ``share`` of seeds succeeded, such as .95: 19 of 20."""
    held, n = sum(successes), len(successes)
    # 19 of 20 is asked of 20 seeds; of 2 seeds it is both.
    needed = int(np.ceil(share * n - 1e-9))
    return Figure(
        what=what, measured=f"{held} of {n} seeds", target=f"≥ {needed} of {n}", met=n > 0 and held >= needed
    )


def _shown(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{text} {unit}".rstrip()
