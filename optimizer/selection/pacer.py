"""The pacer: the shadow price at which the coming requests cost what the budget allows.

The shadow price λ is the quality that one USD must bring. It is solved on a window of contexts
against the very distribution that decisions are drawn from, which is a smooth mixture of providers and
not a threshold, so that the spend expected of it is continuous in λ. Under a budget per request, the target
is that budget plus a share of what was really saved or overspent so far: a receding horizon of `HORIZON`
requests. Under a budget with periods it is what is left of the period, divided by the requests that are still
expected in it, so that money is worth the same at every hour.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from fairlead.optimizer.selection.account import Account, SavedAccount
from fairlead.optimizer.selection.money_left import MoneyLeft
from fairlead.optimizer.selection.traffic import Traffic
from fairlead.optimizer.types.arrays import State, joined, packed, part, unpacked
from fairlead.optimizer.types.budget import Budget, BudgetAlarm, BudgetState

HORIZON: Final = 300.0
"""Requests over which a surplus or a debt is settled; a debt of more requests' worth is forgotten."""

CREDIT_REQUESTS: Final = 50.0
"""Largest surplus that is remembered, in requests' worth of budget: enough to make up for costs that are
misjudged by a sixth, and no more, since what was not spent long ago is not owed."""

FIRST_REQUESTS: Final = 1_000.0
"""Requests that a period is expected to have before any of them has come."""

SOLUTIONS: Final = 64
"""Solutions of the shadow price in a period, at least; with much traffic there are more."""

TOO_DEAR: Final = 1.1
"""How much more than the money left the cheapest provider must be expected to cost for the alarm that every
provider is too dear; forecasts that miss by less are ordinary."""

FIRST_DAY_DOUBT: Final = 2.5
"""The same on the first day, whose forecast can be wrong by a factor of two."""

ENOUGH_REQUESTS: Final = 32
"""Requests before which that alarm is not raised, since neither costs nor traffic are known."""

_LEAST_TARGET_USD: Final = 1e-18
"""Less than anything costs, so that a budget which is spent has a finite price where calls are free."""

TOLERANCE: Final = 0.02
"""Share of the target by which what a request is expected to cost may exceed it. A saving smaller than this
is less than what is known of costs, and not worth any quality."""

_STEPS: Final = 24
_PRECISION: Final = 0.01
_DAY_HOURS: Final = 24


