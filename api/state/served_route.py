"""One route as it is served: its router, and its decisions that can still change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from fairlead.api.schemas.declarations import FeaturesIn, RouteIn
from fairlead.optimizer.errors import InvalidInput, UnknownDecision
from fairlead.optimizer.features import (
    Attributes,
    Block,
    CallerEmbedding,
    Encoder,
    SurfaceFeatures,
    TaskLabel,
    TextProjection,
)
from fairlead.optimizer.features.text import TEXT_WIDTH
from fairlead.optimizer.learning.open_decision import OpenDecision, cost_of
from fairlead.optimizer.persistence.route_codec import to_json
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import (
    Decision,
    EncoderFitted,
    Event,
    Evidence,
    Feedback,
    FloatArray,
    Outcome,
    Prices,
    Route,
)
from fairlead.optimizer.types.events import copy_with

MAX_TASKS: Final = 64
"""Most task labels of a route whose mean request is kept, to show what is believed of each."""

QUICK: Final = 500_000
"""Most providers times the cube of the features for which a refit takes no more than a millisecond or two."""

FITS_WITH_EVIDENCE: Final = 8
"""Fits that one takes on a route with evidence: each power of it, and what it foretells."""


class UnreadableFile(InvalidInput):
    """A file that a route's features need is absent or damaged."""


class ServedDecision(msgspec.Struct, array_like=True, gc=False):
    """An open decision as the service needs it, beside the `OpenDecision` of its router."""

    route: str
    at_s: float
    session: str | None
    by_key: dict[str, int] | None = None
    """Number of feedback events by the key that sent them."""
    outcomes_by_key: dict[str, int] | None = None
    """Number of outcomes by the key that sent them."""
    usd: float = 0.0
    """What it is booked with to the budgets that its route shares."""
    selected: str = ""
    """The selected provider; empty if only the router knows, for decisions in a base of 0.1.0."""

    def count_feedback(self, key: str) -> None:
        """Count one more feedback event of a key."""
        self.by_key = self.by_key or {}
        self.by_key[key] = self.by_key.get(key, 0) + 1

    def count_outcome(self, key: str) -> None:
        """Count one more outcome of a key."""
        self.outcomes_by_key = self.outcomes_by_key or {}
        self.outcomes_by_key[key] = self.outcomes_by_key.get(key, 0) + 1

    def reports_of(self, kind: str, key: str) -> int:
        """Return how many reports of a kind, outcome or feedback, a key has sent."""
        counts = self.outcomes_by_key if kind == "outcome" else self.by_key
        return 0 if counts is None else counts.get(key, 0)


class Waiting(NamedTuple):
    """Something that waits to be learned by a route."""

    seq: int
    at_s: float
    kind: str
    """Kind of the event of the log; empty for what follows from events by itself."""
    learn: Callable[[ServedRoute, Any], None]
    subject: Any


class SavedRoute(msgspec.Struct, array_like=True):
    """A served route in a snapshot, without its router."""

    first: dict[str, Any]
    broken: str | None
    dispatched: int
    decisions: int
    fallbacks: int
    explored: int
    spent_usd: float
    tasks: dict[str, tuple[int, list[float], float]]
    relaxed: dict[str, int] = {}
    has_evidence: bool = False


