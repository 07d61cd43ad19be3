"""One route as it is served: its router, and its decisions that can still change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, Final

import numpy as np

from fairlead.api.schemas.declarations import FeaturesIn, RouteIn
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import (
    Attributes,
    Block,
    CallerEmbedding,
    Encoder,
    SurfaceFeatures,
    TaskLabel,
    TextProjection,
)
from fairlead.optimizer.learning.open_decision import cost_of
from fairlead.optimizer.learning.route_history import prices_of
from fairlead.optimizer.persistence.route_codec import to_json
from fairlead.optimizer.router import Router
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
"""Decisions of a route between two looks for open ones that are to be closed."""

MAX_TASKS: Final = 64
"""Most task labels of a route whose mean request is kept, to show what is believed of each."""

QUICK: Final = 500_000
"""Most providers times the cube of the features for which a refit takes no more than a millisecond or two."""

_SAVED: Final = ("id", "seq", "at_s", "selected", "session", "cost_usd", "values", "by_key")


class OpenDecision:
    """A decision for which reports still count."""

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
        """Price list of each provider when it was made; decisions under the same prices share the mapping."""
        self.cost_usd: float | None = None
        self.values: dict[str, float | None] | None = None
        """Feedback in force, by metric and source."""
        self.by_key: dict[str, int] | None = None
        """Number of feedback events by the key that sent them."""

    def has_feedback(self) -> bool:
        """Whether any feedback is in force."""
        return self.values is not None and any(value is not None for value in self.values.values())

    def count_feedback(self, key: str) -> None:
        """Count one more feedback event of a key."""
        self.by_key = self.by_key or {}
        self.by_key[key] = self.by_key.get(key, 0) + 1


class ServedRoute:
    """A route's router and open decisions; everything in it is a function of the log alone."""

    def __init__(self, route: Route, body: RouteIn) -> None:
        self.body = body
        self.first = route
        """The configuration that the router was created with, which a snapshot needs."""
        encoder, vector = new_encoder(body.features), int(body.features.vector or 0)
        if encoder is not None:
            self.width, self.encoder_version = encoder.width, encoder.version
            self.router = Router(route, encoder=encoder)
        else:
            self.width, self.encoder_version = vector, f"vector-1-{vector}"
            block = Block(name="vector", width=vector, isotropic=False)
            self.router = Router(route, blocks=(block,), encoder_version=self.encoder_version)
        self._most_quick = QUICK // (self.width + 1) ** 3
        self.prices = prices_of(route)
        self.open: dict[str, OpenDecision] = {}
        self.tasks: dict[str, tuple[int, FloatArray, float]] = {}
        """By task label: number of decisions, sum of their features, sum of their input tokens."""
        self.broken: str | None = None
        """Why the default provider answers instead of the router; None if the router is sound."""
        self.decisions = 0
        self.fallbacks = 0
        self.explored = 0
        self.spent_usd = 0.0

    def check(self, route: Route) -> None:
        """Raise `InvalidInput` for a configuration that the router would refuse, before anything changes."""
        check_contradictions(route.constraints, route.providers)
        if (route.metrics, route.sources) != (self.first.metrics, self.first.sources):
            raise InvalidInput(
                f"route {route.name!r} has learned by its metrics and sources, so they stay: "
                "create another route"
            )

    def configure(self, route: Route, body: RouteIn, *, seq: int) -> None:
        """Switch to the providers, prices, objective, budget and rules in force from ``seq`` on."""
        if route != self.router.route:
            self.router.learn(RouteChanged(seq=seq, route=route))
        self.body = body
        prices = prices_of(route)
        if prices != self.prices:
            self.prices = prices

    @property
    def is_quick(self) -> bool:
        """Whether refits are so quick that they run at once and count in the very next decision."""
        return len(self.router.route.providers) <= self._most_quick

    def open_decision(self, decision: Decision, *, at_s: float, session: str | None) -> None:
        """Fold a decision and keep it open for reports."""
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
        if decision.task in self.tasks:
            count, total, tokens = self.tasks[decision.task]
            self.tasks[decision.task] = (count + 1, total + decision.features, tokens + decision.input_tokens)
        elif len(self.tasks) < MAX_TASKS:
            self.tasks[decision.task] = (1, decision.features.copy(), decision.input_tokens)

    def report(self, event: Outcome | Feedback) -> None:
        """Fold an outcome or feedback of an open decision."""
        self._learn(event)
        decision = self.open[event.decision_id]
        if isinstance(event, Feedback):
            decision.values = decision.values or {}
            decision.values[f"{event.metric}/{event.source}"] = event.value
            return
        cost, _ = cost_with_source(event, decision.prices)
        self.spent_usd += (cost or 0.0) - (decision.cost_usd or 0.0)
        decision.cost_usd = cost

    def close_old(self, clock_s: float) -> Iterator[OpenDecision]:
        """Close the decisions that are too old or too many, once every `CLOSE_EVERY`, and yield each."""
        if self.decisions % CLOSE_EVERY:
            return
        surplus = len(self.open) - self.body.max_open_decisions
        oldest_s = clock_s - self.body.reward_wait_s
        # A clock that jumped back can leave a younger decision in front of older ones; they wait for it.
        old = [
            decision
            for _, decision in takewhile(
                lambda pair: pair[0] < surplus or pair[1].at_s < oldest_s, enumerate(self.open.values())
            )
        ]
        if not old:
            return
        for decision in old:
            default = self._default_feedback(decision)
            if default is not None:
                self._learn(default)
            del self.open[decision.id]
            yield decision
        self.router.close_before(old[-1].seq + 1)

    def _default_feedback(self, decision: OpenDecision) -> Feedback | None:
        """The feedback that the route declares for decisions that got none."""
        reward = self.body.reward_default
        if reward is None or decision.has_feedback():
            return None
        metric = self.body.metrics[0]
        share = reward if metric.higher_is_better else 1.0 - reward
        value = metric.low + share * (metric.high - metric.low)
        return Feedback(decision_id=decision.id, metric=metric.name, value=value, source="default")

    def state(self) -> dict[str, Any]:
        """Everything beside the router, as JSON has it."""
        lists: list[Mapping[str, Prices]] = [self.prices]
        numbers = {id(self.prices): 0}
        for decision in self.open.values():
            if id(decision.prices) not in numbers:
                numbers[id(decision.prices)] = len(lists)
                lists.append(decision.prices)
        return {
            "counts": [self.decisions, self.fallbacks, self.explored],
            "spent_usd": self.spent_usd,
            "broken": self.broken,
            "first": to_json(self.first),
            "prices": [{name: to_json(price) for name, price in prices.items()} for prices in lists],
            "open": [
                [getattr(decision, name) for name in _SAVED] + [numbers[id(decision.prices)]]
                for decision in self.open.values()
            ],
            "tasks": [[name, n, total.tolist(), tokens] for name, (n, total, tokens) in self.tasks.items()],
        }

    def restore(self, state: Mapping[str, Any], in_force: dict[str, Prices]) -> None:
        """Restore what `state` gave, apart from the router; prices ``in_force`` go on being shared."""
        self.prices = in_force
        self.decisions, self.fallbacks, self.explored = state["counts"]
        self.spent_usd, self.broken = state["spent_usd"], state["broken"]
        lists = [{name: Prices(**price) for name, price in prices.items()} for prices in state["prices"]]
        if lists[0] != self.prices:
            raise InvalidInput("the snapshot was saved under other prices")
        lists[0] = in_force
        for *values, number in state["open"]:
            decision = OpenDecision.__new__(OpenDecision)
            for name, value in zip(_SAVED, values, strict=True):
                setattr(decision, name, value)
            decision.prices = lists[number]
            self.open[decision.id] = decision
        for name, n, total, tokens in state["tasks"]:
            self.tasks[name] = (n, np.array(total, dtype=np.float64), tokens)


def new_encoder(features: FeaturesIn) -> Encoder | None:
    """Build the encoder that a route declares; None if its clients send the vectors."""
    if features.vector is not None:
        return None
    parts: list[Any] = []
    if features.surface:
        parts.append(SurfaceFeatures())
    if features.task:
        parts.append(TaskLabel(width=features.task))
    if features.attributes:
        parts.append(Attributes(width=features.attributes))
    if features.embedding is not None:
        parts.append(CallerEmbedding(width=features.embedding))
    if features.projection is not None:
        parts.append(_projection(features.projection))
    return Encoder(parts)


def _projection(path: str) -> Any:
    try:
        return TextProjection.load(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"features.projection {path!r} cannot be read ({error}): name another file"
        ) from None


def cost_with_source(outcome: Outcome, prices: Mapping[str, Prices]) -> tuple[float | None, str | None]:
    """USD of an outcome, and whether it was ``reported`` or computed from the ``price_list`` then."""
    if outcome.cost_usd is not None:
        return outcome.cost_usd, "reported"
    cost = cost_of(outcome, prices.get(outcome.served_provider))
    return cost, None if cost is None else "price_list"
