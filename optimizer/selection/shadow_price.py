"""The shadow price: what money is currently worth, by the route's objective and budget.

The pacer finds the shadow price at which the policy's own distribution over a window of recent contexts costs
what the budget allows. The floor under every propensity is priced with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.selection.exploration import ENOUGH_FEEDBACK, priced_floor
from fairlead.optimizer.selection.pacer import HORIZON, Pacer
from fairlead.optimizer.types import Decision, FloatArray, Objective, Route
from fairlead.optimizer.types.arrays import State, joined, part

WINDOW: Final = 64
SOLVE_EVERY: Final = 32
"""Requests between two solutions of the shadow price at first, while beliefs still move much; once the
budget's horizon has passed, twice as many, which is a whole window."""

TYPICAL_INPUT_TOKENS: Final = 100.0
MOST_REQUESTS_A_CALL: Final = 20.0
"""A provider has no floor if one call costs more than the budget of this many requests."""

UNKNOWN_SHARE: Final = 0.05
"""Share of requests, and of a budget, for providers with less feedback than `ENOUGH_FEEDBACK`: a provider
whose first few answers were unlucky is not given up."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The shadow price of a budget, and the floor that follows from it."""

    shadow_price: float
    floor: FloatArray
    """Least probability of each provider, shape (k,)."""


