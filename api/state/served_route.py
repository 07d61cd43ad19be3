"""One route as it is served: its router, and its decisions that something may still come of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, Final

import numpy as np

from fairlead.api.schemas.declarations import RouteIn
from fairlead.api.state.encoding import encoder, new_router
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.learning.facts import cost_of
from fairlead.optimizer.learning.route_history import prices_of
from fairlead.optimizer.persistence.route_codec import to_json
from fairlead.optimizer.selection.eligibility import check_contradictions
from fairlead.optimizer.types import (
    Decision,
    Event,
    Feedback,
    FloatArray,
    Outcome,
    Prices,
    Route,
    RouteChanged,
)

CLOSE_EVERY: Final = 256
"""Decisions of a route between two looks at which of the open ones are to be closed."""

MOST_TASKS: Final = 64
"""Task labels of a route for which the mean request is kept, to show what is believed of each."""


QUICK: Final = 500_000
"""Providers times the cube of the features up to which beliefs are computed anew in a millisecond or two."""

_KEPT: Final = ("id", "seq", "at_s", "selected", "session", "cost_usd", "values", "by_key")


class OpenDecision:
    """A decision that something may still come of."""

    __slots__ = ("at_s", "by_key", "cost_usd", "id", "prices", "selected", "seq", "session", "values")

    def __init__(
        self, decision: Decision, *, at_s: float, session: str | None, prices: Mapping[str, Prices]
    ) -> None:
        self.id = decision.id
        self.seq = decision.seq
        self.at_s = at_s
        self.selected = decision.selected
        self.session = session
        self.prices = prices
        """Price lists in force at its place in the log; one mapping is shared by all decisions under it."""
        self.cost_usd: float | None = None
        self.values: dict[str, float | None] | None = None
        """Feedback in force, by metric and source."""
        self.by_key: dict[str, int] | None = None
        """How many judgements each key has sent."""

    def judged(self) -> bool:
        """Whether any feedback is in force."""
        return self.values is not None and any(value is not None for value in self.values.values())

    def count(self, key: str) -> None:
        """One more judgement from a key."""
        self.by_key = self.by_key or {}
        self.by_key[key] = self.by_key.get(key, 0) + 1


class ServedRoute:
    """A route's router and open decisions. Everything in it is a function of the log alone."""

    def __init__(self, route: Route, body: RouteIn) -> None:
        self.body = body
        self.first = route
        """The configuration that the router was made with; a snapshot needs it."""
        self.encoder = encoder(body.features)
        self.router = new_router(route, body.features, self.encoder)
        vector = body.features.vector
        self.width = self.encoder.width if self.encoder is not None else int(vector or 0)
        self._most_quick = QUICK // (self.width + 1) ** 3
        self.encoder_version = self.encoder.version if self.encoder is not None else f"vector-1-{vector}"
        self.prices = prices_of(route)
        self.open: dict[str, OpenDecision] = {}
        self.tasks: dict[str, tuple[int, FloatArray, float]] = {}
        """By task label: number of decisions, sum of their features, sum of their input tokens."""
        self.broken: str | None = None
        """Why the router is not to be asked any more; the default provider answers."""
        self.decisions = 0
        self.fallbacks = 0
        self.explored = 0
        self.spent_usd = 0.0

    def check(self, route: Route) -> None:
        """Raise `InvalidInput` for what the router would refuse to become, before anything changes."""
        check_contradictions(route.constraints, route.providers)
        if (route.metrics, route.sources) != (self.first.metrics, self.first.sources):
            raise InvalidInput(
                f"route {route.name!r} has learned by its metrics and sources, so they stay: "
                "create another route"
            )

    def configure(self, route: Route, body: RouteIn, *, seq: int) -> None:
        """Providers, prices, objective, budget and rules as they are from this place in the log on."""
        if route != self.router.route:
            self.router.learn(RouteChanged(seq=seq, route=route))
        self.body = body
        prices = prices_of(route)
        if prices != self.prices:
            self.prices = prices

    @property
    def is_quick(self) -> bool:
        """Whether what is due is computed at once, so that it tells in the very next decision."""
        return len(self.router.route.providers) <= self._most_quick

    def opened(self, decision: Decision, *, at_s: float, session: str | None) -> None:
        """Fold a decision."""
        self._learn(decision)
        self.open[decision.id] = OpenDecision(decision, at_s=at_s, session=session, prices=self.prices)
        self.decisions += 1
        self.fallbacks += decision.fallback_used is not None
        self._remember_task(decision)

    def _learn(self, event: Event) -> None:
        self.router.learn(event, refit=self.is_quick)

    def _remember_task(self, decision: Decision) -> None:
        if decision.task is None:
            return
        known = self.tasks.get(decision.task)
        if known is not None:
            count, total, tokens = known
            self.tasks[decision.task] = (count + 1, total + decision.features, tokens + decision.input_tokens)
        elif len(self.tasks) < MOST_TASKS:
            self.tasks[decision.task] = (1, decision.features.copy(), decision.input_tokens)

    def told(self, event: Outcome | Feedback) -> None:
        """Fold what came of an open decision."""
        self._learn(event)
        one = self.open[event.decision_id]
        if isinstance(event, Feedback):
            one.values = one.values or {}
            one.values[f"{event.metric}/{event.source}"] = event.value
            return
        cost, _ = priced(event, one.prices)
        self.spent_usd += (cost or 0.0) - (one.cost_usd or 0.0)
        one.cost_usd = cost

    def close_due(self, clock_s: float) -> Iterator[OpenDecision]:
        """Close, every so many decisions, those that nothing comes of any more; gives each."""
        if self.decisions % CLOSE_EVERY:
            return
        surplus = len(self.open) - self.body.max_open_decisions
        oldest = clock_s - self.body.reward_wait_s
        # A clock that jumped back can leave a younger decision in front of older ones; it waits for its time.
        due = [
            one
            for _, one in takewhile(
                lambda pair: pair[0] < surplus or pair[1].at_s < oldest, enumerate(self.open.values())
            )
        ]
        if not due:
            return
        for one in due:
            default = self._default(one)
            if default is not None:
                self._learn(default)
            del self.open[one.id]
            yield one
        self.router.close_before(due[-1].seq + 1)

    def _default(self, one: OpenDecision) -> Feedback | None:
        """The feedback that the route declares for decisions that got none."""
        quality = self.body.reward_default
        if quality is None or one.judged():
            return None
        metric = self.body.metrics[0]
        share = quality if metric.higher_is_better else 1.0 - quality
        value = metric.low + share * (metric.high - metric.low)
        return Feedback(decision_id=one.id, metric=metric.name, value=value, source="default")

    def state(self) -> dict[str, Any]:
        """Everything beside the router, as JSON has it."""
        lists: list[Mapping[str, Prices]] = [self.prices]
        places = {id(self.prices): 0}
        for one in self.open.values():
            if id(one.prices) not in places:
                places[id(one.prices)] = len(lists)
                lists.append(one.prices)
        return {
            "counts": [self.decisions, self.fallbacks, self.explored],
            "spent_usd": self.spent_usd,
            "broken": self.broken,
            "first": to_json(self.first),
            "prices": [{name: to_json(price) for name, price in known.items()} for known in lists],
            "open": [
                [getattr(one, name) for name in _KEPT] + [places[id(one.prices)]]
                for one in self.open.values()
            ],
            "tasks": [[name, n, total.tolist(), tokens] for name, (n, total, tokens) in self.tasks.items()],
        }

    def restore(self, state: Mapping[str, Any], in_force: dict[str, Prices]) -> None:
        """Become what gave `state`, beside the router; prices ``in_force`` go on being shared."""
        self.prices = in_force
        self.decisions, self.fallbacks, self.explored = state["counts"]
        self.spent_usd, self.broken = state["spent_usd"], state["broken"]
        lists = [{name: Prices(**price) for name, price in known.items()} for known in state["prices"]]
        if lists[0] != self.prices:
            raise InvalidInput("the snapshot was saved under other prices")
        lists[0] = in_force
        for *kept, place in state["open"]:
            one = OpenDecision.__new__(OpenDecision)
            for name, value in zip(_KEPT, kept, strict=True):
                setattr(one, name, value)
            one.prices = lists[place]
            self.open[one.id] = one
        for name, n, total, tokens in state["tasks"]:
            self.tasks[name] = (n, np.array(total, dtype=np.float64), tokens)


def priced(outcome: Outcome, prices: Mapping[str, Prices]) -> tuple[float | None, str | None]:
    """USD of an outcome and where it is from: reported, or its usage at the list of its decision's time."""
    if outcome.cost_usd is not None:
        return outcome.cost_usd, "reported"
    cost = cost_of(outcome, prices.get(outcome.served_provider))
    return cost, None if cost is None else "price_list"
