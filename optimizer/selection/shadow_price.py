"""The shadow price: what money is currently worth, by the route's objective and budget.

The pacer finds the shadow price at which the policy's own distribution over a window of recent contexts costs
what the budget allows. The floor under every propensity is priced with it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.text import TextChange
from fairlead.optimizer.models.beliefs import Beliefs, Prediction
from fairlead.optimizer.models.pricing import TYPICAL_INPUT_TOKENS
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.selection.exploration import (
    ENOUGH_FEEDBACK,
    NOBODY,
    BoolArray,
    Trials,
    believable,
    cost_trials,
    newcomer_quota,
    priced_floor,
    spare_usd,
)
from fairlead.optimizer.selection.money_left import MoneyLeft
from fairlead.optimizer.selection.pacer import ENOUGH_REQUESTS, HORIZON, Pacer
from fairlead.optimizer.selection.sample import PeriodSample
from fairlead.optimizer.types import Decision, Evidence, FloatArray, Objective, Route
from fairlead.optimizer.types.arrays import State, from_texts, joined, part, texts
from fairlead.optimizer.types.budget import BudgetAlarm

WINDOW: Final = 64
SOLVE_EVERY: Final = 32
"""Requests between two solutions of the shadow price at first, while beliefs still move much; once the
budget's horizon has passed, twice as many, which is a whole window."""

MOST_REQUESTS_A_CALL: Final = 20.0
"""A provider has no floor if one call costs more than the budget of this many requests; for one whose real
cost was never seen, see `cost_trials`."""

OUT_OF_REACH: Final = 1.25
"""How many times a budget everybody whose cost was seen must be expected to cost, and must have been spent,
before it is taken for a sign that a list is wrong: costs vary, and the first of them may be high."""

_FOUND: Final = 1.0 / 32.0
"""The part of what its list claims that a first invoice says where that list is probably wrong."""

CHOSEN_FOR_COST: Final = 0.56
"""Standard deviations of a cost by which it counts as higher in what coming requests are expected to spend.
Providers are chosen for costs that are believed to be low: the lower of two beliefs about the same cost is
1/√π standard deviations below it on average. Once costs are known this comes to nothing."""

UNKNOWN_SHARE: Final = 0.05
"""Share of requests, and of what a budget leaves beyond the cheapest provider, for providers with less
feedback than `ENOUGH_FEEDBACK`: one whose first few answers were unlucky is not given up."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The shadow price of a budget, and the floor that follows from it."""

    shadow_price: float
    floor: FloatArray
    """Least probability of each provider, shape (k,)."""
    trials: Trials = NOBODY
    """Who is tried for its cost, which is part of the floor."""
    mean_usd: float = 0.0
    """What a request is expected to cost on average at this price."""
    least_usd: float = 0.0
    """What it would cost if the cheapest provider served all."""


