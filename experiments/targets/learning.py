"""Targets that learn: they read the log in order, and answer each decision before they learn from it.

So a policy is never evaluated on what it has learned from: its probabilities for a decision depend on earlier
decisions only, and its importance weights keep their expectation of 1 (docs/adr/0010). It learns from the
logged choices and their outcomes, whichever policy made them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.simulation.players import RidgePlayer
from fairlead.experiments.simulation.scenario import Goal
from fairlead.experiments.simulation.stream import Segment
from fairlead.experiments.targets.base import LearningTarget
from fairlead.optimizer.features import Attributes, Block, Encoder, TaskLabel
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.router import Router
from fairlead.optimizer.selection.pacer import Pacer
from fairlead.optimizer.types import (
    Budget,
    Context,
    Decision,
    Feedback,
    FloatArray,
    Objective,
    Outcome,
    Prices,
    Route,
)

TOKENS: Final = "input_tokens"
"""The attribute with the length of a request, if a log has it."""

_KEPT: Final = 20_000
"""Decisions that a router keeps open, besides those whose rewards are still to come."""


_WINDOW: Final = 32
"""Decisions over which a budget's shadow price is solved."""

_SOLVE_EVERY: Final = 64


def features_of(batch: LogBatch, encoder: Encoder) -> FloatArray:
    """Return the log's own features, or those that the encoder makes of task and attributes; shape (n, d)."""
    if batch.features is not None:
        return batch.features
    return encoder.encode_many(batch.contexts())


def context_encoder() -> Encoder:
    """Return the encoder for logs that have no features."""
    return Encoder([TaskLabel(), Attributes()])