class ServedRoute:
    """A route's router, and the queue of what it has still to learn; a function of the log alone.

    What is dispatched to it is as far as the fold; its router is as far as its queue has been learned.
    """

    def __init__(self, route: Route, body: RouteIn, *, new_router: Callable[..., Router] = Router) -> None:
        self.body = body
        self.first = route
        """The configuration that the router was created with, which a snapshot needs."""
        encoder = new_encoder(body.features)
        if encoder is not None:
            self.width, self.router = encoder.width, new_router(route, encoder=encoder)
        else:
            blocks, version = _vector_blocks(body.features)
            self.width = blocks[0].width
            self.router = new_router(route, blocks=blocks, encoder_version=version)
        self._fixed_width = self.router.width
        self.inbox: deque[Waiting] = deque()
        self.opened: deque[str] = deque()
        """Ids of its open decisions, in the order of the log."""
        self.dispatched = 0
        """Number of decisions so far, those that wait included."""
        self._learned, self._steps = 0, 0
        self.tasks: dict[str, tuple[int, FloatArray, float]] = {}
        """By task label: number of decisions, sum of their features, sum of their input tokens."""
        self.broken: str | None = None
        """Why the default provider answers instead of the router; None if the router is sound."""
        self.decisions = 0
        self.fallbacks = 0
        self.explored = 0
        self.relaxed: dict[str, int] = {}
        """By limit: number of decisions whose provider was not believed to meet it."""
        self.spent_usd = 0.0
        self.has_evidence = False
        """Whether anything was ever said of its providers beforehand."""

    def state_at(self, seq: int) -> tuple[int, int]:
        """Return up to which place of the log the router has learned, if its queue goes up to ``seq``.

        The second number says how many steps of the next event are learned too, for an event of several.
        """
        if not self.inbox:
            return seq, 0
        following = self.inbox[0].seq
        return following - 1, self._steps if following == self._learned else 0

    @property
    def waits_for_refit(self) -> bool:
        """Whether beliefs or prices must be recomputed before anything else is learned."""
        router = self.router
        return self.broken is None and router.needs_refit and (router.must_reencode or not self.is_quick)

    @property
    def learns_text(self) -> bool:
        """Whether it learns features of texts: where they are read, unless a file says how."""
        features = self.body.features
        return features.surface and features.text and features.projection is None and features.vector is None

    @property
    def widths(self) -> tuple[int, int]:
        """Numbers of features that its decisions are logged with: without those of texts, and with them."""
        return self._fixed_width, self._fixed_width + TEXT_WIDTH

    def learn_next(self) -> str:
        """Learn what waits longest, and return its kind; raises what learning raises."""
        waiting = self.inbox.popleft()
        self._steps = self._steps + 1 if waiting.seq == self._learned else 1
        self._learned = waiting.seq
        waiting.learn(self, waiting.subject)
        return waiting.kind

    def learn_configuration(self, route: Route) -> None:
        """Switch to the providers, prices, objective, budget and rules in force from now on."""
        if route != self.router.route:
            self.router.configure(route, refit=self.is_quick)

    @property
    def is_quick(self) -> bool:
        """Whether refits are so quick that they run at once and count in the very next decision."""
        fits = FITS_WITH_EVIDENCE if self.has_evidence else 1
        return fits * len(self.router.route.providers) * (self.router.width + 1) ** 3 <= QUICK

    def open_decision(self, decision_id: str) -> OpenDecision:
        """Return what the router keeps of an open decision."""
        decision = self.router.open_decision(decision_id)
        assert decision is not None, f"decision {decision_id!r} is not open"
        return decision

    def learn_decision(self, subject: tuple[Decision, bool]) -> None:
        """Fold a decision, and whether it explored, and keep it open for reports."""
        decision, explored = subject
        # The route's own count, and not the place in the log: what ages, ages by the route's own decisions.
        decision = copy_with(decision, seq=self.router.next_seq)
        # The fold has checked it when it was dispatched.
        self.router.learn(decision, refit=self.is_quick, checked=True)
        self.decisions += 1
        self.explored += explored
        self.fallbacks += decision.fallback_used is not None
        for limit in decision.relaxed:
            self.relaxed[limit] = self.relaxed.get(limit, 0) + 1
        self._remember_task(decision)

    def learn_encoder(self, event: EncoderFitted) -> None:
        """Fold newly learned features of texts; everything is encoded anew before the next event."""
        self.router.learn(event, refit=False)

    def learn_evidence(self, evidence: Evidence) -> None:
        """Fold what is known of providers, as of the decisions so far."""
        self.has_evidence = True
        self.learn(replace(evidence, seq=self.router.next_seq))

    def learn(self, event: Event) -> None:
        """Fold an event, and refit the router at once if that is quick."""
        self.router.learn(event, refit=self.is_quick)

    def learn_shared_price(self, shadow_price: float) -> None:
        """Take the shadow price of the budgets that the route shares."""
        self.router.share_budgets(shadow_price)
        if self.is_quick:
            self.router.refit()

    def _remember_task(self, decision: Decision) -> None:
        if decision.task is None:
            return
        # Without features of texts, whose coordinates mean something else after each fit.
        features = self.router.sketched(decision.features)[: self._fixed_width]
        if decision.task in self.tasks:
            count, total, tokens = self.tasks[decision.task]
            self.tasks[decision.task] = (count + 1, total + features, tokens + decision.input_tokens)
        elif len(self.tasks) < MAX_TASKS:
            self.tasks[decision.task] = (1, features.copy(), decision.input_tokens)

    def learn_outcome(self, event: Outcome) -> None:
        """Fold an outcome of an open decision; without another provider, the selected one served."""
        decision = self.router.open_decision(event.decision_id)
        if decision is None:
            raise UnknownDecision(f"decision {event.decision_id!r} was refused, and so are its reports")
        if not event.served_provider:
            event = copy_with(event, served_provider=decision.selected)
        before_usd = _paid_usd(decision)
        self.learn(event)
        # The later outcome in the log is the one in force.
        self.spent_usd += _paid_usd(decision) - before_usd
        for usd in self.router.take_corrections():
            self.spent_usd += usd

    def learn_closing(self, subject: tuple[Sequence[str], float | None]) -> None:
        """Close the oldest open decisions, with the default reward for those that got no feedback."""
        decision_ids, reward = subject
        decisions = [
            decision
            for decision_id in decision_ids
            if (decision := self.router.open_decision(decision_id)) is not None
        ]
        for decision in decisions:
            if reward is not None and decision.reward is None:
                self.learn(self._default_feedback(decision.id, reward))
        if decisions:
            self.router.close_before(decisions[-1].seq + 1)

    def _default_feedback(self, decision_id: str, reward: float) -> Feedback:
        metric = self.body.metrics[0]
        share = reward if metric.higher_is_better else 1.0 - reward
        value = metric.low + share * (metric.high - metric.low)
        return Feedback(decision_id=decision_id, metric=metric.name, value=value, source="default")

    def state(self) -> SavedRoute:
        """Everything except the router."""
        return SavedRoute(
            first=to_json(self.first),
            broken=self.broken,
            dispatched=self.dispatched,
            decisions=self.decisions,
            fallbacks=self.fallbacks,
            explored=self.explored,
            spent_usd=self.spent_usd,
            tasks={name: (n, total.tolist(), tokens) for name, (n, total, tokens) in self.tasks.items()},
            relaxed=self.relaxed,
            has_evidence=self.has_evidence,
        )

    @classmethod
    def from_state(cls, state: SavedRoute, first: Route, body: RouteIn) -> ServedRoute:
        """Build the route that gave `state`, with a router that has learned nothing yet."""
        served = cls(first, body)
        served.broken, served.spent_usd, served.dispatched = state.broken, state.spent_usd, state.dispatched
        served.decisions, served.fallbacks, served.explored = state.decisions, state.fallbacks, state.explored
        served.relaxed, served.has_evidence = dict(state.relaxed), state.has_evidence
        served.tasks = {
            name: (n, np.array(total, dtype=np.float64), tokens)
            for name, (n, total, tokens) in state.tasks.items()
        }
        return served


