"""What a hard budget has left: who no longer fits is ruled out, and if nobody fits the request is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from fairlead.optimizer.errors import BudgetSpent
from fairlead.optimizer.selection.period import time_text
from fairlead.optimizer.types import Budget, FloatArray

NOTHING_USD: Final = 1e-9
"""Costs up to this one fit even a budget of which nothing is left: no provider charges as little."""


@dataclass(frozen=True, kw_only=True)
class MoneyLeft:
    """What is left of one period of a hard budget; ``name`` is that of a budget which routes share."""

    budget: Budget
    usd: float
    end_s: float
    name: str = ""

    def without(self, usd: float) -> MoneyLeft:
        """Return what is left beside money that is reserved."""
        return replace(self, usd=self.usd - usd) if usd else self

    def check(self, ineligible: dict[str, str], names: Sequence[str], *, cost_usd: FloatArray) -> None:
        """Add the providers whose expected cost (k,) does not fit; one that is not known (NaN) fits any rest.

        Raises `BudgetSpent` if that leaves none of those that were eligible.
        """
        usd, until = max(self.usd, 0.0), time_text(self.end_s, self.budget.time_zone)
        whose = f"the budget {self.name!r}" if self.name else "the budget"
        refused = {
            name: f"is expected to cost {_shown(cost)}, but ${usd:.3g} is left of {whose} until {until}"
            for name, cost in zip(names, cost_usd.tolist(), strict=True)
            if name not in ineligible and not _fits(cost, usd)
        }
        if refused and len(refused) + len(ineligible) == len(names):
            kind = (self.budget.period or "").removeprefix("calendar_")
            raise BudgetSpent(
                f"{whose} of ${self.budget.limit_usd:g} a {kind} is spent: ${usd:.3g} is left, and no "
                f"provider that may serve costs so little; wait until {until}, or raise the budget",
                end_s=self.end_s,
            )
        ineligible |= refused


def _fits(cost_usd: float, left_usd: float) -> bool:
    return cost_usd <= left_usd + NOTHING_USD if cost_usd == cost_usd else left_usd > NOTHING_USD


def _shown(cost_usd: float) -> str:
    return f"${cost_usd:.3g}" if cost_usd == cost_usd else "something"