class Pacing:
    """Shadow price, window of recent contexts, and exploration floor of one route."""

    def __init__(self, route: Route, policy: Policy) -> None:
        self._policy = policy
        self._window: deque[tuple[FloatArray, float]] = deque(maxlen=WINDOW)
        self._since = 0
        self._pacer: Pacer | None = None
        self.needs_solve = False
        """Whether shadow price and floor must be recomputed before anything else is learned."""
        self.version = 0
        """Number of solutions so far."""
        self._use(route)

    def _use(self, route: Route, excluded: Sequence[bool] = ()) -> None:
        k = len(route.providers)
        self._objective = route.objective
        self._share = route.exploration_share
        self._unknown_share = min(UNKNOWN_SHARE, route.newcomer_share)
        self.has_floor = self._share > 0 and self._policy.takes_floor
        self.floor: FloatArray = np.zeros(k)
        self._excluded = np.array(excluded, dtype=np.bool_) if excluded else np.zeros(k, dtype=np.bool_)
        if route.budget is None:
            self._pacer = None
        elif self._pacer is None or self._pacer.budget != route.budget:
            self._pacer = Pacer(route.budget)

    def configure(self, route: Route, beliefs: Beliefs, *, excluded: Sequence[bool] = ()) -> None:
        """Use another objective, budget or list of providers from now on.

        The policy chooses among providers that are not ``excluded``: no request may use those, or they are
        new and have a quota instead.
        """
        self._use(route, excluded)
        self.update(beliefs)

    @property
    def shadow_price(self) -> float:
        """Quality that one USD must bring under the route's own objective and budget."""
        return self._weights(self._objective)[0]

    @property
    def spent_usd(self) -> float:
        """Money spent under the present budget, as expected if the real cost is not known."""
        return self._pacer.spent_usd if self._pacer is not None else 0.0

    @property
    def target_usd(self) -> float | None:
        """What one request may cost on average now; None without a budget."""
        return self._pacer.target_usd() if self._pacer is not None else None

    def weights(self, objective: Objective | None, *, at_s: float | None) -> tuple[float, float]:
        """λ in quality per USD and the weight of a second, for one request's objective or the route's.

        Raises `InvalidInput` without a time under a budget per day.
        """
        if at_s is None and self._pacer is not None and self._pacer.budget.usd_per_day is not None:
            raise InvalidInput(
                "the route has a budget per day and the decision no time, so its day would never end: "
                "give at_s, seconds since an epoch that starts at midnight"
            )
        return self._weights(objective or self._objective)

    def _weights(self, objective: Objective) -> tuple[float, float]:
        worth = objective.willingness_to_pay_usd
        price = 1.0 / worth if worth is not None else 0.0
        if self._pacer is not None:
            price = max(price, self._pacer.shadow_price)
        return price, objective.latency_weight

    def record(self, decision: Decision) -> None:
        """Record a decision's context and expected cost; every few requests a solution is needed."""
        if self._pacer is None:
            return
        if decision.fallback_used is None:
            self._window.append((decision.features, decision.input_tokens))
        self._pacer.request(decision.expected_usd, at_s=decision.at_s)
        self._since += 1
        interval = SOLVE_EVERY if self._pacer.requests <= HORIZON else WINDOW
        if self._since >= interval or self._pacer.requests == 1:
            self.needs_solve = True

    def spend(self, usd: float) -> None:
        """Book the difference between what was expected and what was really spent."""
        if self._pacer is not None:
            self._pacer.spend(usd)

    def replace_window(self, rows: Iterable[tuple[FloatArray, float]]) -> None:
        """Replace the window, after the features have changed."""
        self._window = deque(rows, maxlen=WINDOW)

    def state(self) -> State:
        """Return the window, the floor and the account, as plain arrays."""
        own = {
            "features": np.array([features for features, _ in self._window]),
            "input_tokens": np.array([tokens for _, tokens in self._window], dtype=np.float64),
            "counts": np.array([self._since, self.version, self.needs_solve], dtype=np.int64),
            "out": self._excluded,
            "floor": self.floor,
        }
        return {**own, **joined(pacer=self._pacer.state() if self._pacer is not None else {})}

    def restore(self, state: State) -> None:
        """Become what gave `state`, on the same route."""
        pairs = zip(state["features"], state["input_tokens"].tolist(), strict=True)
        self._window = deque(pairs, maxlen=WINDOW)
        self._since, self.version, needs_solve = state["counts"].tolist()
        self.needs_solve, self.floor = bool(needs_solve), state["floor"].copy()
        self.floor.setflags(write=False)
        self._excluded = state["out"].copy()
        if self._pacer is not None:
            self._pacer.restore(part(state, "pacer"))

    def update(self, beliefs: Beliefs) -> None:
        """Solve for shadow price and floor, and use both."""
        self.adopt(self.solve(beliefs))

    def adopt(self, solution: Solution) -> None:
        """Use a solution from now on."""
        self._since, self.needs_solve = 0, False
        self.version += 1
        self.floor = solution.floor
        if self._pacer is not None:
            self._pacer.shadow_price = solution.shadow_price

    def solve(self, beliefs: Beliefs) -> Solution:
        """Solve for the shadow price on the window, and price the floor; changes nothing."""
        floor = self._priced_floor(beliefs)
        pacer = self._pacer
        if pacer is None:
            return Solution(shadow_price=0.0, floor=floor)
        # Before the first request, the average context stands for those to come.
        centre = beliefs.quality.posterior.centre
        window = self._window or [(centre[1:], TYPICAL_INPUT_TOKENS)]
        rows = np.ones((len(window), len(centre)))
        rows[:, 1:] = [features for features, _ in window]
        prediction = beliefs.predict(rows, np.array([tokens for _, tokens in window]))

        def spend_at(shadow_price: float) -> float:
            weight = self._objective.latency_weight
            mean, spread = prediction.utility(shadow_price=shadow_price, latency_weight=weight)
            mean[:, self._excluded] = -np.inf
            probabilities = self._policy.probabilities(mean, spread)
            if self.has_floor:
                probabilities = probabilities * (1.0 - floor.sum()) + floor
            return float((probabilities * prediction.cost_usd).sum() / len(rows))

        mean_usd = prediction.cost_usd.mean(axis=0)
        price = pacer.solve(spend_at, least_usd=float(mean_usd[~self._excluded].min()))
        return Solution(shadow_price=price, floor=floor)

    def _priced_floor(self, beliefs: Beliefs) -> FloatArray:
        if not self.has_floor:
            return self.floor
        tokens = float(np.mean([tokens for _, tokens in self._window])) if self._window else 0.0
        cost = beliefs.predict(beliefs.quality.posterior.centre[None], tokens).cost_usd[0]
        target = self.target_usd or float(np.median(cost))
        floor = priced_floor(cost, target, share=self._share)
        unknown = np.array([beliefs.quality.count(name) < ENOUGH_FEEDBACK for name in beliefs.names])
        if unknown.any():
            first = priced_floor(cost, target, share=self._unknown_share)
            floor = np.where(unknown, np.maximum(first, floor), floor)
        # One call that eats the budget of many requests is a gamble, however rarely it is drawn.
        floor = np.where((cost > MOST_REQUESTS_A_CALL * target) | self._excluded, 0.0, floor)
        # Every decision holds this array, and none may be changed by another.
        floor.setflags(write=False)
        return floor