def feature_width(features: FeaturesIn) -> int:
    """Return the number of features that a route declares; `InvalidInput` if its projection is unreadable."""
    encoder = new_encoder(features)
    return int(features.vector or 0) if encoder is None else encoder.width


def declared_blocks(features: FeaturesIn) -> tuple[tuple[Block, ...], str]:
    """Return the blocks of the features that a route declares, before any sketch, and their version."""
    encoder = new_encoder(features)
    return _vector_blocks(features) if encoder is None else (encoder.blocks, encoder.version)


def _vector_blocks(features: FeaturesIn) -> tuple[tuple[Block, ...], str]:
    width = int(features.vector or 0)
    return (Block(name="vector", width=width, isotropic=False),), f"vector-1-{width}"


def _paid_usd(decision: OpenDecision) -> float:
    """USD of a decision's outcome: as booked, since a cost that is not believed counts as expected."""
    is_priced = decision.outcome is not None and decision.cost_of(decision.outcome) is not None
    return decision.booked_usd if is_priced else 0.0


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
        raise UnreadableFile(
            f"features.projection {path!r} cannot be read ({error}): restore it, or name another file"
        ) from None


def cost_with_source(
    outcome: Outcome, prices: Mapping[str, Prices]
) -> tuple[float | None, Literal["reported", "price_list"] | None]:
    """USD of an outcome, and whether it was ``reported`` or computed from the ``price_list`` then."""
    if outcome.cost_usd is not None:
        return outcome.cost_usd, "reported"
    cost = cost_of(outcome, prices.get(outcome.served_provider))
    return cost, None if cost is None else "price_list"
