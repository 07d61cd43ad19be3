"""The players of a simulation: the router, and the plain policies that it is compared with.

The two peers use the published algorithms as they stand, one ridge regression per provider on the same
features, with the settings named below; neither shares anything between providers.

- `linucb`: Li, Chu, Langford and Schapire (2010), *A contextual-bandit approach to personalized news article
  recommendation*, disjoint models, alpha = 0.2, ridge penalty 1.
- `thompson`: Agrawal and Goyal (2013), *Thompson sampling for contextual bandits with linear payoffs*, with
  v = 0.2, ridge penalty 1. For one request, the sampled scores are independent normal draws.

With a willingness to pay, both subtract cost / willingness to pay. With a budget, both are paced as
ParetoBandit (arXiv 2604.00136) does it: the score is quality − λ · c, where c in [0, 1] is the provider's
mean cost so far on a logarithmic scale from the cheapest to the dearest, and λ in [0, 5] follows the spend,
λ ← λ + 0.05 · (smoothed cost / budget − 1), smoothed over 20 requests. Until a provider's first cost they
use the price list, if there is one, at 300 tokens of output, else the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from fairlead.experiments.simulation.scenario import Goal, Matrix
from fairlead.experiments.simulation.stream import Segment, Stream
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import (
    Budget,
    Constraints,
    Context,
    Feedback,
    FloatArray,
    Objective,
    Outcome,
    Prices,
    Provider,
    Route,
)

_ALPHA: Final = 0.2
_RIDGE: Final = 1.0
_STEP: Final = 0.05
_SMOOTHING: Final = 0.05
_HIGHEST_PRICE: Final = 5.0
_GUESSED_OUTPUT_TOKENS: Final = 300.0


Watch = Callable[[int, Mapping[int, float]], None]
"""Is called with a step, and the probability of each column that could be chosen."""


class Player(Protocol):
    """Chooses a provider per step and learns what came of it; providers are columns of the table."""

    def start(self, segment: Segment) -> None:
        """Take over the features of a new segment, and new ones of all earlier steps."""

    def offer(self, columns: Sequence[int], prices: Sequence[Prices | None]) -> None:
        """Put these providers on the route from now on, at these prices (indexed by column)."""

    def choose(self, step: int, absent: tuple[int, ...]) -> int:
        """Choose the provider for a step, among those on the route and not `absent`."""

    def probabilities(self) -> Mapping[int, float]:
        """Return the distribution of the last choice, by column."""

    def outcome(self, step: int, column: int, outcome: Outcome) -> None:
        """Learn the cost, tokens and latency of an answer; called at once."""

    def feedback(self, step: int, column: int, feedback: Feedback) -> None:
        """Learn the quality of an answer; called late, or never."""


class RouterPlayer:
    """The router itself, as it serves: the same object, calls and events, with a policy of its own."""

    router: Router

    def __init__(self, *, names: Sequence[str], goal: Goal, policy: Policy, stream: Stream) -> None:
        self._names = tuple(names)
        self._column = {name: j for j, name in enumerate(names)}
        self._goal = goal
        self._policy = policy
        self._stream = stream
        self._without: dict[tuple[int, ...], Constraints | None] = {(): None}
        self._route: Route | None = None
        self._started = False
        self._evident: set[int] = set()
        """Columns that some evidence is about."""

    def start(self, segment: Segment) -> None:
        if self._started:
            if segment.fitted is not None:
                self.router.learn(segment.fitted)
            return
        if self._route is None:
            raise ValueError("the router starts without a route: call offer first.")
        stream = self._stream
        self.router = Router(
            self._route, blocks=stream.blocks, encoder_version=stream.version, policy=self._policy
        )
        self._started = True
        self._tell()
        if segment.fitted is not None:
            self.router.learn(segment.fitted)

    def _tell(self) -> None:
        """Tell the router what is known of the providers that no evidence is about yet."""
        stream = self._stream
        if stream.warm_start is None or self._route is None:
            return
        columns = [self._column[provider.name] for provider in self._route.providers]
        new = tuple(column for column in columns if column not in self._evident)
        if new:
            evidence = stream.warm_start.evidence(
                stream.earlier_features, self._names, new, seq=self.router.next_seq
            )
            self._evident |= set(new)
            self.router.learn(replace(evidence, terms=stream.earlier_terms))

    def offer(self, columns: Sequence[int], prices: Sequence[Prices | None]) -> None:
        budget = self._goal.budget_usd
        self._route = Route(
            name="simulation",
            providers=tuple(Provider(name=self._names[j], prices=prices[j]) for j in columns),
            objective=Objective(willingness_to_pay_usd=self._goal.wtp_usd),
            budget=None if budget is None else Budget(usd_per_request=budget),
        )
        if self._started:
            self.router.configure(self._route)
            self._tell()

    def choose(self, step: int, absent: tuple[int, ...]) -> int:
        if absent not in self._without:
            self._without[absent] = Constraints(deny=tuple(self._names[j] for j in absent))
        stream = self._stream
        decision = self.router.decide(
            Context(
                features=stream.fixed[step], input_tokens=stream.input_tokens[step], terms=stream.terms[step]
            ),
            decision_id=str(step),
            draw=stream.draws[step],
            constraints=self._without[absent],
        )
        self.router.learn(decision)
        self._decision = decision
        return self._column[decision.selected]

    def probabilities(self) -> Mapping[int, float]:
        """Return the distribution over the eligible providers, as the router logged it."""
        decision = self._decision
        return {
            self._column[name]: chance
            for name, chance in zip(decision.providers, decision.probabilities.tolist(), strict=True)
            if name not in decision.ineligible
        }

    def outcome(self, step: int, column: int, outcome: Outcome) -> None:
        self.router.learn(outcome)

    def feedback(self, step: int, column: int, feedback: Feedback) -> None:
        self.router.learn(feedback)


def _certain(chosen: int, able: Sequence[int]) -> Mapping[int, float]:
    return {column: float(column == chosen) for column in able}


class FixedPlayer:
    """Always one provider; if it cannot be chosen, the first that can, in order of mean cost."""

    def __init__(self, column: int) -> None:
        self._column = column
        self._columns: tuple[int, ...] = ()
        self._last: Mapping[int, float] = {}

    def start(self, segment: Segment) -> None:
        """Features do not matter here."""

    def offer(self, columns: Sequence[int], prices: Sequence[Prices | None]) -> None:
        self._columns = tuple(columns)

    def choose(self, step: int, absent: tuple[int, ...]) -> int:
        able = [column for column in self._columns if column not in absent]
        chosen = self._column if self._column in able else able[0]
        self._last = _certain(chosen, able)
        return chosen

    def probabilities(self) -> Mapping[int, float]:
        """Return the distribution of the last choice."""
        return self._last

    def outcome(self, step: int, column: int, outcome: Outcome) -> None:
        """Nothing is learned."""

    def feedback(self, step: int, column: int, feedback: Feedback) -> None:
        """Nothing is learned."""


class UniformPlayer(FixedPlayer):
    """Every provider with equal probability."""

    def __init__(self, draws: Sequence[float]) -> None:
        super().__init__(-1)
        self._draws = draws

    def choose(self, step: int, absent: tuple[int, ...]) -> int:
        able = [column for column in self._columns if column not in absent]
        self._last = dict.fromkeys(able, 1.0 / len(able))
        return able[int(self._draws[step] * len(able))]


class RidgePlayer:
    """The two peers: ridge regressions per provider, with a bonus (LinUCB) or a draw (Thompson)."""

    def __init__(self, *, goal: Goal, n_providers: int, noise: Matrix | None) -> None:
        self._goal = goal
        self._noise = noise
        self._k = n_providers
        self._columns: tuple[int, ...] = ()
        self._seen: list[list[tuple[int, float]]] = [[] for _ in range(n_providers)]
        self._spent = np.zeros(n_providers)
        self._calls = np.zeros(n_providers)
        self._guess = np.full(n_providers, np.nan)
        self._smoothed = goal.budget_usd or 0.0
        self._lambda = 0.0
        self._rows: Matrix = np.empty((0, 1))
        self._last: Mapping[int, float] = {}

    def start(self, segment: Segment) -> None:
        self._rows = np.hstack([np.ones((segment.stop, 1)), segment.features])
        d = self._rows.shape[1]
        self._inverse = np.empty((self._k, d, d))
        self._moment = np.zeros((self._k, d))
        for j, seen in enumerate(self._seen):
            x = self._rows[[step for step, _ in seen]]
            self._inverse[j] = np.linalg.inv(_RIDGE * np.eye(d) + x.T @ x)
            self._moment[j] = x.T @ np.array([value for _, value in seen])
        self._weights = np.einsum("kij,kj->ki", self._inverse, self._moment)

    def offer(self, columns: Sequence[int], prices: Sequence[Prices | None]) -> None:
        self._columns = tuple(columns)
        for j, price in enumerate(prices):
            if price is not None:
                self._guess[j] = price.cost_usd(input_tokens=100.0, output_tokens=_GUESSED_OUTPUT_TOKENS)

    def choose(self, step: int, absent: tuple[int, ...]) -> int:
        x = self._rows[step]
        width = np.sqrt(np.maximum((self._inverse @ x) @ x, 0.0))
        luck = 1.0 if self._noise is None else self._noise[step]
        score = self._weights @ x + _ALPHA * width * luck - self._penalty()
        able = [column for column in self._columns if column not in absent]
        chosen = max(able, key=score.__getitem__)
        self._last = _certain(chosen, able)
        return chosen

    def probabilities(self) -> Mapping[int, float]:
        """Return certainty: neither peer has propensities, and its log can judge no other policy."""
        return self._last

    def _penalty(self) -> FloatArray | float:
        """Compute what the cost of each provider takes off its score, shape (k,)."""
        if self._goal.budget_usd is None and self._goal.wtp_usd is None:
            return 0.0
        expected = np.where(np.isnan(self._guess), self._goal.budget_usd or 0.0, self._guess)
        cost: FloatArray = np.where(self._calls > 0, self._spent / np.maximum(self._calls, 1.0), expected)
        if self._goal.wtp_usd is not None:
            return cost / self._goal.wtp_usd
        logs = np.log(np.maximum(cost, 1e-12))
        on_route = logs[list(self._columns)]
        low, high = float(on_route.min()), float(on_route.max())
        return self._lambda * (logs - low) / max(high - low, 1e-12)

    def outcome(self, step: int, column: int, outcome: Outcome) -> None:
        cost = outcome.cost_usd or 0.0
        self._spent[column] += cost
        self._calls[column] += 1.0
        if self._goal.budget_usd is not None:
            self._smoothed += _SMOOTHING * (cost - self._smoothed)
            moved = self._lambda + _STEP * (self._smoothed / self._goal.budget_usd - 1.0)
            self._lambda = min(max(moved, 0.0), _HIGHEST_PRICE)

    def feedback(self, step: int, column: int, feedback: Feedback) -> None:
        value = feedback.value
        if value is None or not math.isfinite(value):
            return
        self._seen[column].append((step, value))
        x = self._rows[step]
        inverse = self._inverse[column]
        direction = inverse @ x
        inverse -= np.outer(direction, direction / (1.0 + float(direction @ x)))  # Sherman and Morrison
        self._moment[column] += value * x
        self._weights[column] = inverse @ self._moment[column]
