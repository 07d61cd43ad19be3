"""The ledger: what is in force for each decision, in whatever order its events arrive.

An event may come twice, late, before its decision, or be corrected later. The ledger keeps for each
decision only what is in force, chosen by revision and content and never by arrival, so that any
order of the same events ends in the same reward, outcome and provider as a clean log does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from math import fsum
from operator import attrgetter
from sys import intern
from typing import Final

import msgspec

from fairlead.optimizer.errors import InvalidInput, UnknownDecision
from fairlead.optimizer.learning.open_decision import Change, OpenDecision
from fairlead.optimizer.learning.pending import PendingEvents
from fairlead.optimizer.models.statistics import quantise
from fairlead.optimizer.types.arrays import FloatArray, State, array_of, packed, unpacked
from fairlead.optimizer.types.events import Feedback, Outcome, copy_with
from fairlead.optimizer.types.route import Metric, Prices, Source

MAX_PARKED: Final = 10_000

WINDOW: Final = 64
"""Decisions that `Ledger.recent_rows` looks back on."""


class Ledger:
    """The open decisions of one route, and the events that wait for a decision.

    The reward is the mean of the route's metrics by their weights, over those metrics for which
    anything is in force; each metric is the mean of its sources by their weights.

    At most ``max_parked`` events wait for their decision; beyond that, those of the decision that has been
    waited for longest are dropped and counted in ``evicted``.
    """

    def __init__(
        self,
        *,
        providers: Iterable[str],
        metrics: Iterable[Metric] = (Metric(),),
        sources: Iterable[Source] = (),
        max_parked: int = MAX_PARKED,
    ) -> None:
        self._providers = set(providers)
        self._metrics = {metric.name: metric for metric in metrics}
        self._weights = {source.name: source.weight for source in sources}
        # In the order of their seqs, so that closing a few of many is cheap.
        self._decisions: dict[str, OpenDecision] = {}
        self._pending = PendingEvents[Outcome | Feedback](limit=max_parked)
        self._closed_before = 0
        self._last_seq = -1
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._decisions)

    def __contains__(self, decision_id: object) -> bool:
        return decision_id in self._decisions

    def is_open(self, seq: int) -> bool:
        """Whether events may still come for decisions at this seq."""
        return seq >= self._closed_before

    def add_provider(self, name: str) -> None:
        """Accept events about a provider; those that leave the route stay, since their decisions are open."""
        self._providers.add(name)

    def get(self, decision_id: str) -> OpenDecision | None:
        """Return an open decision by its id; None if there is none."""
        return self._decisions.get(decision_id)

    def decisions(self) -> list[OpenDecision]:
        """Return all open decisions by their seq."""
        return list(self._decisions.values())

    def since(self, seq: int) -> list[OpenDecision]:
        """Return the open decisions from ``seq`` on, the latest first."""
        return list(takewhile(lambda decision: decision.seq >= seq, reversed(self._decisions.values())))

    def rewards_since(self, name: str, seq: int) -> list[tuple[FloatArray, float]]:
        """Return the rows and rewards of a provider's open decisions from ``seq`` on."""
        return [
            (decision.row, reward)
            for decision in self.since(seq)
            if decision.provider == name
            and (reward := decision.judged_reward) is not None
            and decision.row is not None
        ]

    def before(self, seq: int) -> list[OpenDecision]:
        """Return the open decisions before ``seq``, the earliest first."""
        return list(takewhile(lambda decision: decision.seq < seq, self._decisions.values()))

    def recent_rows(self) -> list[tuple[FloatArray, float]]:
        """Features and input tokens of the latest decisions, oldest first."""
        encoded = [decision for decision in self._decisions.values() if decision.row is not None]
        return [(decision.features, decision.input_tokens) for decision in encoded[-WINDOW:]]

    def latencies_since(self, name: str, seq: int) -> list[tuple[int, float]]:
        """Return the latencies of a provider's calls from ``seq`` on that succeeded, each with its seq."""
        return [
            (decision.seq, outcome.latency_s)
            for decision in self.since(seq)
            if (outcome := decision.outcome) is not None
            and outcome.served_provider == name
            and outcome.status == "ok"
            and outcome.latency_s is not None
        ]

    @property
    def pending(self) -> list[Outcome | Feedback]:
        """The events that wait for their decision, those of the decision waited for longest first."""
        return list(self._pending)

    def open(self, decision: OpenDecision) -> list[Change] | None:
        """Register a decision, and apply the events that waited for it; returns what they changed.

        None if the decision is open already or its seq is closed.
        """
        if self._is_refused(decision):
            return None
        self._decisions[decision.id] = decision
        if decision.seq < self._last_seq:
            self._decisions = {
                entry.id: entry for entry in sorted(self._decisions.values(), key=lambda entry: entry.seq)
            }
        else:
            self._last_seq = decision.seq
        events = self._pending.join(decision.id)
        return [change for event in events if (change := self.apply(event)) is not None]

    def apply(self, event: Outcome | Feedback) -> Change | None:
        """Fold an event; returns what it changed, or None if what is in force stays as it is."""
        reward = None
        if isinstance(event, Feedback):
            reward = self._scaled(event)
        elif event.served_provider not in self._providers:
            raise InvalidInput(
                f"outcome of decision {event.decision_id!r} was served by {event.served_provider!r}, "
                f"which is not on the route: choose from {sorted(self._providers)}"
            )
        decision = self._decisions.get(event.decision_id)
        if decision is None:
            self._park(event)
            return None
        if isinstance(event, Outcome):
            return _apply_outcome(decision, event)
        return self._apply_feedback(decision, event, reward)

    def close_before(self, seq: int) -> int:
        """Drop the decisions before ``seq``, which nothing can change from now on; returns how many."""
        self._closed_before = max(self._closed_before, seq)
        closed = self.before(seq)
        for decision in closed:
            del self._decisions[decision.id]
            self._pending.close(decision.id)
        return len(closed)

    def state(self) -> State:
        """Return the open decisions with what is in force for them, and which decisions are closed."""
        saved = SavedLedger(
            decisions=[SavedDecision(*_values(decision)) for decision in self._decisions.values()],
            pending=[
                (event, None) if isinstance(event, Outcome) else (None, event) for event in self._pending
            ],
            closed=self._pending.closed,
            providers=sorted(self._providers),
            closed_before=self._closed_before,
            last_seq=self._last_seq,
            evicted=self.evicted,
        )
        return {"ledger": packed(saved)}

    def restore(self, state: State, *, prices_at: Callable[[int], Mapping[str, Prices]]) -> None:
        """Become the ledger whose `state` this is; ``prices_at`` gives the price lists in force at a seq."""
        saved = unpacked(state["ledger"], SavedLedger)
        self._providers |= set(saved.providers)
        # Most decisions are among the same providers: one tuple serves them all.
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        saved.decisions.reverse()
        while saved.decisions:
            record = saved.decisions.pop()  # freed at once, since all of them are tens of megabytes
            fields = msgspec.structs.asdict(record)
            is_encoded, events = fields.pop("is_encoded"), (fields.pop("outcome"), *fields.pop("feedback"))
            fields["features"] = features = array_of(record.features).copy()
            fields["predicted"] = array_of(record.predicted).reshape(2, -1).copy()
            fields["providers"] = shared.setdefault(record.providers, record.providers)
            row, prices = quantise(features) if is_encoded else None, prices_at(record.seq)
            self._decisions[record.id] = OpenDecision(**fields, row=row, prices=prices)
            for event in events:
                if event is not None:
                    self.apply(_with_shared_texts(event, record.id))
        for outcome, feedback in saved.pending:
            if (waiting := outcome or feedback) is not None:
                self._park(waiting)
        self._pending.remember(closed=saved.closed)
        self._closed_before, self._last_seq = saved.closed_before, saved.last_seq
        self.evicted = saved.evicted

    def _is_refused(self, decision: OpenDecision) -> bool:
        """Whether the decision is open already or closed; raises `InvalidInput` if it cannot be right."""
        same = self._decisions.get(decision.id)
        if same is not None and (same.seq, same.selected) != (decision.seq, decision.selected):
            raise InvalidInput(
                f"decision {decision.id!r} has seq {same.seq} and selected {same.selected!r}, but came "
                f"again with seq {decision.seq} and {decision.selected!r}: give each an id of its own"
            )
        if decision.selected not in self._providers:
            raise InvalidInput(
                f"decision {decision.id!r} selected {decision.selected!r}, which is not on the route: "
                f"choose from {sorted(self._providers)}"
            )
        if same is None and decision.seq >= self._closed_before:
            return False
        if same is None:
            self._pending.close(decision.id)
        return True

    def _park(self, event: Outcome | Feedback) -> None:
        if self._pending.is_closed(event.decision_id):
            raise UnknownDecision(
                f"decision {event.decision_id!r} is closed: events of decisions before seq "
                f"{self._closed_before} no longer count; report sooner, or keep decisions open longer"
            )
        self._pending.park(event.decision_id, event)
        self.evicted += len(self._pending.expire())

    def _scaled(self, event: Feedback) -> float | None:
        """Return the value as a reward in [0, 1]; None if it takes feedback back."""
        metric = self._metrics.get(event.metric)
        if metric is None:
            raise InvalidInput(
                f"feedback on decision {event.decision_id!r} is of metric {event.metric!r}, which the route "
                f"does not declare: choose from {sorted(self._metrics)}"
            )
        return None if event.value is None else metric.scaled(event.value)

    def _apply_feedback(self, decision: OpenDecision, event: Feedback, scaled: float | None) -> Change | None:
        key = (event.metric, event.source)
        scores = decision.scores
        if scores is None:
            decision.scores = {key: (event, scaled)}
            reward = scaled
        else:
            kept = scores.get(key)
            if kept is not None and _feedback_rank(event) <= _feedback_rank(kept[0]):
                return None
            scores[key] = (event, scaled)
            reward = scaled if len(scores) == 1 else self._reward(scores)
        old_reward = decision.reward
        if reward == old_reward:
            return None
        decision.reward = reward
        outcome, provider = decision.outcome, decision.provider
        attempt = decision.failed_attempt
        return Change(decision, old_reward, reward, outcome, outcome, provider, provider, attempt, attempt)

    def _reward(self, scores: dict[tuple[str, str], tuple[Feedback, float | None]]) -> float | None:
        by_metric: dict[str, list[tuple[float, float]]] = {}
        for (metric, source), (_, scaled) in scores.items():
            if scaled is not None:
                by_metric.setdefault(metric, []).append((self._weights.get(source, 1.0), scaled))
        if not by_metric:
            return None
        # fsum rounds once, so that the order in which sources reported leaves no trace in the last digit.
        weights = {name: self._metrics[name].weight for name in by_metric}
        total = fsum(weights[name] * _mean(weighted) for name, weighted in by_metric.items())
        return min(total / fsum(weights.values()), 1.0)


