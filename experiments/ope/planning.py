"""What would settle it: the gain that a log could have shown, and how many more decisions it would take.

Log wealth grows by about λ δ − λ² v / 2 a decision, δ the gain and v the second moment of its
pseudo-outcome. v is that of *recent* decisions: a policy that learns explores less and less, so that what its
first decisions told cheaply its next ones do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from fairlead.experiments.ope.betting import BETS, Wealth
from fairlead.experiments.ope.intervals import LEVEL
from fairlead.experiments.ope.validation import Vector

# Of all shares of traffic that are given to the target: what its pseudo-outcomes would then vary by.
EXPLORATION: Final = (0.0, 0.02, 0.05, 0.1, 0.2)
_POWER_Z: Final = 0.8416  # the normal quantile of a power of 80 %
_LONGEST_WAIT: Final = 100.0  # logs like this one: beyond, the policies are as good as equal
_STEPS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What would settle a question, at a power of 80 %.

    `detectable` is the smallest gain over the margin that as many decisions as these, explored as the recent
    ones were, would show, infinite if none would. `more_decisions` is how many more it takes if the gain
    stays what it is, None if more than a hundred times the log. With `share` of the traffic given to the
    target it would be `decisions_then`; None if that would not halve it.
    """

    detectable: float
    more_decisions: int | None
    share: float | None = None
    decisions_then: int | None = None


def plan(
    wealth: Wealth,
    *,
    gain: float,
    second_moment: float,
    divergence: Vector | None = None,
    margin: float = 0.0,
    level: float = LEVEL,
    questions: int = 1,
) -> Outlook:
    """Return what would settle whether the gain is above `margin`, from the wealth so far.

    `second_moment` is that of the gain's per-decision terms, of recent decisions. `divergence` (5,) is
    Σ_a (π − p)² / ((1 − ε) p + ε π), averaged over recent decisions, for each share ε of `EXPLORATION`.
    """
    log_limit = math.log(questions / (1.0 - level))
    step = _Step(gain - margin, second_moment, wealth.unit, log_limit)
    more = step.decisions(wealth, margin)
    detectable = step.detectable(wealth.n)
    if divergence is None or not divergence[0] > 0.0:
        return Outlook(detectable=detectable, more_decisions=more)
    for share, other in zip(EXPLORATION[1:], divergence[1:].tolist(), strict=True):
        then = replace(step, moment=second_moment * other / float(divergence[0])).decisions(wealth, margin)
        if then is not None and (more is None or 2 * then <= more):
            return Outlook(detectable=detectable, more_decisions=more, share=share, decisions_then=then)
    return Outlook(detectable=detectable, more_decisions=more)


@dataclass(frozen=True)
class _Step:
    """One more decision: its gain over the margin, the second moment of it, and what has to be reached."""

    gain: float
    moment: float
    unit: float
    log_limit: float

    def decisions(self, wealth: Wealth, margin: float) -> int | None:
        """Return how many more decisions bring the nearer bound to the margin, None if too many."""
        longest = int(_LONGEST_WAIT * max(wealth.n, 1))
        if self.gain == 0.0 or not self._reaches(wealth, margin, longest):
            return None
        low, high = 0, longest
        while high - low > 1:
            middle = (low + high) // 2
            if self._reaches(wealth, margin, middle):
                high = middle
            else:
                low = middle
        return high

    def _reaches(self, wealth: Wealth, margin: float, more: int) -> bool:
        side = 1.0 if self.gain > 0.0 else -1.0
        start = wealth.won if side > 0.0 else wealth.lost
        earned = side * (wealth.offset - margin * wealth.n) / self.unit
        return wealth.mixture(start + self._growth(abs(self.gain), more), -earned) >= self.log_limit

    def _growth(self, gain: float, decisions: int) -> Vector:
        sure = gain * decisions - _POWER_Z * math.sqrt(self.moment * decisions)
        grown: Vector = BETS * (sure / self.unit) - BETS**2 * (self.moment / self.unit**2 * decisions / 2.0)
        return grown

    def detectable(self, decisions: int) -> float:
        """Return the smallest gain that this many decisions would show."""
        nothing = Wealth.empty(unit=self.unit)
        low, high = 0.0, self.unit
        if nothing.mixture(self._growth(high, decisions), 0.0) < self.log_limit:
            return math.inf
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            if nothing.mixture(self._growth(middle, decisions), 0.0) >= self.log_limit:
                high = middle
            else:
                low = middle
        return high
