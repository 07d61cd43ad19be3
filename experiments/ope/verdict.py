"""Promote, keep, or not enough evidence: one sentence out of the paired interval and the diagnostics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fairlead.experiments.ope.diagnostics import Finding
from fairlead.experiments.ope.intervals import Estimate
from fairlead.optimizer.errors import finite

Recommendation = Literal["promote", "keep", "not enough evidence"]
# Where so many times the log would be needed, waiting is no advice: the policies are as good as equal.
_LONGEST_WAIT: Final = 100.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do, why, and where evidence is missing, how many decisions more; None where none would help."""

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
) -> Verdict:
    """Judge a target policy by its gain over the incumbent, in the unit of `quantity`, more being better.

    Promote where the whole interval lies above `margin`, the smallest gain that is worth a change, keep where
    it lies at or below it. A finding that fails names no winner, whatever the interval says.
    """
    margin = finite("margin", margin, remedy="give the smallest gain that is worth a change")
    failed = [finding for finding in findings if not finding.passed]
    said = (
        f"{gain.value:+.4g} {quantity} (interval {gain.low:+.4g} to {gain.high:+.4g} at {gain.level:.0%}, "
        f"{gain.n:,} decisions)"
    )
    if failed:
        return _refused(failed, target)
    if gain.low > margin:
        return Verdict(
            recommendation="promote", sentence=f"Promote {target}: against {incumbent} it earns {said}."
        )
    if gain.high <= margin:
        return Verdict(recommendation="keep", sentence=f"Keep {incumbent}: against it {target} earns {said}.")
    more = more_decisions(gain, margin=margin)
    if not math.isfinite(gain.half_width):
        needed = "they are too few for an interval"
    elif more is None:
        needed = "the two are too close for this log to tell them apart"
    else:
        needed = f"about {more:,} more decisions at this exploration rate would tell"
    return Verdict(
        recommendation="not enough evidence",
        sentence=f"Not enough evidence for {target}: against {incumbent} it earns {said}; {needed}.",
        more_decisions=more,
    )


def more_decisions(gain: Estimate, *, margin: float = 0.0) -> int | None:
    """How many more decisions would bring the nearer end of the interval to `margin`, the value staying as it
    is.

    Half-widths shrink as 1 / √n. None where that would take over 100 times the log, or nothing is known.
    """
    distance = abs(gain.value - margin)
    if not math.isfinite(gain.half_width) or distance == 0.0:
        return None
    factor = (gain.half_width / distance) ** 2
    if factor > _LONGEST_WAIT:
        return None
    return rounded_up(max(gain.n * (factor - 1.0), 1.0))


def rounded_up(count: float) -> int:
    """A count of decisions to two significant digits, upwards: more would be pretence."""
    step = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return int(math.ceil(count / step) * step)


def _refused(failed: Sequence[Finding], target: str) -> Verdict:
    reasons = " ".join(finding.text for finding in failed)
    needs = [finding.more_decisions for finding in failed]
    counts = [need for need in needs if need is not None]
    more = rounded_up(max(counts)) if counts and len(counts) == len(needs) else None
    wanted = "" if more is None else f" About {more:,} more decisions at this exploration rate are missing."
    return Verdict(
        recommendation="not enough evidence",
        sentence=f"No winner is named, since the log cannot judge {target}: {reasons}{wanted}",
        more_decisions=more,
    )
