"""From events to statistics: every event ends as what it adds to or takes from a provider's sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.learning.costs import Costs
from fairlead.optimizer.learning.drift import DriftDetector
from fairlead.optimizer.learning.facts import Facts, cost_of, facts_from_state, facts_of, facts_state
from fairlead.optimizer.learning.ledger import Ledger
from fairlead.optimizer.learning.open_decision import Change, Entry
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.statistics import quantise
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.types import Decision, DriftAlarm, Feedback, FloatArray, Outcome, RouteChanged
from fairlead.optimizer.types.arrays import State, from_texts, joined, part, texts

LEAST_SHIFT: Final = 0.5
"""Smallest shift of a residual's mean, in standard deviations, that is taken for a change of the provider.
Learning moves residuals by less: what is chosen changes with what is believed."""


class Learning:
    """Folds events of one route into its beliefs."""

    def __init__(self, history: RouteHistory, beliefs: Beliefs, *, detect_drift: bool) -> None:
        self._beliefs = beliefs
        self._history = history
        route = history.latest
        self._ledger = Ledger(providers=history.names(), metrics=route.metrics, sources=route.sources)
        self._facts: dict[str, Facts] = {}
        self._costs = Costs(beliefs, history, self._ledger)
        self._detect = detect_drift
        self._detectors: dict[str, DriftDetector] = {}
        self._spending: list[float] = []
        self.counts: dict[str, int] = {}
        self.alarms: list[DriftAlarm] = []
        self.refreshed = False

    def configure(self, event: RouteChanged) -> bool:
        """Take a configuration in at its place in the order; False where it is known already.

        Decisions from its place on that came before it are learned anew under its prices, and a provider of
        whose cost something else is learned from now on is counted anew.
        """
        kinds = {name: self._history.cost_kind(name) for name in self._history.names()}
        if not self._history.add(event):
            return False
        for name in (provider.name for provider in event.route.providers if provider.name not in kinds):
            told = [e for e in self._ledger.entries() if e.quality is not None and e.seq >= event.seq]
            self._beliefs.quality.add_arrival(name, event.seq, len(told))
        self._beliefs.configure(self._history.latest.providers)
        for name in self._history.names():
            self._ledger.add_provider(name)
        moved = {name for name, kind in kinds.items() if self._history.cost_kind(name) != kind}
        for entry in self._ledger.entries():
            facts = self._facts[entry.id]
            prices = self._history.prices_at(entry.seq)
            if prices is not facts.prices:
                facts.prices = prices
                moved |= {entry.provider}
                if entry.outcome is not None:
                    self._book(facts, cost_of(entry.outcome, prices.get(entry.outcome.served_provider)))
        for name in sorted(moved):
            self._recount(name)
        return True

    def take_spending(self) -> list[float]:
        """Money to book since the last call: real cost less what had been booked for the decision."""
        taken, self._spending = self._spending, []
        return taken

    @property
    def known(self) -> int:
        """How many decisions are open."""
        return len(self._facts)

    def open(self, decision: Decision) -> bool:
        """Register a decision; False where it is known already."""
        if decision.id in self._facts:
            return False
        # First the ledger, which refuses what is wrong: nothing is kept of a decision that is refused.
        changes = self._ledger.open(decision)
        if decision.id not in self._ledger:
            return False
        self._facts[decision.id] = facts_of(decision, self._history.prices_at(decision.seq))
        for change in changes:
            self._fold(change)
        return True

    def apply(self, event: Outcome | Feedback) -> None:
        """Fold an outcome or feedback; it waits where its decision is not known yet."""
        change = self._ledger.apply(event)
        if change is not None:
            self._fold(change)

    def _fold(self, change: Change) -> None:
        entry, facts = change.entry, self._facts[change.entry.id]
        moved = change.old_provider != change.new_provider
        if moved or change.old_quality != change.new_quality:
            self._quality(change.old_provider, facts, change.old_quality, entry.seq, sign=-1)
            self._quality(change.new_provider, facts, change.new_quality, entry.seq, sign=1)
            watched = self._detect and facts.row is not None
            if watched and change.old_quality is None and change.new_quality is not None:
                self._watch(change.new_provider, facts, change.new_quality, entry.seq)
        if change.old_outcome is not change.new_outcome:
            self._outcome(facts, change.old_outcome, entry.seq, sign=-1)
            self._outcome(facts, change.new_outcome, entry.seq, sign=1)
            for outcome in (change.old_outcome, change.new_outcome):
                if outcome is not None and self._costs.moves_unit(facts, outcome, entry.seq):
                    self._recount(outcome.served_provider)

    def _quality(self, name: str, facts: Facts, value: float | None, seq: int, *, sign: int) -> None:
        if value is None or facts.row is None:
            return
        self._beliefs.quality.add(name, facts.row, value, seq=seq, sign=sign)
        self.counts[name] = self.counts.get(name, 0) + sign

    def _outcome(self, facts: Facts, outcome: Outcome | None, seq: int, *, sign: int) -> None:
        if outcome is None:
            return
        name, beliefs = outcome.served_provider, self._beliefs
        failed = outcome.status != "ok"
        if sign > 0:
            beliefs.failure[name].add(seq, failed)
        else:
            beliefs.failure[name].remove(seq, failed)
        if outcome.latency_s is not None:
            beliefs.latency[name].add(outcome.latency_s, seq, sign=sign)
        cost = cost_of(outcome, facts.prices.get(name))
        if sign > 0:
            self._book(facts, cost)
        units = self._costs.units(facts, name, cost)
        if units is not None and facts.row is not None:
            beliefs.cost.add(name, facts.row, units, seq=seq, sign=sign)
        if failed or outcome.latency_s is not None or beliefs.failure[name].any:
            beliefs.mark_served(name)

    def _book(self, facts: Facts, cost: float | None) -> None:
        # A cost that is taken back counts as expected again.
        worth = cost if cost is not None else facts.expected_usd
        if worth != facts.booked_usd:
            self._spending.append(worth - facts.booked_usd)
            facts.booked_usd = worth

    def _recount(self, name: str) -> None:
        self._costs.recount(name, self._facts)
        self.refreshed = True

    def _watch(self, name: str, facts: Facts, quality: float, seq: int) -> None:
        if name not in facts.providers or name not in self._beliefs.names:
            return
        expected, sd = facts.believed[:, facts.providers.index(name)].tolist()
        noise = float(self._beliefs.quality.posterior.noise[self._beliefs.names.index(name)])
        detector = self._detectors.get(name)
        if detector is None:
            detector = self._detectors[name] = DriftDetector()
        scale = sqrt(noise + sd * sd)
        signal = detector.update((quality - expected) / scale, seq)
        if signal is not None and abs(signal.after - signal.before) >= LEAST_SHIFT:
            alarm = DriftAlarm(
                provider=name,
                quantity="quality",
                since_seq=signal.since_seq,
                at_seq=seq,
                before=signal.before * scale,
                after=signal.after * scale,
            )
            self.alarm(alarm)

    def alarm(self, alarm: DriftAlarm) -> None:
        """Let what the provider did before its change count for little."""
        if alarm in self.alarms:
            return
        if alarm.provider not in self._beliefs.latency:
            raise InvalidInput(
                f"drift alarm is about {alarm.provider!r}, which is not on the route: "
                f"choose from {sorted(self._beliefs.latency)}"
            )
        self.alarms.append(alarm)
        # The latest change counts, whichever of two alarms comes first.
        since = max(alarm.since_seq, self._beliefs.quality.changes.get(alarm.provider, 0))
        later = [
            (row, entry.quality)
            for entry in self._ledger.since(since)
            if entry.provider == alarm.provider and entry.quality is not None
            if (row := self._facts[entry.id].row) is not None
        ]
        self._beliefs.quality.mark_change(alarm.provider, since, later)

    def reencode(self, features: Mapping[str, FloatArray], blocks: Sequence[Block]) -> None:
        """Fold quality and cost anew from the decisions whose features are given."""
        self._beliefs.restart(blocks)
        for entry in self._ledger.entries():
            facts = self._facts[entry.id]
            facts.row = None
            if entry.id in features:
                entry.features = features[entry.id]
                facts.row = quantise(entry.features)
                self._count_again(entry, facts, facts.row)
        self._beliefs.quality.refit()
        self._beliefs.cost.refit()
        self._beliefs.derive()

    def _count_again(self, entry: Entry, facts: Facts, row: FloatArray) -> None:
        if entry.quality is not None:
            self._beliefs.quality.add(entry.provider, row, entry.quality, seq=entry.seq)
        outcome = entry.outcome
        if outcome is None:
            return
        name = outcome.served_provider
        units = self._costs.units(facts, name, cost_of(outcome, facts.prices.get(name)))
        if units is not None:
            self._beliefs.cost.add(name, row, units, seq=entry.seq)

    def close_before(self, seq: int) -> int:
        """Drop what is known of the decisions before ``seq``, which nothing changes any more; how many."""
        closed = self._ledger.close_before(seq)
        for decision_id in closed:
            del self._facts[decision_id]
        return len(closed)

    def state(self) -> State:
        """The open decisions with what came of them, and what was derived from them."""
        facts = [self._facts[entry.id] for entry in self._ledger.entries()]
        names = sorted(self._detectors)
        return {
            "spending": np.array(self._spending),
            "counted": texts(self.counts),
            "counts": np.array(list(self.counts.values()), dtype=np.int64),
            "alarms": texts(encode(alarm) for alarm in self.alarms),
            "detected": texts(names),
            **joined(
                facts=facts_state(facts),
                ledger=self._ledger.state(),
                **{f"detector{i}": self._detectors[name].state() for i, name in enumerate(names)},
            ),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`, on the same route."""
        self._ledger.restore(part(state, "ledger"))
        self._facts = dict(facts_from_state(part(state, "facts"), self._history, self._ledger.entries()))
        self._spending = state["spending"].tolist()
        self.counts = dict(zip(from_texts(state["counted"]), state["counts"].tolist(), strict=True))
        alarms = [decode(line) for line in from_texts(state["alarms"])]
        self.alarms = [alarm for alarm in alarms if isinstance(alarm, DriftAlarm)]
        for i, name in enumerate(from_texts(state["detected"])):
            self._detectors[name] = DriftDetector.from_state(part(state, f"detector{i}"))
        self.refreshed = False

    def recent_rows(self) -> list[tuple[FloatArray, float]]:
        """Features and input tokens of the latest decisions, oldest first."""
        known = [entry for entry in self._ledger.entries() if self._facts[entry.id].row is not None]
        return [(entry.features, self._facts[entry.id].input_tokens) for entry in known[-64:]]
