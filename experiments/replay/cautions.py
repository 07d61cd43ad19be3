"""What a verdict has to say beside the gain: on what it depends, what it costs, whom it harms.

*Findings* that fail forbid a winner; *provisos* are what a promotion rests on; *remarks* go with any verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.experiments.ope.diagnostics import Finding
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.ope.verdict import signed
from fairlead.experiments.replay.partial_results import LogPart, Slice, TargetPart
from fairlead.experiments.replay.result import Cell, SliceResult
from fairlead.experiments.replay.settings import TIME_BUCKETS, ReplayJob
from fairlead.experiments.targets.base import COLUMN, TargetSpec

LARGEST_UNJUDGED: Final = 0.05
"""Share of decisions without a judgement up to which a verdict need not mention them."""

_LARGEST_OVERRUN: Final = 0.05  # of a budget: less is within what pacing does
_WORTH_SAYING: Final = 0.02  # of the cost: smaller changes are left out
_LARGEST_SUBSTITUTED: Final = 0.01
_NAMED: Final = 3
_MOST: Final = 0.5
_CHEAPER: Final = 0.95
_CLEAR: Final = 5.0  # standard errors


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One target as judged so far: its sums, gains by quantity, and its slices."""

    job: ReplayJob
    spec: TargetSpec
    part: TargetPart
    log_part: LogPart
    quantity: str
    gain: Estimate
    cost: Estimate | None
    incumbent_usd: float
    slices: Sequence[SliceResult]
    last_third: Estimate | None


def findings(judged: Judged) -> Iterator[Finding]:
    """List what forbids a winner: fitting on this log, an overrun budget, a gain that has turned."""
    job, spec = judged.job, judged.spec
    if spec.name == COLUMN and job.settings.trained_until_s is None:
        yield Finding(
            name="trained on other decisions",
            measured=math.nan,
            limit=math.nan,
            passed=False,
            text="Nothing says that the probabilities in target_propensities were not learned from the very "
            "rewards that judge them: give --trained-until, the time up to which they were, or never.",
        )
    budget_usd, cost = spec.goal.budget_usd, judged.cost
    if budget_usd is not None and cost is not None:
        over = cost.value / budget_usd - 1.0
        yield Finding(
            name="budget",
            measured=over,
            limit=_LARGEST_OVERRUN,
            passed=over <= _LARGEST_OVERRUN,
            text=f"It spends ${plain_money(cost.value)} per 1,000 requests, and its budget is "
            f"${plain_money(budget_usd)}.",
        )
    last = judged.last_third
    if last is not None and judged.gain.low > job.settings.margin:
        turned = last.high <= job.settings.margin
        yield Finding(
            name="gain in the last third",
            measured=last.value,
            limit=job.settings.margin,
            passed=not turned,
            text=f"It was better on average, but not in the last third of the log: there it earns "
            f"{signed(last.value)} ({signed(last.low)} to {signed(last.high)}).",
        )


def provisos(judged: Judged) -> Iterator[str]:
    """List on what a promotion depends: decisions that nobody judged, and a trend that goes on."""
    yield from _bounds(judged)
    counted, rows = judged.part.moments.n, judged.job.log.rows + len(judged.job.log.bad_rows)
    share = 1.0 - counted / rows
    until_s = judged.job.settings.trained_until_s
    if share > LARGEST_UNJUDGED and (until_s is None or math.isinf(until_s)):
        least = judged.gain.low - judged.job.settings.margin
        worst = -(1.0 - share) * least / share
        yield (
            f"on the {share:.0%} of the decisions that are not judged it does not lose more than "
            f"{signed(-worst).removeprefix('+')} on average"
        )


def _bounds(judged: Judged) -> Iterator[str]:
    """Name the bounds that a utility takes for granted: rare large costs would break what is said."""
    job, factors = judged.job, judged.job.factors(judged.spec)
    if "cost_usd" in factors:
        largest_usd = job.within({"cost_usd": 1.0}).high
        yield f"no request costs more than ${largest_usd:.4g}, the most in this log"
    if "latency_s" in factors:
        yield f"none takes longer than {job.within({'latency_s': 1.0}).high:.4g} s, the longest in this log"


def remarks(judged: Judged) -> Iterator[str]:
    """List what has to be known beside the gain."""
    part, n = judged.part, judged.part.moments.n
    if part.substituted > _LARGEST_SUBSTITUTED * n:
        yield (
            f"in {part.substituted / n:.0%} of the decisions it was no candidate, and the cheapest provider "
            "stands in for it"
        )
    if part.weights.without_support is not None and part.weights.without_support > 0.0005 * n:
        share = part.weights.without_support / n
        yield f"{share:.1%} of its choices were never made in this log, and count as the worst and the best"
    yield from _cost(judged)
    harmed = [piece for piece in judged.slices if piece.gain.high < 0.0]
    for piece in sorted(harmed, key=lambda piece: piece.gain.high)[:_NAMED]:
        yield (
            f"at {piece.by}={piece.value} ({piece.n:,} decisions) it loses at least "
            f"{signed(-piece.gain.high).removeprefix('+')}"
        )
    if len(harmed) > _NAMED:
        yield f"and in {len(harmed) - _NAMED} more slices"
    last = judged.last_third
    if last is not None and judged.gain.value > 0.0 > last.value:
        yield (
            f"in the last third of the log it earns {signed(last.value)} "
            f"({signed(last.low)} to {signed(last.high)})"
        )


def _cost(judged: Judged) -> Iterator[str]:
    cost, now_usd = judged.cost, judged.incumbent_usd
    if cost is None or judged.quantity != "reward" or not now_usd > 0.0:
        return
    change = cost.value / now_usd - 1.0
    if abs(change) > _WORTH_SAYING:
        yield (
            f"it costs {change:+.0%}, ${plain_money(cost.value)} instead of ${plain_money(now_usd)} per 1,000"
        )


def plain_money(usd: float) -> str:
    """Write USD per 1,000 requests with three digits that count."""
    return signed(1000.0 * float(f"{usd:.3g}")).removeprefix("+")


def last_third(slices: Mapping[tuple[str, str], Slice]) -> list[Slice]:
    """Return the spans of time that make up the last third of a log."""
    return [
        part for (by, name), part in slices.items() if by == "time" and int(name) >= TIME_BUCKETS * 2 // 3
    ]


def direction(cells: Sequence[Cell]) -> Iterator[str]:
    """Say so if the provider that gets most of the traffic has by far the lowest reward, and is not cheap."""
    total = sum(cell.n for cell in cells)
    first = max(cells, key=lambda cell: cell.n)
    others = [cell for cell in cells if cell is not first]
    clear = [
        cell.quality - first.quality > _CLEAR * math.hypot(cell.quality_se, first.quality_se)
        for cell in others
    ]
    is_cheaper = any(first.cost_usd < _CHEAPER * cell.cost_usd for cell in others)
    if others and first.n > _MOST * total and all(clear) and not is_cheaper:
        yield (
            f"{first.provider} gets most of the traffic and has by far the lowest reward "
            f"({first.quality:.3f}): if less is better here, turn the reward around."
        )
