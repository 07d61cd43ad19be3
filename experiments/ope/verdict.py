"""Promote, keep, or not enough evidence: a recommendation from the paired interval and the diagnostics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fairlead.experiments.ope.betting import BY_CLUSTER, METHOD
from fairlead.experiments.ope.diagnostics import Finding
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.ope.planning import Outlook
from fairlead.optimizer.errors import finite

Recommendation = Literal["promote", "keep", "not enough evidence"]
# If this many times the log would be needed, waiting makes no sense: the policies are as good as equal.
_LONGEST_WAIT: Final = 100.0
_NOTHING: Final = 1e-9  # less is rounding


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do, and why.

    If evidence is missing, `more_decisions` is how many more would be enough; None if none would help.

    >>> Verdict(recommendation="keep", sentence="Keep the incumbent.").more_decisions is None
    True
    """

    recommendation: Recommendation
    sentence: str
    more_decisions: int | None = None


def recommend(
    gain: Estimate,
    findings: Sequence[Finding],
    *,
    target: str,
    incumbent: str,
    quantity: str = "quality",
    margin: float = 0.0,
    provisos: Sequence[str] = (),
    remarks: Sequence[str] = (),
    outlook: Outlook | None = None,
) -> Verdict:
    """Recommend a target policy or the incumbent by the gain, in the unit of `quantity`, more being better.

    Promote if the whole interval lies above `margin`; keep if it lies at or below it; neither if a finding
    fails. `outlook` says what would settle it; without it half-widths are taken to shrink as 1 / √n.

    >>> gain = Estimate(
    ...     value=0.03, low=0.01, high=0.05, standard_error=0.01, n=5_000, level=0.95, method="asymptotic"
    ... )
    >>> recommend(gain, [], target="linucb", incumbent="today's mix").recommendation
    'promote'
    >>> recommend(gain, [], target="linucb", incumbent="today's mix", margin=0.02).more_decisions
    16000
    """
    margin = finite("margin", margin, remedy="give the smallest gain that is worth a change")
    if failed := [finding for finding in findings if not finding.passed]:
        return _refused(failed, target)
    numbers = "; ".join(
        [f"{signed(gain.value)} {quantity} ({_interval(gain)}, {gain.n:,} decisions)", *remarks]
    )
    if gain.low > margin:
        sentence = f"Promote {target}{_provided(provisos)}: against {incumbent} it earns {numbers}."
        return Verdict(recommendation="promote", sentence=sentence)
    if gain.high <= margin:
        sentence = f"Keep {incumbent}: against it {target} earns {numbers}."
        return Verdict(recommendation="keep", sentence=sentence)
    more, missing = _missing(gain, outlook, margin=margin)
    sentence = f"Not enough evidence for {target}: against {incumbent} it earns {numbers}; {missing}."
    return Verdict(recommendation="not enough evidence", sentence=sentence, more_decisions=more)


def _provided(provisos: Sequence[str]) -> str:
    return f", provided that {' and that '.join(provisos)}" if provisos else ""


def _interval(gain: Estimate) -> str:
    ends = f"{signed(gain.low)} to {signed(gain.high)}"
    if gain.method == METHOD:
        return f"{ends}, each end at {gain.level:.0%} however often you look"
    if gain.method == BY_CLUSTER:
        return f"{ends}, each end at {gain.level:.0%} for a look at the end"
    return f"interval {ends} at {gain.level:.0%} for a single look"


def signed(value: float) -> str:
    """Write a number with its sign and four digits that count, never with an exponent.

    >>> signed(0.064642), signed(-1290.0), signed(1.3e-18)
    ('+0.06464', '-1,290', '+0')
    """
    if not math.isfinite(value):
        return f"{value:+}".replace("inf", "∞")
    if abs(value) < _NOTHING:
        return "+0"
    digits = max(3 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:+,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _missing(gain: Estimate, outlook: Outlook | None, *, margin: float) -> tuple[int | None, str]:
    """Return how many more decisions would be enough, and say so."""
    more = more_decisions(gain, margin=margin) if outlook is None else outlook.more_decisions
    more = None if more is None else round_up(more)
    if not math.isfinite(gain.half_width):
        return more, "they are too few for an interval"
    if outlook is not None and outlook.share is not None and outlook.decisions_then is not None:
        faster = (
            f"with {outlook.share:.0%} of the traffic given to it, about "
            f"{round_up(outlook.decisions_then):,} more decisions would be enough, at a cost of at most "
            f"{signed(max(-gain.low, 0.0) * outlook.share).removeprefix('+')} each"
        )
        return more, faster if more is None else f"about {more:,} more at this exploration rate, or {faster}"
    if more is None:
        return None, "the two are too close to be told apart by this log"
    return more, f"about {more:,} more decisions at this exploration rate would be enough"


def more_decisions(gain: Estimate, *, margin: float = 0.0) -> int | None:
    """How many more decisions would bring the nearer end of the interval to `margin` if the value stays.

    Half-widths shrink as 1 / √n. None if that would take over 100 times the log, or nothing is known.
    """
    distance = abs(gain.value - margin)
    if not math.isfinite(gain.half_width) or distance == 0.0:
        return None
    factor = (gain.half_width / distance) ** 2
    if factor > _LONGEST_WAIT:
        return None
    return round_up(max(gain.n * (factor - 1.0), 1.0))


def round_up(count: float) -> int:
    """Round a count of decisions up to two significant digits: more would be false precision."""
    step = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return int(math.ceil(count / step) * step)


def _refused(failed: Sequence[Finding], target: str) -> Verdict:
    reasons = " ".join(finding.text for finding in failed)
    needs = [finding.more_decisions for finding in failed]
    counts = [need for need in needs if need is not None]
    more = round_up(max(counts)) if counts and len(counts) == len(needs) else None
    wanted = "" if more is None else f" About {more:,} more decisions at this exploration rate are needed."
    return Verdict(
        recommendation="not enough evidence",
        sentence=f"There is no winner, since this log cannot evaluate {target}: {reasons}{wanted}",
        more_decisions=more,
    )