class SavedDecision(msgspec.Struct, array_like=True, gc=False):
    """An open decision in a snapshot: all of it that does not follow from the rest of the snapshot."""

    id: str
    seq: int
    selected: str
    features: bytearray
    is_encoded: bool
    providers: tuple[str, ...]
    predicted: bytearray
    input_tokens: float
    expected_usd: float
    booked_usd: float
    outcome: Outcome | None
    feedback: tuple[Feedback, ...]
    at_s: float | None = None
    attempt: Outcome | None = None
    task: str | None = None


_values: Final = attrgetter(*SavedDecision.__struct_fields__)


class SavedLedger(msgspec.Struct, array_like=True):
    """A ledger in a snapshot."""

    decisions: list[SavedDecision]
    pending: list[tuple[Outcome | None, Feedback | None]]
    closed: list[str]
    providers: list[str]
    closed_before: int
    last_seq: int
    evicted: int


def _with_shared_texts(event: Outcome | Feedback, decision_id: str) -> Outcome | Feedback:
    """Hold each text that is the same in many events once."""
    if isinstance(event, Outcome):
        provider, status = intern(event.served_provider), intern(event.status)
        return copy_with(event, decision_id=decision_id, served_provider=provider, status=status)
    metric, source = intern(event.metric), intern(event.source)
    return copy_with(event, decision_id=decision_id, metric=metric, source=source)


