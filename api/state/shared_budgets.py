"""Budgets that routes share: one account and one shadow price for all of them, as a fold of the log.

The account books what decisions are expected to cost, and then what outcomes say. The shadow price is solved
on the predictions that recent decisions were logged with, and not on the routes' own models: so it depends on
the order of the log alone, however far each route is in learning. How its forecast of the spend misses what
the decisions were expected to cost is measured, and corrected for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

import msgspec
import numpy as np

from fairlead.api.schemas.budgets import SharedBudgetIn
from fairlead.api.schemas.declarations import RouteIn
from fairlead.optimizer.selection.money_left import MoneyLeft
from fairlead.optimizer.selection.pacer import Pacer
from fairlead.optimizer.selection.sample import PeriodSample, Row
from fairlead.optimizer.types import Decision, FloatArray
from fairlead.optimizer.types.arrays import array_of
from fairlead.optimizer.types.budget import BudgetState

LEAST_SPREAD, MOST_SPREAD = 0.02, 0.15
"""Bounds of the spread of quality with which a policy is imagined to choose."""

SOLVE_EVERY: Final = 64
_RULED_OUT: Final = -1e9
_HEAD: Final = 3
"""Numbers in front of a sampled row: the route's own price, the price in force, and the expected cost."""


class SavedShared(msgspec.Struct, array_like=True):
    """A shared budget in a snapshot."""

    pacer: dict[str, tuple[str, list[int], bytes]]
    rows: list[bytes]
    counts: list[int]
    since: int


class SharedBudget:
    """One budget of several routes."""

    def __init__(self, body: SharedBudgetIn) -> None:
        self.body = body
        self.pacer = Pacer(body.budget())
        self._sample = PeriodSample()
        self._since = 0

    def change(self, body: SharedBudgetIn) -> None:
        """Go on under another declaration; money that was spent stays spent."""
        self.body = body
        if body.budget() != self.pacer.budget:
            self.pacer.change(body.budget())

    def covers(self, name: str, route: RouteIn) -> bool:
        """Whether a route shares it."""
        return covers(self.body, name, route)

    def decide(self, decision: Decision, at_s: float) -> bool:
        """Book a decision as expected; returns whether the shadow price has changed."""
        must_solve = self.pacer.request(decision.expected_usd, at_s=at_s)
        if self.pacer.has_new_period:
            self._sample.next_period()
        if decision.fallback_used is None:
            self._sample.add((_row(decision, self.pacer.shadow_price), 0.0))
        self._since += 1
        if not self._sample.rows or not (must_solve or self._since >= SOLVE_EVERY):
            return False
        self._since = 0
        before = self.pacer.shadow_price
        spend_at, least_usd = _spend(self._sample.rows)
        price = self.pacer.solve(spend_at, least_usd=least_usd)
        self.pacer.adopt(price, mean_usd=spend_at(price), least_usd=least_usd)
        return price != before

    def settle(self, usd: float, at_s: float) -> None:
        """Book the difference between what was booked for a decision and what it cost."""
        self.pacer.spend(usd, at_s=at_s)

    def look(self, at_s: float) -> BudgetState | None:
        """Return where the budget stands at a time; None if it has no periods."""
        return None if self.pacer.budget.period is None else self.pacer.look(at_s)

    def money_left(self, at_s: float) -> MoneyLeft:
        """Return what a hard budget has left."""
        return self.pacer.money_left(at_s, name=self.body.name)

    def state(self) -> SavedShared:
        """Return the account, the price and the sample."""
        rows, *counts = self._sample.saved()
        arrays = {name: np.ascontiguousarray(array) for name, array in self.pacer.state().items()}
        return SavedShared(
            pacer={name: (a.dtype.str, list(a.shape), a.tobytes()) for name, a in arrays.items()},
            rows=[numbers.tobytes() for numbers, _ in rows],
            counts=[int(count) for count in counts],
            since=self._since,
        )

    def restore(self, saved: SavedShared) -> None:
        """Become what gave `state`."""
        self.pacer.restore(
            {
                name: np.frombuffer(content, dtype=np.dtype(kind)).reshape(shape)
                for name, (kind, shape, content) in saved.pacer.items()
            }
        )
        rows: list[Row] = [(array_of(bytearray(content)).copy(), 0.0) for content in saved.rows]
        self._sample = PeriodSample.from_saved(rows, *saved.counts)
        self._since = saved.since


def covers(body: SharedBudgetIn, name: str, route: RouteIn) -> bool:
    """Whether a shared budget names a route, by a pattern or by one of its tags."""
    return any(fnmatchcase(name, pattern) for pattern in body.routes) or bool(
        set(body.tags) & set(route.tags)
    )