class OwnBudget:
    """The router's own pacer, booked with the spend that the target's distribution is expected to have.

    The log says what its choices cost, which is not what the target would have spent. Expected spend comes
    from the cost model, which learns from the log like everything else.
    """

    def __init__(self, budget: Budget) -> None:
        self._pacer = Pacer(budget)
        self._window: deque[tuple[Context, tuple[str, ...]]] = deque(maxlen=_WINDOW)
        self._since = 0

    def objective(self) -> Objective | None:
        """Return what money is worth at this moment; None if it does not count."""
        return _worth(self._pacer.shadow_price)

    def record(
        self, decision: Decision, *, router: Router, context: Context, candidates: tuple[str, ...]
    ) -> None:
        """Book the decision's expected spend; solve the shadow price again every few decisions."""
        spend = float(decision.probabilities @ decision.expected[2])
        self._pacer.request(spend, at_s=decision.at_s)
        self._window.append((context, candidates))
        self._since += 1
        # Often at first, when every decision changes the beliefs.
        if self._since >= min(_SOLVE_EVERY, 1 + self._pacer.requests // 4):
            self._solve(router, decision)
            self._since = 0

    def _solve(self, router: Router, decision: Decision) -> None:
        def spend_at(shadow_price: float) -> float:
            total = 0.0
            for context, candidates in self._window:
                answer = router.decide(
                    context, decision_id="asked", draw=0.5, candidates=candidates, at_s=decision.at_s,
                    objective=_worth(shadow_price),
                )  # fmt: skip
                total += float(answer.probabilities @ answer.expected[2])
            return total / len(self._window)

        self._pacer.update(spend_at, least_usd=float(decision.expected[2].min()))


def _worth(shadow_price: float) -> Objective | None:
    if shadow_price <= 0.0:
        return None
    return Objective(willingness_to_pay_usd=min(max(1.0 / shadow_price, 1e-12), 1e9))


class RouterTarget:
    """The router itself, with any policy, learning from the log.

    ``own_budget`` paces a budget by what this target would have spent itself; without it a budget of the
    route is paced by the spend in the log, which is right if this router wrote it.
    """

    def __init__(
        self,
        route: Route,
        *,
        names: Sequence[str],
        policy: Policy,
        blocks: Sequence[Block] = (),
        own_budget: OwnBudget | None = None,
        feedback_delay: int = 0,
    ) -> None:
        self._encoder = context_encoder()
        self._router = Router(route, blocks=tuple(blocks) or self._encoder.blocks, policy=policy)
        self._on_route = {provider.name: j for j, provider in enumerate(route.providers)}
        self._names = tuple(names)
        # Column on the route of each provider of the log, −1 for one that is not on it.
        self._columns = np.array([self._on_route.get(name, -1) for name in names])
        self._own_budget = own_budget
        self._delay = feedback_delay
        self._waiting: deque[tuple[int, Feedback]] = deque()
        self._step = 0
        self._last: tuple[Decision, Context, tuple[str, ...]] | None = None
        self._part: LogBatch | None = None

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Answer each decision, then learn what was logged."""
        return _play(self, batch)

    def answer(self, batch: LogBatch, row: int) -> FloatArray:
        """Return the probabilities for one decision, shape (k,)."""
        self._last, candidates = None, self._candidates(batch, row)
        if not candidates:
            # No provider of this router may serve: it would fall back to its default, the cheapest here.
            return _certain(int(batch.eligible[row].argmax()), len(self._names))
        context, pacer = self._context(batch, row), self._own_budget
        decision = self._router.decide(
            context,
            decision_id=str(self._step),
            draw=0.5,
            candidates=candidates,
            at_s=float(batch.decided_at_s[row]),
            objective=None if pacer is None else pacer.objective(),
        )
        self._last = decision, context, candidates
        by_column = decision.probabilities[self._columns]
        return np.where(self._columns >= 0, by_column, 0.0)

    def _candidates(self, batch: LogBatch, row: int) -> tuple[str, ...]:
        return tuple(self._names[j] for j in np.flatnonzero(batch.eligible[row] & (self._columns >= 0)))

    def _context(self, batch: LogBatch, row: int) -> Context:
        if self._part is not batch:
            self._part = batch
            self._rows = features_of(batch, self._encoder)
            self._contexts = batch.contexts() if batch.attributes is not None else None
        logged = self._contexts[row] if self._contexts is not None else None
        tokens = logged.attributes.get(TOKENS) if logged is not None else None
        return Context(
            task=logged.task if logged is not None else None,
            features=self._rows[row],
            input_tokens=float(tokens) if isinstance(tokens, (int, float)) else None,
        )

    def learn(self, batch: LogBatch, row: int) -> None:
        """Learn the logged choice and outcome of the decision that was answered last."""
        if self._last is None:
            return
        decision, context, candidates = self._last
        router = self._router
        if self._own_budget is not None:
            self._own_budget.record(decision, router=router, context=context, candidates=candidates)
        chosen = self._names[int(batch.provider[row])]
        if chosen in self._on_route:
            router.learn(replace(decision, selected=chosen))
            self._learn(decision.id, batch, row)
        self._step += 1
        if self._step % _KEPT == 0:
            router.close_before(max(decision.seq - _KEPT - self._delay, 0))

    def _learn(self, name: str, batch: LogBatch, i: int) -> None:
        served = int(batch.served[i])
        cost, latency, reward = (float(v[i]) for v in (batch.cost_usd, batch.latency_s, batch.reward))
        if served >= 0 and self._names[served] in self._on_route:
            outcome = Outcome(
                decision_id=name,
                served_provider=self._names[served],
                cost_usd=cost if cost == cost else None,
                latency_s=latency if latency == latency else None,
                status="error" if batch.failed[i] else "ok",
            )
            self._router.learn(outcome)
        # The router learns of a failure from its outcome; quality is that of answers.
        if reward == reward and not batch.failed[i]:
            self._waiting.append((self._step, Feedback(decision_id=name, value=reward)))
        while self._waiting and self._waiting[0][0] + self._delay <= self._step:
            self._router.learn(self._waiting.popleft()[1])


class RidgeTarget:
    """Plain LinUCB (`players.RidgePlayer`), learning from the log. Its choices are certain.

    It keeps the features of all decisions, ``rows`` of shape (n, d), in memory. ``starts`` has the first row
    of every part among them, by that row's number in the file.
    """

    def __init__(
        self,
        rows: FloatArray,
        *,
        starts: Mapping[int, int],
        goal: Goal,
        prices: Sequence[Prices | None],
        feedback_delay: int = 0,
    ) -> None:
        self._player = RidgePlayer(goal=goal, n_providers=len(prices), noise=None)
        self._player.offer(range(len(prices)), prices)
        self._player.start(Segment(start=0, stop=len(rows), features=rows))
        self._starts = starts
        self._learned = 0
        self._delay = feedback_delay
        self._waiting: deque[tuple[int, int, int, Feedback]] = deque()

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Answer each decision, then learn what was logged."""
        return _play(self, batch)

    def answer(self, batch: LogBatch, row: int) -> FloatArray:
        """Return the probabilities for one decision, shape (k,)."""
        absent = tuple(np.flatnonzero(~batch.eligible[row]).tolist())
        step = self._starts[int(batch.row[0])] + row
        return _certain(self._player.choose(step, absent), batch.eligible.shape[1])

    def learn(self, batch: LogBatch, row: int) -> None:
        """Learn the logged choice and outcome of the decision that was answered last."""
        step, player = self._starts[int(batch.row[0])] + row, self._player
        column = int(batch.provider[row])
        cost, reward = float(batch.cost_usd[row]), float(batch.reward[row])
        if cost == cost:
            outcome = Outcome(decision_id=str(step), served_provider=str(column), cost_usd=cost)
            player.outcome(step, column, outcome)
        if reward == reward:
            self._waiting.append((self._learned, step, column, Feedback(decision_id=str(step), value=reward)))
        while self._waiting and self._waiting[0][0] + self._delay <= self._learned:
            player.feedback(*self._waiting.popleft()[1:])
        self._learned += 1


def _certain(chosen: int, k: int) -> FloatArray:
    probabilities = np.zeros(k)
    probabilities[chosen] = 1.0
    return probabilities


def _play(target: LearningTarget, batch: LogBatch) -> FloatArray:
    probabilities = np.zeros(batch.eligible.shape)
    for row in range(len(batch)):
        probabilities[row] = target.answer(batch, row)
        target.learn(batch, row)
    return probabilities