def _apply_outcome(decision: OpenDecision, event: Outcome) -> Change | None:
    old, old_provider, old_attempt = decision.outcome, decision.provider, decision.failed_attempt
    is_in_force = old is None or _outcome_rank(event) > _outcome_rank(old)
    if is_in_force:
        decision.outcome = event
    decision.attempt = _attempt(decision, old if is_in_force else event)
    attempt = decision.failed_attempt
    is_same = not is_in_force or (old is not None and _outcome_rank(event)[1:] == _outcome_rank(old)[1:])
    if is_same and attempt is old_attempt:
        return None
    new, reward = old if is_same else event, decision.reward
    return Change(decision, reward, reward, old, new, old_provider, decision.provider, old_attempt, attempt)


def _attempt(decision: OpenDecision, other: Outcome | None) -> Outcome | None:
    """Return the attempt of a decision after an outcome came, given ``other``, which is not in force."""
    if decision.provider == decision.selected:
        return None
    kept = decision.attempt
    if other is None or other.served_provider != decision.selected:
        return kept
    return other if kept is None or _outcome_rank(other) > _outcome_rank(kept) else kept


def _mean(weighted: list[tuple[float, float]]) -> float:
    return fsum(weight * value for weight, value in weighted) / fsum(weight for weight, _ in weighted)


def _outcome_rank(event: Outcome) -> tuple[object, ...]:
    """Later revisions first, then by content: arbitrary, but the same whichever of two came first."""
    numbers = (event.cost_usd, event.latency_s, event.input_tokens, event.output_tokens, event.cached_tokens)
    amounts = tuple(-1.0 if number is None else number for number in numbers)
    return (event.revision, event.served_provider, event.status, *amounts)


def _feedback_rank(event: Feedback) -> tuple[int, bool, float]:
    return (event.revision, event.value is not None, event.value or 0.0)