def _row(decision: Decision, shared_price: float) -> FloatArray:
    """Return what the spend depends on: the head, then utility at price 0, spread and cost by provider."""
    quality, quality_sd, cost_usd = decision.expected[:3]
    price = decision.shadow_price
    own_price = price if price > shared_price * 1.001 else 0.0
    quality = np.where([name in decision.ineligible for name in decision.providers], _RULED_OUT, quality)
    expected_usd = float(decision.probabilities @ np.nan_to_num(cost_usd))
    spread = np.clip(quality_sd, LEAST_SPREAD, MOST_SPREAD)
    head = np.array((own_price, price, expected_usd))
    return np.concatenate((head, quality, spread, np.nan_to_num(cost_usd)))


def _spend(rows: Iterable[Row]) -> tuple[Callable[[float], float], float]:
    """Return the expected mean cost of requests like these by shadow price, and that of the cheapest."""
    arrays = [numbers for numbers, _ in rows]
    k = max(len(numbers) - _HEAD for numbers in arrays) // 3
    quality, spread, cost = np.full((3, len(arrays), k), 0.0)
    quality[:], spread[:] = _RULED_OUT, 1.0
    for i, numbers in enumerate(arrays):
        own = (len(numbers) - _HEAD) // 3
        quality[i, :own], spread[i, :own], cost[i, :own] = numbers[_HEAD:].reshape(3, own)
    own_price, price, expected_usd = np.array([numbers[:_HEAD] for numbers in arrays]).T

    def mean_usd(shadow_price: FloatArray | float) -> float:
        utility = quality - np.maximum(own_price, shadow_price)[:, None] * cost
        utility = (utility - utility.max(axis=1, keepdims=True)) / spread
        chances = np.exp(np.maximum(utility, -700.0))
        return float(((chances * cost).sum(axis=1) / chances.sum(axis=1)).mean())

    imagined_usd, least = mean_usd(price), np.where(quality > _RULED_OUT, cost, np.inf).min(axis=1)
    share = float(expected_usd.mean()) / imagined_usd if imagined_usd > 0 else 1.0
    least_usd = float(np.where(np.isfinite(least), least, 0.0).mean())

    def spend_at(shadow_price: float) -> float:
        # What was missed at the prices in force is missed in proportion to what lies above the cheapest.
        return max(share * mean_usd(shadow_price), least_usd)

    return spend_at, least_usd


class SharedBudgets:
    """All budgets that routes share, at one place in the log."""

    def __init__(self) -> None:
        self.by_name: dict[str, SharedBudget] = {}
        self._of_route: dict[str, tuple[SharedBudget, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def configure(self, declared: Mapping[str, SharedBudgetIn], routes: Mapping[str, RouteIn]) -> None:
        """Follow a change of the configuration."""
        for name in [name for name in self.by_name if name not in declared]:
            del self.by_name[name]
        for name, body in declared.items():
            if name not in self.by_name:
                self.by_name[name] = SharedBudget(body)
            elif body != self.by_name[name].body:
                self.by_name[name].change(body)
        self._of_route = {
            name: tuple(budget for budget in self.by_name.values() if budget.covers(name, route))
            for name, route in routes.items()
        }

    def of(self, route: str) -> tuple[SharedBudget, ...]:
        """Return the budgets that a route shares."""
        return self._of_route.get(route, ())

    def price_of(self, route: str) -> float:
        """Return the highest shadow price of the budgets that a route shares; 0 if there is none."""
        return max((budget.pacer.shadow_price for budget in self.of(route)), default=0.0)

    def hard_limits(
        self, route: str, at_s: float, *, reserved_usd: Mapping[str, float] | None = None
    ) -> tuple[MoneyLeft, ...]:
        """Return what the hard ones among a route's budgets have left.

        ``reserved_usd``, by route, is for decisions that were made and are not booked yet.
        """
        limits = []
        for budget in self.of(route):
            if budget.body.hard:
                left, waiting = budget.money_left(at_s), reserved_usd or {}
                usd = sum(usd for name, usd in waiting.items() if budget in self.of(name))
                limits.append(left.without(usd))
        return tuple(limits)

    def decide(self, decision: Decision, at_s: float) -> list[str]:
        """Book a decision; returns the names of the routes whose price may have changed."""
        changed = [budget for budget in self.of(decision.route) if budget.decide(decision, at_s)]
        if not changed:
            return []  # as nearly always: there may be many routes
        return [name for name, budgets in self._of_route.items() if any(b in changed for b in budgets)]

    def settle(self, route: str, usd: float, at_s: float) -> None:
        """Book what a decision cost beyond what was booked."""
        for budget in self.of(route):
            budget.settle(usd, at_s)

    def state(self) -> dict[str, SavedShared]:
        """Return everything but the declarations."""
        return {name: budget.state() for name, budget in self.by_name.items()}

    def restore(self, saved: Mapping[str, SavedShared]) -> None:
        """Become what gave `state`, after `configure`."""
        for name, state in saved.items():
            self.by_name[name].restore(state)
