"""Targets that learn: they see the log in its order, and answer each decision before they learn of it.

So a policy is never judged by what it has learned from: its probabilities for a decision depend on what came
before, and importance weights of such a policy keep their expectation of 1 (docs/adr/0030). What it learns
from are the logged choices and what came of them, whoever made them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from experiments.logs.columns import Columns
from experiments.players import RidgePlayer
from experiments.scenario import Goal
from experiments.stream import Segment
from experiments.targets.own_budget import OwnBudget
from optimizer.features import Attributes, Block, Encoder, TaskLabel
from optimizer.policies.base import Policy
from optimizer.router import Router
from optimizer.types import Context, Feedback, FloatArray, Outcome, Prices, Route

TOKENS: Final = "input_tokens"
"""The attribute that says how long a request is, where a log has it."""

_KEPT: Final = 20_000
"""Decisions that a router keeps open, beyond those whose rewards are still to come."""


def features_of(columns: Columns, encoder: Encoder) -> FloatArray:
    """The log's own features, or those that the encoder makes of task and attributes; shape (n, d)."""
    if columns.features is not None:
        return columns.features
    return encoder.encode_many(columns.contexts())


def context_encoder() -> Encoder:
    """What is looked at where a log has no features."""
    return Encoder([TaskLabel(), Attributes()])


class RouterTarget:
    """The router itself, with any policy, learning from the log as it goes.

    ``own_budget`` paces a budget by what this target would have spent itself; without it a budget of the
    route is kept by the money in the log, which is right where this router wrote it.
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
        self._router = Router(route, block_widths=tuple(blocks) or self._encoder.blocks, policy=policy)
        self._on_route = {provider.name: j for j, provider in enumerate(route.providers)}
        self._names = tuple(names)
        # The place of each provider of the log on the route, −1 for one that is not on it.
        self._place = np.array([self._on_route.get(name, -1) for name in names])
        self._own_budget = own_budget
        self._delay = feedback_delay
        self._waiting: deque[tuple[int, Feedback]] = deque()
        self._step = 0

    def probabilities(self, columns: Columns) -> FloatArray:
        """Answer, then learn what was logged, decision by decision."""
        rows = features_of(columns, self._encoder)
        attributes = columns.contexts() if columns.attributes is not None else None
        found = np.zeros(columns.eligible.shape)
        for i in range(len(columns)):
            known = attributes[i] if attributes is not None else None
            tokens = known.attributes.get(TOKENS) if known is not None else None
            context = Context(
                task=known.task if known is not None else None,
                features=rows[i],
                input_tokens=float(tokens) if isinstance(tokens, (int, float)) else None,
            )
            able = [self._names[j] for j in np.flatnonzero(columns.eligible[i] & (self._place >= 0))]
            if not able:
                # Nobody that this router knows may serve: it would answer by its default, the cheapest here.
                found[i, int(columns.eligible[i].argmax())] = 1.0
                continue
            found[i] = self._answer(context, tuple(able), columns, i)
        return found

    def _answer(self, context: Context, able: tuple[str, ...], columns: Columns, i: int) -> FloatArray:
        name, router, pacer = str(self._step), self._router, self._own_budget
        at_s = float(columns.decided_at_s[i])
        decision = router.decide(
            context,
            decision_id=name,
            draw=0.5,
            candidates=able,
            at_s=at_s,
            objective=None if pacer is None else pacer.objective(),
        )
        if pacer is not None:
            pacer.decided(router, context, able, decision)
        found: FloatArray = np.where(self._place >= 0, decision.probabilities[self._place], 0.0)
        chosen = self._names[int(columns.provider[i])]
        if chosen in self._on_route:
            router.learn(replace(decision, selected=chosen))
            self._learn(name, columns, i)
        self._step += 1
        if self._step % _KEPT == 0:
            router.close_before(max(decision.order - _KEPT - self._delay, 0))
        return found

    def _learn(self, name: str, columns: Columns, i: int) -> None:
        served = int(columns.served[i])
        cost, latency, reward = (float(v[i]) for v in (columns.cost_usd, columns.latency_s, columns.reward))
        if served >= 0 and self._names[served] in self._on_route:
            outcome = Outcome(
                decision_id=name,
                served_provider=self._names[served],
                cost_usd=cost if cost == cost else None,
                latency_s=latency if latency == latency else None,
                status="error" if columns.failed[i] else "ok",
            )
            self._router.learn(outcome)
        if reward == reward:
            self._waiting.append((self._step, Feedback(decision_id=name, value=reward)))
        while self._waiting and self._waiting[0][0] + self._delay <= self._step:
            self._router.learn(self._waiting.popleft()[1])


class RidgeTarget:
    """Plain LinUCB (`players.RidgePlayer`), learning from the log as it goes. Its choices are certain.

    It keeps the features of all decisions, ``rows`` of shape (n, d), in memory.
    """

    def __init__(
        self, rows: FloatArray, *, goal: Goal, prices: Sequence[Prices | None], feedback_delay: int = 0
    ) -> None:
        self._player = RidgePlayer(goal=goal, n_providers=len(prices), noise=None)
        self._player.offer(range(len(prices)), prices)
        self._player.start(Segment(start=0, stop=len(rows), features=rows, blocks=(), version=""))
        self._step = 0
        self._delay = feedback_delay
        self._waiting: deque[tuple[int, int, Feedback]] = deque()

    def probabilities(self, columns: Columns) -> FloatArray:
        """Answer, then learn what was logged, decision by decision."""
        found = np.zeros(columns.eligible.shape)
        for i in range(len(columns)):
            step, player = self._step, self._player
            absent = tuple(np.flatnonzero(~columns.eligible[i]).tolist())
            found[i, player.choose(step, absent)] = 1.0
            column, name = int(columns.provider[i]), str(step)
            cost, reward = float(columns.cost_usd[i]), float(columns.reward[i])
            if cost == cost:
                outcome = Outcome(decision_id=name, served_provider=str(column), cost_usd=cost)
                player.outcome(step, column, outcome)
            if reward == reward:
                self._waiting.append((step, column, Feedback(decision_id=name, value=reward)))
            while self._waiting and self._waiting[0][0] + self._delay <= step:
                player.feedback(*self._waiting.popleft())
            self._step += 1
        return found