class Pacing:
    """Shadow price, window of recent contexts, and exploration floor of one route."""

    def __init__(self, route: Route, policy: Policy) -> None:
        self._policy = policy
        self._window: deque[tuple[FloatArray, float]] = deque(maxlen=WINDOW)
        self._since = 0
        self._sample = PeriodSample()
        self._pacer: Pacer | None = None
        """The account of the budget. If the budget is taken away it is kept, in case it comes back."""
        self._has_budget = False
        self.shared_price = 0.0
        """Shadow price of budgets that the route shares with others; the highest of all prices applies."""
        self.hard_limits: tuple[MoneyLeft, ...] = ()
        """What hard budgets that the route shares have left just now; not part of the state."""
        self.reserved_usd = 0.0
        """What an own hard budget must keep for decisions not learned yet; not part of the state."""
        self.needs_solve = False
        """Whether shadow price and floor must be recomputed before anything else is learned."""
        self.version = 0
        """Number of solutions so far."""
        self._requests = 0
        self._calls: dict[str, int] = {}
        """Decisions so far for each provider; ``_requests`` counts those for all."""
        self._trials, self.on_trial = NOBODY, dict[str, str]()
        """Why providers are tried for their cost, by name."""
        self._resting = frozenset[str]()
        """Providers whose trial has had its call, until the next `WINDOW` of requests begins."""
        self._tried = frozenset[str]()
        """Providers that were ever called while on trial."""
        self._use(route)

    def _use(self, route: Route, excluded: Sequence[bool] = (), newcomers: Sequence[bool] = ()) -> None:
        self._names = tuple(provider.name for provider in route.providers)
        k = len(route.providers)
        self._objective = route.objective
        self._share = route.exploration_share
        self._unknown_share = min(UNKNOWN_SHARE, route.newcomer_share)
        self.has_floor = self._share > 0 and self._policy.takes_floor
        self.floor: FloatArray = np.zeros(k)
        self._excluded = np.array(excluded, dtype=np.bool_) if excluded else np.zeros(k, dtype=np.bool_)
        self._newcomers = np.array(newcomers, dtype=np.bool_) if newcomers else np.zeros(k, dtype=np.bool_)
        self._newcomer_share = route.newcomer_share
        self._has_budget = route.budget is not None
        if route.budget is not None and self._pacer is None:
            self._pacer = Pacer(route.budget)
        elif route.budget is not None and self._pacer is not None and self._pacer.budget != route.budget:
            self._pacer.change(route.budget)

    def configure(
        self,
        route: Route,
        beliefs: Beliefs,
        *,
        excluded: Sequence[bool] = (),
        newcomers: Sequence[bool] = (),
    ) -> None:
        """Use another objective, budget or list of providers from now on.

        The policy chooses among providers that are not ``excluded``: no request may use those, or they have
        a quota instead, which for ``newcomers`` among them is known beforehand.
        """
        self._use(route, excluded, newcomers)
        self.update(beliefs)

    def exclude(self, excluded: Sequence[bool]) -> None:
        """Solve again if other providers are ``excluded`` than before."""
        if excluded != self._excluded.tolist():
            self._excluded, self.needs_solve = np.array(excluded, dtype=np.bool_), True

    @property
    def shadow_price(self) -> float:
        """Quality that one USD must bring under the route's own objective and budget."""
        return self._weights(self._objective)[0]

    @property
    def spent_usd(self) -> float:
        """Money spent since there is a budget, as expected if the real cost is not known."""
        return self._pacer.spent_usd if self._pacer is not None else 0.0

    def share(self, shadow_price: float) -> None:
        """Take another shadow price of the budgets that the route shares with others."""
        if shadow_price != self.shared_price:
            self.shared_price = shadow_price
            # What the own budget costs at its own price is another now.
            self.needs_solve = self.needs_solve or self.pacer is not None

    @property
    def alarms(self) -> list[BudgetAlarm]:
        """The latest alarms of the budget, oldest first."""
        return self._pacer.alarms if self._pacer is not None else []

    @property
    def alarm_counts(self) -> dict[str, int]:
        """How many alarms of the budget were raised so far, by kind."""
        return self._pacer.account.raised if self._pacer is not None else {}

    def money_left(self, at_s: float | None) -> tuple[MoneyLeft, ...]:
        """Return what hard budgets have left: the route's own, and those that it shares."""
        pacer, limits = self._pacer, self.hard_limits
        if pacer is not None and self._has_budget and pacer.budget.hard and at_s is not None:
            limits = (*limits, pacer.money_left(at_s).without(self.reserved_usd))
        return limits

    def check_left(
        self, ineligible: dict[str, str], names: Sequence[str], *, cost_usd: FloatArray, at_s: float | None
    ) -> None:
        """Add the providers whose expected cost (k,) does not fit what is left of a hard budget.

        Raises `BudgetSpent` if that leaves none of those that were eligible: after all rules, so that a
        refusal says whether a rule or money is in the way.
        """
        for left in self.money_left(at_s):
            left.check(ineligible, names, cost_usd=cost_usd)

    @property
    def pacer(self) -> Pacer | None:
        """The account of the present budget; None without one."""
        return self._pacer if self._has_budget else None

    @property
    def target_usd(self) -> float | None:
        """What one request may cost on average now; None without a budget."""
        return self._pacer.target_usd() if self._pacer is not None and self._has_budget else None

    def weights(self, objective: Objective | None, *, at_s: float | None) -> tuple[float, float]:
        """λ in quality per USD and the weight of a second, for one request's objective or the route's.

        Raises `InvalidInput` without a time under a budget with periods.
        """
        if at_s is None and (pacer := self.pacer) is not None and pacer.budget.period is not None:
            kind = pacer.budget.period.removeprefix("calendar_")
            raise InvalidInput(
                f"the route has a budget per {kind} and the decision no time, so its {kind} would never end: "
                "give at_s, seconds since 1970"
            )
        return self._weights(objective or self._objective)

    def _weights(self, objective: Objective) -> tuple[float, float]:
        worth = objective.willingness_to_pay_usd
        price = max(1.0 / worth if worth is not None else 0.0, self.shared_price)
        if self._pacer is not None and self._has_budget:
            price = max(price, self._pacer.shadow_price)
        return price, objective.latency_weight

    def utility(
        self, prediction: Prediction, *, shadow_price: float, latency_weight: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean utility and its spread, (n, k), as the policy of the route is to see them."""
        explores = self._policy.takes_floor
        return prediction.utility(shadow_price=shadow_price, latency_weight=latency_weight, explores=explores)

    def record(self, decision: Decision) -> None:
        """Record a decision's context and expected cost; every few requests a solution is needed."""
        self._requests += 1
        self._calls[decision.selected] = self._calls.get(decision.selected, 0) + 1
        if decision.selected in self.on_trial:
            # One call in so many requests: until the next, it is probably known what it cost.
            self._resting |= {decision.selected}
            self._tried |= {decision.selected}
            self.needs_solve = True
        if self._resting and self._requests % WINDOW == 0:
            self.needs_solve, self._resting = True, frozenset()
        pacer = self._pacer
        if pacer is None:
            return
        if not self._has_budget:
            pacer.spend(decision.expected_usd, at_s=decision.at_s)
            return
        must_solve = pacer.request(decision.expected_usd, at_s=decision.at_s)
        if decision.fallback_used is None:
            self._window.append((decision.features, decision.input_tokens))
            if pacer.budget.period is not None:
                if pacer.has_new_period:
                    self._sample.next_period()
                self._sample.add(self._window[-1])
        self._since += 1
        interval = SOLVE_EVERY if pacer.requests <= HORIZON else WINDOW
        if self._since >= interval or pacer.requests == 1 or must_solve:
            self.needs_solve = True

    def spend(self, usd: float, *, at_s: float | None) -> None:
        """Book the difference between what was expected of a decision and what it really cost."""
        if self._pacer is not None:
            self._pacer.spend(usd, at_s=at_s)

    def foresee(self, evidence: Evidence, features: FloatArray) -> None:
        """Let the contexts of evidence, evenly spaced, stand for those to come while the route has none."""
        rows = np.flatnonzero(np.isfinite(features).all(axis=1))
        if not self._window and len(rows):
            tokens = evidence.input_tokens if len(evidence.input_tokens) else np.zeros(len(evidence))
            for at in rows[np.linspace(0, len(rows) - 1, min(len(rows), WINDOW)).astype(np.intp)].tolist():
                self._window.append((features[at], float(tokens[at])))
            self.needs_solve = True

    def reencode(self, rows: Iterable[tuple[FloatArray, float]], change: TextChange) -> None:
        """Replace the window by the latest decisions in the features of another encoder."""

        def encode(features: FloatArray) -> FloatArray:
            mapped: FloatArray = change.features(features[None], [None])[0]
            return mapped

        own = list(rows) or [(encode(features), tokens) for features, tokens in self._window]
        self._window = deque(own, maxlen=WINDOW)
        self._sample.map(encode)

    def state(self) -> State:
        """Return the window, the floor and the account, as plain arrays."""
        own = {
            "features": np.array([features for features, _ in self._window]),
            "input_tokens": np.array([tokens for _, tokens in self._window], dtype=np.float64),
            "counts": np.array([self._since, self.version, self.needs_solve], dtype=np.int64),
            "out": self._excluded,
            "new": self._newcomers,
            "floor": self.floor,
            "shared_price": np.array(self.shared_price),
        }
        pacer = self._pacer.state() if self._pacer is not None else {}
        names = sorted(self._calls)
        counts = np.array([self._requests, *(self._calls[name] for name in names)], dtype=np.int64)
        resting = texts(sorted(self._resting))
        trials = {**self._trials.state(), "names": texts(names), "counts": counts, "resting": resting}
        trials["tried"] = texts(sorted(self._tried))
        return {**own, **joined(pacer=pacer, sample=self._sample.state(), trials=trials)}

    def restore(self, state: State) -> None:
        """Become what gave `state`, on the same route."""
        pairs = zip(state["features"], state["input_tokens"].tolist(), strict=True)
        self._window = deque(pairs, maxlen=WINDOW)
        self._since, self.version, needs_solve = state["counts"].tolist()
        self.needs_solve, self.floor = bool(needs_solve), state["floor"].copy()
        self.floor.setflags(write=False)
        self._excluded = state["out"].copy()
        self._newcomers = state.get("new", np.zeros_like(self._excluded)).copy()
        if self._pacer is not None:
            self._pacer.restore(part(state, "pacer"))
        self.shared_price = float(state.get("shared_price", np.zeros(())))
        if sample := part(state, "sample"):
            self._sample.restore(sample)
        if trials := part(state, "trials"):  # 0.1.0 had none
            self._requests, *calls = trials["counts"].tolist()
            self._calls = dict(zip(from_texts(trials["names"]), calls, strict=True))
            self._resting = frozenset(from_texts(trials["resting"]))
            self._tried = frozenset(from_texts(trials["tried"]))
            self._use_trials(Trials(**{name: trials[name].copy() for name in ("floor", "usd", "calls")}))

    def update(self, beliefs: Beliefs) -> None:
        """Solve for shadow price and floor, and use both."""
        self.adopt(self.solve(beliefs))

    def adopt(self, solution: Solution) -> None:
        """Use a solution from now on."""
        self._since, self.needs_solve = 0, False
        self.version += 1
        self.floor = solution.floor
        self._use_trials(solution.trials)
        if (pacer := self.pacer) is not None:
            pacer.adopt(solution.shadow_price, mean_usd=solution.mean_usd, least_usd=solution.least_usd)

    def solve(self, beliefs: Beliefs) -> Solution:
        """Solve for the shadow price on the window, and price the floor; changes nothing."""
        usual, trials = self._priced_floor(beliefs)
        floor = np.maximum(usual, trials.floor) if trials.floor.any() else usual
        # Every decision holds this array, and none may be changed by another.
        floor.setflags(write=False)
        pacer = self.pacer
        if pacer is None:
            return Solution(shadow_price=0.0, floor=floor, trials=trials)
        # Before the first request, the average context stands for those to come.
        centre = beliefs.quality.posterior.centre
        rows_of_period = self._sample.rows if pacer.budget.period is not None else ()
        window = rows_of_period or self._window or [(centre[1:], TYPICAL_INPUT_TOKENS)]
        rows = np.ones((len(window), len(centre)))
        rows[:, 1:] = [features for features, _ in window]
        prediction = beliefs.predict(rows, np.array([tokens for _, tokens in window]))

        cost = prediction.cost_usd + CHOSEN_FOR_COST * prediction.expected[3]
        mean_cost = cost.mean(axis=0)
        # Without trials: a few calls for money that is settled afterwards.
        fixed = self._fixed_shares(mean_cost, usual)

        def spend_at(shadow_price: float) -> float:
            weight = self._objective.latency_weight
            price = max(shadow_price, self.shared_price)
            mean, spread = self.utility(prediction, shadow_price=price, latency_weight=weight)
            mean[:, self._excluded] = -np.inf
            probabilities = self._policy.probabilities(mean, spread)
            probabilities = probabilities * (1.0 - fixed.sum()) + fixed
            return float((probabilities * cost).sum() / len(rows))

        least_usd = float(mean_cost[~self._excluded].min())
        # What quotas and floors cost is paid whatever the price.
        fixed_usd = float(fixed @ (mean_cost - least_usd))
        own_price = pacer.solve(spend_at, least_usd=least_usd + fixed_usd)
        mean_usd = spend_at(own_price) if pacer.budget.period is not None else math.nan
        return Solution(
            shadow_price=own_price, floor=floor, trials=trials, mean_usd=mean_usd, least_usd=least_usd
        )

    def _use_trials(self, trials: Trials) -> None:
        self._trials = trials
        self.on_trial = dict(trials.reasons(self._names)) if trials.floor.any() else {}

    def _fixed_shares(self, cost_usd: FloatArray, floor: FloatArray) -> FloatArray:
        """Return what each provider gets beside what the policy gives it, by quota and floor, shape (k,)."""
        fixed = floor if self.has_floor else np.zeros(len(cost_usd))
        new = self._newcomers & self._excluded
        if not new.any():
            return fixed
        quota = newcomer_quota(new, cost_usd, self.target_usd, share=self._newcomer_share)
        result: FloatArray = quota * (1.0 - fixed.sum()) + fixed
        return result

    def _priced_floor(self, beliefs: Beliefs) -> tuple[FloatArray, Trials]:
        """Return the floor under every propensity, and the trials of those whose cost was never seen."""
        if not self.has_floor:
            return self.floor, NOBODY
        tokens = float(np.mean([tokens for _, tokens in self._window])) if self._window else 0.0
        cost = beliefs.predict(beliefs.quality.posterior.centre[None], tokens).cost_usd[0]
        target = self.target_usd
        if target is None:
            target = spare = float(np.median(cost))
        else:
            spare = spare_usd(cost, target)
        floor = priced_floor(cost, spare, share=self._share)
        feedback, is_paid = beliefs.experience()
        unknown = feedback < ENOUGH_FEEDBACK
        if unknown.any():
            first = priced_floor(cost, spare, share=self._unknown_share)
            floor = np.where(unknown, np.maximum(first, floor), floor)
        # One call that eats the budget of many requests is a gamble, however rarely it is drawn.
        floor = np.where((cost > MOST_REQUESTS_A_CALL * target) | self._excluded, 0.0, floor)
        resting = np.array([name in self._resting for name in beliefs.names], dtype=np.bool_)
        dear = ~is_paid & ~self._excluded & ~resting & (cost - cost.min() > target)
        if not dear.any():
            return floor, NOBODY
        listed = beliefs.listed_usd(cost, tokens)
        return floor, self._cost_trials(
            beliefs, cost, listed, unknown=dear, is_paid=is_paid, target_usd=target
        )

    def _cost_trials(
        self,
        beliefs: Beliefs,
        cost_usd: FloatArray,
        listed_usd: FloatArray,
        *,
        unknown: BoolArray,
        is_paid: BoolArray,
        target_usd: float,
    ) -> Trials:
        """Return the trials of providers whose real cost was never seen, by expected and listed costs (k,).

        Those are tried that are dearer than the cheapest by more than ``target_usd``, a request's budget. The
        fund is what those of whom little is known may spend of the requests over which a debt is settled, or
        newcomers, if a list is probably wrong; and of all requests so far, what both shares come to. If the
        budget was not kept, and cannot be with anyone whose cost is known, it also has what goes beyond it.
        """
        share = self._newcomer_share
        calls = np.array([self._calls.get(name, 0) for name in beliefs.names], dtype=np.int64)
        seen = beliefs.seen_shares(unknown & (calls > 0))
        claimed = cost_usd * seen
        grant, overspent = self._overspent(claimed[is_paid | (calls > 0)])
        factors = [beliefs.cost_scale(beliefs.names[i]) for i in np.flatnonzero(is_paid).tolist()]
        was_tried = is_paid & np.array([name in self._tried for name in beliefs.names], dtype=np.bool_)
        # A few dear answers at first are no sign: it must be more than trials may cost anyway.
        in_need = overspent > self._unknown_share * HORIZON and (seen > _FOUND).all()
        lists = listed_usd * seen
        believed = believable(claimed, lists, is_paid=is_paid, list_factors=factors, in_need=bool(in_need))
        doubted = believed < cost_usd
        fund = np.where(doubted, share, self._unknown_share) * HORIZON + overspent
        fund += self._unknown_share * share * self._requests
        return cost_trials(
            believed,
            unknown=unknown,
            doubted=doubted,
            calls=calls,
            spent_usd=np.where(was_tried, cost_usd, 0.0),
            fund_usd=fund * (grant or target_usd),
            share=share,
        )

    def _overspent(self, seen_usd: FloatArray) -> tuple[float | None, float]:
        """Return the budget per request, if there is one, and how many requests' worth went beyond it.

        It counts beyond `OUT_OF_REACH`, and as far as nobody whose cost was seen, ``seen_usd``, costs less.
        """
        pacer = self.pacer
        grant = pacer.budget.usd_per_request if pacer is not None else None
        if pacer is None or not grant or not len(seen_usd) or pacer.requests < ENOUGH_REQUESTS:
            return grant, 0.0
        most = min(float(seen_usd.min()) * self._requests, pacer.spent_usd) / grant
        return grant, max(most - OUT_OF_REACH * self._requests, 0.0)
