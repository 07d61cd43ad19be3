"""The pacer: the shadow price at which the coming requests cost what the budget allows.

The shadow price λ is the quality that one USD must bring. It is solved on a window of recent contexts
against the very distribution that decisions are drawn from, which is a smooth mixture of providers and
not a threshold, so that the spend expected of it is continuous in λ. The target is the budget plus
a share of what was really saved or overspent so far: a receding horizon of `HORIZON` requests.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from fairlead.optimizer.types.arrays import State
from fairlead.optimizer.types.route import Budget

HORIZON: Final = 300.0
"""Requests over which a surplus or a debt is settled."""

CREDIT_REQUESTS: Final = 50.0
"""Largest surplus that is remembered, in requests' worth of budget: enough to make up for costs that are
misjudged by a sixth, and no more, since what was not spent long ago is not owed."""

_STEPS: Final = 24
_TOLERANCE: Final = 0.01
_DAY_S: Final = 86_400.0


class Pacer:
    """Keeps the account of one budget and the shadow price in force."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.shadow_price = 0.0
        self.balance_usd = 0.0
        """Budget granted minus money spent (expected money until the actual cost is known), at most the
        largest surplus that is remembered."""
        self.spent_usd = 0.0
        self.requests = 0
        self._times: deque[float] = deque(maxlen=200)
        self._day = -1
        self._day_spent_usd = 0.0

    def request(self, expected_cost_usd: float, *, at_s: float | None) -> None:
        """Record a decision; its cost counts as expected until the outcome says what it was."""
        self.requests += 1
        if self.budget.usd_per_request is not None:
            grant = self.budget.usd_per_request
            self.balance_usd = min(self.balance_usd + grant, CREDIT_REQUESTS * grant)
        if at_s is not None:
            self._times.append(at_s)
            day = int(at_s // _DAY_S)
            if day > self._day:
                self._day, self._day_spent_usd = day, 0.0
        self.spend(expected_cost_usd)

    def spend(self, usd: float) -> None:
        """Book money (negative to take back): a real cost, its correction, or an expectation."""
        self.spent_usd += usd
        self.balance_usd -= usd
        self._day_spent_usd += usd

    def state(self) -> State:
        """Return the account and the shadow price in force."""
        numbers = (self.shadow_price, self.balance_usd, self.spent_usd, self._day_spent_usd)
        return {
            "money": np.array(numbers),
            "counts": np.array([self.requests, self._day], dtype=np.int64),
            "times": np.array(self._times, dtype=np.float64),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`, under the same budget."""
        self.shadow_price, self.balance_usd, self.spent_usd, self._day_spent_usd = state["money"].tolist()
        self.requests, self._day = state["counts"].tolist()
        self._times = deque(state["times"].tolist(), maxlen=self._times.maxlen)

    def target_usd(self) -> float:
        """Return what one of the coming requests may cost on average."""
        if self.budget.usd_per_request is not None:
            grant = self.budget.usd_per_request
            return min(max(grant + self.balance_usd / HORIZON, 0.2 * grant), 2.0 * grant)
        assert self.budget.usd_per_day is not None
        left = max(self.budget.usd_per_day - self._day_spent_usd, 0.0)
        if len(self._times) < 2:
            return left / 1_000.0
        elapsed = max(self._times[-1] - self._times[0], 1e-3)
        rate = (len(self._times) - 1) / elapsed
        return left / max(rate * (_DAY_S - self._times[-1] % _DAY_S), 1.0)

    def update(self, spend_at: Callable[[float], float], *, least_usd: float) -> float:
        """Set the shadow price to the solution, and return it."""
        self.shadow_price = self.solve(spend_at, least_usd=least_usd)
        return self.shadow_price

    def solve(self, spend_at: Callable[[float], float], *, least_usd: float) -> float:
        """Return the λ at which ``spend_at(λ)``, the expected mean cost, meets the target.

        ``least_usd`` is what the cheapest provider would cost on its own: asking for less would only
        trade quality for a saving that no fixed choice could make.
        """
        target = max(self.target_usd(), least_usd)
        unit = 1.0 / target
        if self.shadow_price == 0.0 and spend_at(0.0) <= target:
            return 0.0
        low, high = math.log(1e-6 * unit), math.log(1e4 * unit)
        point = math.log(self.shadow_price) if self.shadow_price > 0 else math.log(0.1 * unit)
        point = min(max(point, low), high)
        step, below, above = 0.1, None, None
        for steps in range(_STEPS):
            gap = spend_at(math.exp(point)) / target - 1.0
            if abs(gap) < _TOLERANCE or (gap < 0 and point <= low) or (gap > 0 and point >= high):
                break
            if steps == 0 and gap < 0 and spend_at(0.0) <= target:
                # Less is spent at this price than the budget allows: perhaps no price is needed any more.
                return 0.0
            if gap > 0:
                below = (point, gap)
            else:
                above = (point, gap)
            if below is not None and above is not None:
                share = min(max(below[1] / (below[1] - above[1]), 0.1), 0.9)
                point = below[0] + share * (above[0] - below[0])
            else:
                point = min(max(point + (step if gap > 0 else -step), low), high)
                step *= 2.5
        return math.exp(point)
