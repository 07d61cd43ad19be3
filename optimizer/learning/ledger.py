"""What is known of each decision, however its events arrive.

An event may come twice, late, before its decision, or be corrected later. The ledger keeps for each
decision only what is in force, chosen by revision and content and never by arrival, so that any
order of the same events ends in the same quality, outcome and provider as a clean log does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice, takewhile
from math import fsum
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput, UnknownDecision
from fairlead.optimizer.learning.event_arrays import told_from_state, told_state
from fairlead.optimizer.learning.open_decision import Change, Entry, Opening
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.types.arrays import State, coded, from_coded, from_texts, joined, part, texts
from fairlead.optimizer.types.events import Feedback, Outcome
from fairlead.optimizer.types.route import Metric, Source

MAX_PARKED: Final = 10_000
MAX_CLOSED_IDS: Final = 100_000


class Ledger:
    """The decisions of one route that can still change, and the events that wait for theirs.

    The reward is the mean of the route's metrics by their weights, over those metrics for which
    anything is in force; each metric is the mean of its sources by their weights.

    At most ``max_parked`` events wait for their decision; beyond that the one that has waited
    longest for a decision goes and is counted in ``evicted``.
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
        self._max_parked = max_parked
        self._entries: dict[str, Entry] = {}
        self._parked: dict[str, dict[Outcome | Feedback, None]] = {}
        # The longest closed are forgotten first; a dict would look through all that it forgot each time.
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._closed_before = 0
        self._last_seq = -1
        self.parked = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, decision_id: object) -> bool:
        return decision_id in self._entries

    def is_open(self, seq: int) -> bool:
        """Whether something may still come of the decisions at this place."""
        return seq >= self._closed_before

    def add_provider(self, name: str) -> None:
        """Know a newcomer; who leaves the route stays known, for what still comes of its decisions."""
        self._providers.add(name)

    def get(self, decision_id: str) -> Entry | None:
        """The entry of an open decision."""
        return self._entries.get(decision_id)

    def entries(self) -> list[Entry]:
        """All open decisions by their order."""
        return sorted(self._entries.values(), key=lambda entry: entry.seq)

    def since(self, seq: int) -> list[Entry]:
        """The open decisions from ``seq`` on, the latest first."""
        return list(takewhile(lambda entry: entry.seq >= seq, reversed(self._entries.values())))

    def parked_events(self) -> list[Outcome | Feedback]:
        """The events that wait for their decision, those that wait longest first."""
        return [event for group in self._parked.values() for event in group]

    def open(self, decision: Opening) -> list[Change]:
        """Register a decision; what the events that waited for it changed. Nothing where it is known."""
        decision_id = decision.id
        seq = decision.seq
        selected = decision.selected
        if decision_id in self._entries or seq < self._closed_before or selected not in self._providers:
            return self._not_opened(decision)
        self._entries[decision_id] = Entry(decision_id, seq, selected, decision.features)
        if seq < self._last_seq:
            self._entries = {entry.id: entry for entry in self.entries()}
        else:
            self._last_seq = seq
        if not self._parked or decision_id not in self._parked:
            return []
        waiting = self._parked.pop(decision_id)
        self.parked -= len(waiting)
        return [change for event in waiting if (change := self.apply(event)) is not None]

    def apply(self, event: Outcome | Feedback) -> Change | None:
        """Take an event in; what it changed, or None where what is in force stays as it is."""
        if isinstance(event, Outcome):
            if event.served_provider not in self._providers:
                raise InvalidInput(
                    f"outcome of decision {event.decision_id!r} was served by {event.served_provider!r}, "
                    f"which is not on the route: choose from {sorted(self._providers)}"
                )
            share = None
        else:
            share = self._share(event)
        entry = self._entries.get(event.decision_id)
        if entry is None:
            self._park(event)
            return None
        if isinstance(event, Outcome):
            return self._apply_outcome(entry, event)
        return self._apply_feedback(entry, event, share)

    def close_before(self, seq: int) -> list[str]:
        """Drop the decisions before ``seq``, which nothing can change from now on; their ids."""
        self._closed_before = max(self._closed_before, seq)
        # Entries lie in the order of their decisions, so that closing a few of many is cheap.
        old = [entry.id for entry in takewhile(lambda entry: entry.seq < seq, self._entries.values())]
        for decision_id in old:
            del self._entries[decision_id]
            self._remember_closed(decision_id)
        return old

    def state(self) -> State:
        """The open decisions and what is in force for them, and which decisions are closed."""
        entries = self.entries()
        told = [
            (i, event)
            for i, entry in enumerate(entries)
            for event in (entry.outcome, *entry.feedback)
            if event is not None
        ]
        return {
            "ids": texts(entry.id for entry in entries),
            "seqs": np.array([entry.seq for entry in entries], dtype=np.int64),
            **coded("selected", [entry.selected for entry in entries]),
            "features": np.concatenate([np.empty(0), *(entry.features for entry in entries)]),
            "widths": np.array([len(entry.features) for entry in entries], dtype=np.int64),
            **joined(told=told_state(told)),
            "parked": texts(encode(event) for event in self.parked_events()),
            "providers": texts(sorted(self._providers)),
            "closed": texts(self._closed),
            "counts": np.array([self._closed_before, self._last_seq, self.evicted], dtype=np.int64),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._providers |= set(from_texts(state["providers"]))
        ids, seqs, selected = (
            from_texts(state["ids"]),
            state["seqs"].tolist(),
            from_coded("selected", state),
        )
        stops = np.cumsum(state["widths"])
        for name, seq, chosen, features in zip(
            ids, seqs, selected, np.split(state["features"], stops)[:-1], strict=True
        ):
            self._entries[name] = Entry(name, seq, chosen, features)
        for event in told_from_state(part(state, "told"), ids):
            self.apply(event)
        for line in from_texts(state["parked"]):
            waiting = decode(line)
            if isinstance(waiting, Outcome | Feedback):
                self.apply(waiting)
        self._closed = OrderedDict.fromkeys(from_texts(state["closed"]))
        self._closed_before, self._last_seq, self.evicted = state["counts"].tolist()

    def _not_opened(self, decision: Opening) -> list[Change]:
        known = self._entries.get(decision.id)
        if known is not None and (known.seq, known.selected) != (decision.seq, decision.selected):
            raise InvalidInput(
                f"decision {decision.id!r} is at order {known.seq} with {known.selected!r} and came again "
                f"at order {decision.seq} with {decision.selected!r}: give each decision an id of its own"
            )
        if decision.selected not in self._providers:
            raise InvalidInput(
                f"decision {decision.id!r} selected {decision.selected!r}, which is not on the route: "
                f"choose from {sorted(self._providers)}"
            )
        if known is None:
            self.parked -= len(self._parked.pop(decision.id, ()))
            self._remember_closed(decision.id)
        return []

    def _remember_closed(self, decision_id: str) -> None:
        self._closed[decision_id] = None
        if len(self._closed) > MAX_CLOSED_IDS:
            self._closed.popitem(last=False)

    def _park(self, event: Outcome | Feedback) -> None:
        if event.decision_id in self._closed:
            raise UnknownDecision(
                f"decision {event.decision_id!r} is closed: what comes of decisions before order "
                f"{self._closed_before} no longer counts; report sooner, or keep decisions open longer"
            )
        group = self._parked.setdefault(event.decision_id, {})
        if event in group:
            return
        group[event] = None
        self.parked += 1
        if self.parked > self._max_parked:
            longest_id, longest = next(iter(self._parked.items()))
            for waiting in list(islice(longest, 1)):
                del longest[waiting]
            if not longest:
                del self._parked[longest_id]
            self.parked -= 1
            self.evicted += 1

    def _share(self, event: Feedback) -> float | None:
        """The value as quality in [0, 1]; None where it takes feedback back."""
        metric = self._metrics.get(event.metric)
        if metric is None:
            raise InvalidInput(
                f"feedback on decision {event.decision_id!r} is of metric {event.metric!r}, which the route "
                f"does not declare: choose from {sorted(self._metrics)}"
            )
        return None if event.value is None else metric.scaled(event.value)

    def _apply_outcome(self, entry: Entry, event: Outcome) -> Change | None:
        old = entry.outcome
        old_provider = entry.provider
        if old is not None and _outcome_rank(event) <= _outcome_rank(old):
            return None
        entry.outcome = event
        entry.provider = event.served_provider
        if old is not None and _outcome_rank(event)[1:] == _outcome_rank(old)[1:]:
            return None
        return Change(entry, entry.quality, entry.quality, old, event, old_provider, event.served_provider)

    def _apply_feedback(self, entry: Entry, event: Feedback, share: float | None) -> Change | None:
        key = (event.metric, event.source)
        if entry._feedback is None:
            entry._feedback = {key: (event, share)}
            quality = share
        else:
            kept = entry._feedback.get(key)
            if kept is not None and _feedback_rank(event) <= _feedback_rank(kept[0]):
                return None
            entry._feedback[key] = (event, share)
            quality = share if len(entry._feedback) == 1 else self._quality(entry._feedback)
        old_quality = entry.quality
        if quality == old_quality:
            return None
        entry.quality = quality
        return Change(
            entry, old_quality, quality, entry.outcome, entry.outcome, entry.provider, entry.provider
        )

    def _quality(self, feedback: dict[tuple[str, str], tuple[Feedback, float | None]]) -> float | None:
        shares: dict[str, list[tuple[float, float]]] = {}
        for (metric, source), (_, share) in feedback.items():
            if share is not None:
                shares.setdefault(metric, []).append((self._weights.get(source, 1.0), share))
        if not shares:
            return None
        # fsum rounds once, so that the order in which sources reported leaves no trace in the last digit.
        weights = {name: self._metrics[name].weight for name in shares}
        total = fsum(weights[name] * _mean(found) for name, found in shares.items())
        return min(total / fsum(weights.values()), 1.0)


def _mean(weighed: list[tuple[float, float]]) -> float:
    return fsum(weight * share for weight, share in weighed) / fsum(weight for weight, _ in weighed)


def _outcome_rank(event: Outcome) -> tuple[object, ...]:
    """Later revisions first, then by content: arbitrary, but the same whichever of two came first."""
    numbers = (event.cost_usd, event.latency_s, event.input_tokens, event.output_tokens, event.cached_tokens)
    known = tuple(-1.0 if number is None else number for number in numbers)
    return (event.revision, event.served_provider, event.status, *known)


def _feedback_rank(event: Feedback) -> tuple[int, bool, float]:
    return (event.revision, event.value is not None, event.value or 0.0)
