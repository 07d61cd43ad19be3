"""What money is worth at this moment: the route's objective, its budget, and the priced floor.

Looks at a window of recent contexts and asks the pacer for the shadow price at which the policy's own
distribution over them costs what the budget allows.
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
"""Requests between two solutions of the shadow price at first, while beliefs still move much; once as many
have been made as the budget looks ahead, twice as many, which is a whole window."""
TYPICAL_INPUT_TOKENS: Final = 100.0
MOST_REQUESTS_A_CALL: Final = 20.0
"""A provider has no floor where one call costs more than the budget of so many requests."""

UNKNOWN_SHARE: Final = 0.05
"""Share of requests, and of a budget, for providers that were judged less often than `ENOUGH_FEEDBACK`:
a provider whose first few answers were unlucky is not given up."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What money is worth from now on."""

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
        """Whether shadow price and floor are to be solved anew before anything else is learned."""
        self.version = 0
        """How many solutions there were so far."""
        self._set(route)

    def _set(self, route: Route, out: Sequence[bool] = ()) -> None:
        self._objective = route.objective
        self._share = route.exploration_share
        self._unknown_share = min(UNKNOWN_SHARE, route.newcomer_share)
        self.exploring = self._share > 0 and self._policy.name == "thompson"
        self.floor: FloatArray = np.zeros(len(route.providers))
        self._out = np.array(out, dtype=np.bool_) if out else np.zeros(len(route.providers), dtype=np.bool_)
        if route.budget is None:
            self._pacer = None
        elif self._pacer is None or self._pacer.budget != route.budget:
            self._pacer = Pacer(route.budget)

    def configure(self, route: Route, beliefs: Beliefs, *, out: Sequence[bool] = ()) -> None:
        """Take another objective, budget or list of providers from now on.

        The policy chooses among those who are not ``out``: no request may use them, or they are new and
        have a quota instead.
        """
        self._set(route, out)
        self.update(beliefs)

    def check_time(self, at_s: float | None) -> None:
        """Raise `InvalidInput` for a decision without a time under a budget per day."""
        if at_s is None and self._pacer is not None and self._pacer.budget.usd_per_day is not None:
            raise InvalidInput(
                "the route has a budget per day and the decision no time, so its day would never end: "
                "give at_s, seconds since an epoch that starts at midnight"
            )

    @property
    def shadow_price(self) -> float:
        """Quality that one USD must bring under the route's own objective and budget."""
        return self.weights(None)[0]

    @property
    def spent_usd(self) -> float:
        """Money spent under the present budget, with expectations where the real cost is not known."""
        return self._pacer.spent_usd if self._pacer is not None else 0.0

    @property
    def target_usd(self) -> float | None:
        """What one request may cost on average now; None without a budget."""
        return self._pacer.target_usd() if self._pacer is not None else None

    def weights(self, objective: Objective | None) -> tuple[float, float]:
        """λ in quality per USD and the weight of a second, for one request's objective or the route's."""
        wanted = objective or self._objective
        worth = wanted.willingness_to_pay_usd
        price = 1.0 / worth if worth is not None else 0.0
        if self._pacer is not None:
            price = max(price, self._pacer.shadow_price)
        return price, wanted.latency_weight

    def record(self, decision: Decision) -> None:
        """Remember a context and the money that is expected to go; every few requests a solution is due."""
        if self._pacer is None:
            return
        if decision.fallback_used is None:
            self._window.append((decision.features, decision.input_tokens))
        self._pacer.request(decision.expected_usd, at_s=decision.at_s)
        self._since += 1
        due = SOLVE_EVERY if self._pacer.requests <= HORIZON else WINDOW
        if self._since >= due or self._pacer.requests == 1:
            self.needs_solve = True

    def spend(self, usd: float) -> None:
        """Book the difference between what was expected and what was really spent."""
        if self._pacer is not None:
            self._pacer.spend(usd)

    def replace_window(self, rows: Iterable[tuple[FloatArray, float]]) -> None:
        """Replace the window, after the features have changed."""
        self._window = deque(rows, maxlen=WINDOW)

    def state(self) -> State:
        """The window, the floor and the account, as plain arrays."""
        own = {
            "features": np.array([features for features, _ in self._window]),
            "input_tokens": np.array([tokens for _, tokens in self._window], dtype=np.float64),
            "counts": np.array([self._since, self.version, self.needs_solve], dtype=np.int64),
            "out": self._out,
            "floor": self.floor,
        }
        return {**own, **joined(pacer=self._pacer.state() if self._pacer is not None else {})}

    def restore(self, state: State) -> None:
        """Become what gave `state`, on the same route."""
        pairs = zip(state["features"], state["input_tokens"].tolist(), strict=True)
        self._window = deque(pairs, maxlen=WINDOW)
        self._since, self.version, due = state["counts"].tolist()
        self.needs_solve, self.floor = bool(due), state["floor"].copy()
        self.floor.setflags(write=False)
        self._out = state["out"].copy()
        if self._pacer is not None:
            self._pacer.restore(part(state, "pacer"))

    def update(self, beliefs: Beliefs) -> None:
        """Solve the shadow price on the window, and price the floor with it."""
        self.adopt(self.solve(beliefs))

    def adopt(self, solution: Solution) -> None:
        """Let a solution be in force."""
        self._since, self.needs_solve = 0, False
        self.version += 1
        self.floor = solution.floor
        if self._pacer is not None:
            self._pacer.shadow_price = solution.shadow_price

    def solve(self, beliefs: Beliefs) -> Solution:
        """The solution for the window and what is believed; changes nothing."""
        floor = self._priced_floor(beliefs)
        pacer = self._pacer
        if pacer is None:
            return Solution(shadow_price=0.0, floor=floor)
        # Before the first request, the average context stands for those to come.
        at = beliefs.quality.posterior.centre
        window = self._window or [(at[1:], TYPICAL_INPUT_TOKENS)]
        rows = np.ones((len(window), len(at)))
        rows[:, 1:] = [features for features, _ in window]
        judged = beliefs.judge(rows, beliefs.prices(np.array([tokens for _, tokens in window])))

        def spend_at(shadow_price: float) -> float:
            utility, spread = judged.utility(shadow_price, self._objective.latency_weight)
            utility[:, self._out] = -np.inf
            chances = self._policy.probabilities(utility, spread)
            if self.exploring:
                chances = chances * (1.0 - floor.sum()) + floor
            return float((chances * judged.cost_usd).sum() / len(rows))

        mean_usd = judged.cost_usd.mean(axis=0)
        price = pacer.solve(spend_at, least_usd=float(mean_usd[~self._out].min()))
        return Solution(shadow_price=price, floor=floor)

    def _priced_floor(self, beliefs: Beliefs) -> FloatArray:
        if not self.exploring:
            return self.floor
        tokens = float(np.mean([tokens for _, tokens in self._window])) if self._window else 0.0
        at = beliefs.quality.posterior.centre[None]
        cost = beliefs.judge(at, beliefs.prices(tokens)).cost_usd[0]
        grant = self.target_usd or float(np.median(cost))
        floor = priced_floor(cost, grant, share=self._share)
        unknown = np.array([beliefs.quality.count(name) < ENOUGH_FEEDBACK for name in beliefs.names])
        if unknown.any():
            first = priced_floor(cost, grant, share=self._unknown_share)
            floor = np.where(unknown, np.maximum(first, floor), floor)
        # One call that eats the budget of many requests is a gamble, however rarely it is drawn.
        left: FloatArray = np.where((cost > MOST_REQUESTS_A_CALL * grant) | self._out, 0.0, floor)
        # It is in every decision, and nobody may change it there.
        left.setflags(write=False)
        return left