class Pacer:
    """Keeps the account of one budget and the shadow price in force."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.shadow_price = 0.0
        self.balance_usd = 0.0
        """Budget granted minus money spent (expected money until the actual cost is known), at most the
        largest surplus that is remembered; of a budget per request."""
        self.spent_usd = 0.0
        self.requests = 0
        self.mean_usd = math.nan
        """What a request is expected to cost on average at the shadow price."""
        self.account = Account(budget)
        self._traffic = Traffic(budget.time_zone, start_hour=budget.start_hour)
        self.has_new_period = False
        """Whether the last request was the first of a period."""
        self._at_s: float | None = None
        self._solved_for = math.nan
        self._wait = 0

    def change(self, budget: Budget) -> None:
        """Go on under another budget: money that was spent stays spent."""
        if (budget.time_zone, budget.start_hour) != (self.budget.time_zone, self.budget.start_hour):
            self._traffic = Traffic(budget.time_zone, start_hour=budget.start_hour)
        if budget.usd_per_request is None:
            self.balance_usd = 0.0
        self.budget, self._wait = budget, 0
        self.account.change(budget)

    def request(self, expected_cost_usd: float, *, at_s: float | None) -> bool:
        """Record a decision; its cost counts as expected until the outcome says what it was.

        Returns whether the shadow price must be solved again for a reason that only a budget with periods
        has: another period or hour has begun, or a part of the period's requests has passed.
        """
        self.requests += 1
        if self.budget.usd_per_request is not None:
            grant = self.budget.usd_per_request
            balance_usd = max(self.balance_usd, -HORIZON * grant)
            self.balance_usd = min(balance_usd + grant, CREDIT_REQUESTS * grant)
        must_solve = False
        if at_s is not None:
            self._at_s = at_s
            if self.budget.period is not None:
                entry = self.account.at(at_s)
                entry.requests += 1
                self.has_new_period = entry.requests == 1
                has_moved = self._traffic.record(at_s)
                self._wait -= 1
                is_early = self.requests & (self.requests - 1) == 0  # 1, 2, 4, 8, ...
                must_solve = has_moved or entry.start_s != self._solved_for or self._wait <= 0 or is_early
        self.spend(expected_cost_usd, at_s=at_s)
        return must_solve

    def spend(self, usd: float, *, at_s: float | None) -> None:
        """Book money (negative to take back): a real cost, its correction, or an expectation.

        ``at_s`` is the time of the decision that it was spent for; without one, that of the last request.
        """
        self.spent_usd += usd
        self.balance_usd -= usd
        at_s = self._at_s if at_s is None else at_s
        if at_s is not None:
            self.account.book(usd, at_s)

    @property
    def alarms(self) -> list[BudgetAlarm]:
        """The latest alarms, oldest first."""
        return self.account.alarms

    def left_usd(self, at_s: float) -> float:
        """Return what the period that holds a time may still cost; changes nothing."""
        return self.budget.limit_usd - self.account.look(at_s).spent_usd

    def money_left(self, at_s: float, *, name: str = "") -> MoneyLeft:
        """Return what is left of the period that holds a time, for a check of costs."""
        entry = self.account.look(at_s)
        left_usd = self.budget.limit_usd - entry.spent_usd
        return MoneyLeft(budget=self.budget, usd=left_usd, end_s=entry.end_s, name=name)

    def end_s(self, at_s: float) -> float:
        """Return when the period that holds a time ends; changes nothing."""
        return self.account.look(at_s).end_s

    def forecast(self) -> float:
        """Return how many requests are still expected in the period of the last one, at least 1."""
        if self._at_s is None:
            return FIRST_REQUESTS
        return max(self._traffic.remaining(self._at_s, self.end_s(self._at_s)), 1.0)

    def look(self, at_s: float) -> BudgetState:
        """Return where the budget stands at a time; changes nothing."""
        entry = self.account.look(at_s)
        coming = 0.0 if self._at_s is None else self._traffic.remaining(at_s, entry.end_s)
        mean_usd = 0.0 if math.isnan(self.mean_usd) else self.mean_usd
        return BudgetState(
            start_s=entry.start_s,
            end_s=entry.end_s,
            limit_usd=self.budget.limit_usd,
            spent_usd=entry.spent_usd,
            requests=entry.requests,
            expected_requests=coming,
            forecast_usd=entry.spent_usd + coming * mean_usd,
        )

    def target_usd(self) -> float:
        """Return what one of the coming requests may cost on average."""
        if self.budget.usd_per_request is not None:
            grant = self.budget.usd_per_request
            return min(max(grant + self.balance_usd / HORIZON, 0.2 * grant), 2.0 * grant)
        left_usd = self.budget.limit_usd if self._at_s is None else max(self.left_usd(self._at_s), 0.0)
        return left_usd / self.forecast()

    def adopt(self, shadow_price: float, *, mean_usd: float, least_usd: float) -> None:
        """Use a solution from now on; ``least_usd`` is what the cheapest provider costs on its own."""
        self.shadow_price, self.mean_usd = shadow_price, mean_usd
        if self.requests < ENOUGH_REQUESTS:
            self._wait = SOLUTIONS
        if self.budget.period is None or self._at_s is None:
            if self.budget.period is None and self.requests >= ENOUGH_REQUESTS:
                self.account.check_mean(least_usd > TOO_DEAR * self.budget.limit_usd, cheapest_usd=least_usd)
            return
        entry, coming = self.account.at(self._at_s), self.forecast()
        self._solved_for = entry.start_s
        self._wait = int(min((entry.requests + coming) / SOLUTIONS, SOLUTIONS))
        left_usd = self.budget.limit_usd - entry.spent_usd
        doubt = FIRST_DAY_DOUBT if self._traffic.is_new(self._at_s) else TOO_DEAR
        if self.requests >= ENOUGH_REQUESTS and entry.passed == 0 and least_usd * coming > doubt * left_usd:
            self.account.too_dear(entry, cheapest_usd=least_usd)

    def state(self) -> State:
        """Return the account, the traffic and the shadow price in force."""
        at_s = math.nan if self._at_s is None else self._at_s
        numbers = (self.shadow_price, self.balance_usd, self.spent_usd, self.mean_usd, at_s, self._solved_for)
        return {
            "money": np.array(numbers),
            "counts": np.array([self.requests, self._wait], dtype=np.int64),
            "account": packed(self.account.saved()),
            **joined(traffic=self._traffic.state()),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`, under the same budget."""
        if "times" in state:
            self._restore_of_0_1_0(state)
            return
        money = state["money"].tolist()
        self.shadow_price, self.balance_usd, self.spent_usd, self.mean_usd, at_s, self._solved_for = money
        self._at_s = None if math.isnan(at_s) else at_s
        self.requests, self._wait = state["counts"].tolist()
        self.account.restore(unpacked(state["account"], SavedAccount))
        self._traffic.restore(part(state, "traffic"))

    def _restore_of_0_1_0(self, state: State) -> None:
        """Take over the state of a release that knew days only, and no profile of traffic."""
        self.shadow_price, self.balance_usd, self.spent_usd, day_usd = state["money"].tolist()
        self.requests, day = state["counts"].tolist()
        if day >= 0 and self.budget.period is not None:
            self.account.book(day_usd, (day + 0.5) * _DAY_HOURS * 3_600.0)

    def update(self, spend_at: Callable[[float], float], *, least_usd: float) -> float:
        """Set the shadow price to the solution, and return it."""
        self.shadow_price = self.solve(spend_at, least_usd=least_usd)
        return self.shadow_price

    def solve(self, spend_at: Callable[[float], float], *, least_usd: float) -> float:
        """Return the smallest λ at which ``spend_at(λ)``, the expected mean cost, keeps to the target.

        It may exceed the target by `TOLERANCE`, since a saving smaller than that is not worth quality.
        ``least_usd`` is what the cheapest provider would cost on its own: asking for less would only
        trade quality for a saving that no fixed choice could make. If even the highest price spends more,
        what it spends is the target.
        """
        target = max(self.target_usd(), least_usd, _LEAST_TARGET_USD) * (1.0 + TOLERANCE)
        unit = 1.0 / target
        if self.shadow_price == 0.0 and spend_at(0.0) <= target:
            return 0.0
        low, high = math.log(1e-6 * unit), math.log(1e4 * unit)
        point = math.log(self.shadow_price) if self.shadow_price > 0 else math.log(0.1 * unit)
        point = min(max(point, low), high)
        step, below, above = 0.1, None, None
        for steps in range(_STEPS):
            spend = spend_at(math.exp(point))
            if spend > target and point >= high:
                target = spend * (1.0 + TOLERANCE)
            gap = spend / target - 1.0
            if -_PRECISION < gap <= 0.0 or (gap < 0 and point <= low):
                break
            if steps == 0 and gap < 0 and spend_at(0.0) <= target:
                # Less is spent at this price than the budget allows: perhaps no price is needed any more.
                return 0.0
            if gap > 0:
                below = (point, gap)
            else:
                above = (point, gap)
            if below is not None and above is not None:
                # Aim at the middle of what is accepted.
                share = min(max((below[1] + 0.5 * _PRECISION) / (below[1] - above[1]), 0.25), 0.75)
                point = below[0] + share * (above[0] - below[0])
            else:
                point = min(max(point + (step if gap > 0 else -step), low), high)
                step *= 2.5
        return math.exp(point)
