"""From events to statistics: every event adds to a provider's sums, or takes an earlier value out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.features.text import TextChange
from fairlead.optimizer.learning.cost_normalizer import CostNormalizer
from fairlead.optimizer.learning.drift import ChangeWatch
from fairlead.optimizer.learning.evidence import EvidenceInForce
from fairlead.optimizer.learning.ledger import Ledger
from fairlead.optimizer.learning.open_decision import Change, OpenDecision, judged
from fairlead.optimizer.learning.quarantine import Quarantine, Verdict
from fairlead.optimizer.learning.reencoding import Encoded, Reencoded, reencoded
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.learning.text_learner import TextLearner
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.pricing import kind_of
from fairlead.optimizer.types import (
    CircuitChanged,
    Decision,
    DriftAlarm,
    Evidence,
    Feedback,
    ImplausibleOutcome,
    Outcome,
    RouteChanged,
)
from fairlead.optimizer.types.arrays import State, joined, packed, part, unpacked

MOST_CHANGES: Final = 1_000
"""Most changes of circuits that are remembered: the latest ones."""


class Learner:
    """Folds the events of one route into its beliefs."""

    def __init__(
        self, history: RouteHistory, beliefs: Beliefs, *, detect_drift: bool, text: TextLearner | None = None
    ) -> None:
        self._beliefs, self._text = beliefs, text or TextLearner()
        self._history = history
        route = history.latest
        self.ledger = Ledger(providers=history.names(), metrics=route.metrics, sources=route.sources)
        self._quarantine = Quarantine(self._is_listed, self.ledger.decisions, latency=beliefs.latency)
        self.evidence: EvidenceInForce | None = None
        self._costs = CostNormalizer(
            beliefs, history=history, ledger=self.ledger, quarantine=self._quarantine
        )
        self._detect = detect_drift
        self._watch = ChangeWatch()
        self._spending: list[tuple[float, float | None]] = []
        self._corrections: list[float] = []
        self._moved: set[str] = set()
        """Providers whose costs must be counted again in another unit."""
        self.counts: dict[str, int] = {}
        """Decisions with a reward, by the provider that served."""
        self.alarms: list[DriftAlarm] = []
        self.circuit_changes: list[CircuitChanged] = []
        """The latest changes of circuits, oldest first."""
        self.circuit_change_counts: dict[str, int] = {}
        """Changes of circuits so far, by provider."""
        self.tripped = False
        """Whether a circuit has changed since the router last checked."""
        self.refreshed = False
        """Whether costs were relearned since the router last checked, so that the shadow price is stale."""

    def _is_listed(self, name: str) -> bool:
        return self._history.cost_kind(name) != kind_of(None)

    def configure(self, event: RouteChanged) -> bool:
        """Apply a route configuration from its seq on; False if it is known already.

        Decisions from its seq on that arrived earlier are relearned under its prices, and so is the cost of
        a provider if another quantity of it is learned from now on.
        """
        kinds = {name: self._history.cost_kind(name) for name in self._history.names()}
        if not self._history.add(event):
            return False
        decisions = self.ledger.decisions()
        for name in (provider.name for provider in event.route.providers if provider.name not in kinds):
            rewarded = [d for d in decisions if d.judged_reward is not None and d.seq >= event.seq]
            self._beliefs.quality.add_arrival(name, event.seq, len(rewarded))
        self._beliefs.configure(self._history.latest.providers)
        for name in self._history.names():
            self.ledger.add_provider(name)
        moved = {name for name, kind in kinds.items() if self._history.cost_kind(name) != kind}
        for decision in decisions:
            prices = self._history.prices_at(decision.seq)
            if prices is not decision.prices:
                for outcome in decision.calls:
                    self._add_call(decision, outcome, sign=-1)
                decision.prices = prices
                for outcome in decision.calls:
                    self._add_call(decision, outcome, sign=1)
                moved |= {decision.provider}
        for name in sorted(moved):
            self._quarantine.restart(name)
        for decision in decisions:
            if decision.outcome is not None and decision.provider in moved:
                self._book(decision, decision.outcome, self._quarantine.verdict(decision, decision.outcome))
        for name in sorted(moved):
            self._recount(name)
        return True

    def take_spending(self) -> list[tuple[float, float | None]]:
        """Money to book since the last call: real cost less what had been booked, and the decision's time."""
        spending, self._spending = self._spending, []
        return spending

    def take_corrections(self) -> list[float]:
        """Return changes of real costs since the last call, of decisions that had no new outcome.

        An outcome's cost went into quarantine, where what was expected counts instead, or came out of it.
        """
        corrections, self._corrections = self._corrections, []
        return corrections

    def quarantine(self) -> list[ImplausibleOutcome]:
        """Return the kinds of outcome that are not believed, and the price lists that are not."""
        lists = self._quarantine.lists_in_doubt(self._history.prices_at(self._beliefs.now))
        return [*self._quarantine.doubts(), *lists]

    def call_usd(self) -> dict[str, tuple[float, float]]:
        """Return the USD of a typical call by invoice and by price list, of each provider that has both."""
        return self._quarantine.call_usd(self._beliefs.names)

    def implausible(self, outcome: Outcome) -> tuple[str, ...]:
        """Name the fields of an outcome of an open decision that would not be believed now."""
        decision = self.ledger.get(outcome.decision_id)
        if decision is None or not outcome.served_provider:
            return ()
        cost = ("cost_usd",) if self._quarantine.verdict(decision, outcome).is_doubted else ()
        return (*cost, "latency_s") if self._quarantine.is_slow(outcome) else cost

    def close_before(self, seq: int) -> int:
        """Close the decisions before ``seq``; returns how many."""
        self._quarantine.close(self.ledger.before(seq))
        return self.ledger.close_before(seq)

    def know(self, event: Evidence) -> bool:
        """Take in what a source of evidence says; False if that is known already, or no longer in force."""
        evidence = self.evidence or EvidenceInForce(self._beliefs, self._history, self._text)
        recounted = evidence.learn(event)
        if recounted is None:
            return False
        self.evidence, self.refreshed = evidence, True
        self._text.know(event.terms)
        for name in recounted:
            self._recount(name)
        return True

    def checked(self, event: Evidence) -> Evidence:
        """Return evidence; raises `InvalidInput` if `know` would refuse it now."""
        (self.evidence or EvidenceInForce(self._beliefs, self._history, self._text)).check(event)
        return event

    def open(self, decision: Decision) -> bool:
        """Register a decision; False if it is open already or closed."""
        if decision.id in self.ledger:
            return False
        changes = self.ledger.open(OpenDecision.of(decision, self._history.prices_at(decision.seq)))
        for change in changes or ():
            self._fold(change)
        return changes is not None

    def apply(self, event: Outcome | Feedback) -> None:
        """Fold an outcome or feedback; it waits if its decision is not known yet."""
        change = self.ledger.apply(event)
        if change is not None:
            self._fold(change)

    def _fold(self, change: Change) -> None:
        decision = change.decision
        moved = change.old_provider != change.new_provider
        old_reward = judged(change.old_reward, change.old_outcome)
        new_reward = judged(change.new_reward, change.new_outcome)
        if moved or old_reward != new_reward:
            self._add_reward(decision, change.old_provider, old_reward, sign=-1)
            self._add_reward(decision, change.new_provider, new_reward, sign=1)
            if old_reward is None and new_reward is not None:
                self._watch_reward(decision, change.new_provider, new_reward)
        if change.old_outcome is not change.new_outcome:
            self._add_outcome(decision, change.old_outcome, sign=-1)
            for outcome, sign in ((change.old_outcome, -1), (change.new_outcome, 1)):
                if outcome is not None:
                    self._quarantine.count(decision, outcome, sign=sign, recount=self._count_cost_again)
            self._add_outcome(decision, change.new_outcome, sign=1)
            for outcome in (change.old_outcome, change.new_outcome):
                if outcome is not None and self._costs.may_move_unit(decision, outcome):
                    self._moved.add(outcome.served_provider)
            while self._moved:
                self._recount(self._moved.pop())
        self._add_calls(change)
        # Until an outcome says otherwise, a call that was judged was answered.
        was_answered = change.old_outcome is None and change.old_reward is not None
        is_answered = change.new_outcome is None and change.new_reward is not None
        if was_answered != is_answered:
            self._count_call(decision, decision.selected, failed=False, sign=1 if is_answered else -1)
        if change.new_outcome is not None and (change.old_outcome is None or moved):
            self._watch_call(decision, change.new_outcome)

    def _add_reward(self, decision: OpenDecision, name: str, reward: float | None, *, sign: int) -> None:
        if reward is None or decision.row is None:
            return
        self._beliefs.quality.add(name, decision.row, reward, seq=decision.seq, sign=sign)
        self.counts[name] = self.counts.get(name, 0) + sign

    def _add_outcome(self, decision: OpenDecision, outcome: Outcome | None, *, sign: int) -> None:
        """Add what an outcome cost and took, or take it back; a call that failed teaches neither."""
        if outcome is None:
            return
        if outcome.status == "ok" and outcome.latency_s is not None:
            self._beliefs.count_latency(outcome.served_provider, decision.seq, outcome.latency_s, sign=sign)
            self._quarantine.watch_latency(decision, outcome, sign=sign)
        self._add_cost(decision, outcome, sign=sign)

    def _add_calls(self, change: Change) -> None:
        """Count the calls that an event reported, and take back those that it replaced.

        A failed call stays counted, untouched, when another provider served after it.
        """
        before = change.old_outcome, change.old_attempt
        after = change.new_outcome, change.new_attempt
        if before[0] is after[0] and before[1] is after[1]:
            return
        for these, (other, attempt), sign in ((before, after, -1), (after, before, 1)):
            for outcome in these:
                if outcome is not None and outcome is not other and outcome is not attempt:
                    self._add_call(change.decision, outcome, sign=sign)

    def _add_call(self, decision: OpenDecision, outcome: Outcome, *, sign: int) -> None:
        """Count whether a call failed, and its cost relative to what was expected."""
        name, cost = outcome.served_provider, decision.cost_of(outcome)
        usual_usd = decision.expected_usd if name == decision.selected else 0.0
        ratio = cost / usual_usd if cost is not None and usual_usd > 0 else None
        failed = outcome.status != "ok"
        billed = min(ratio, 1.0) if failed and ratio is not None else 0.0
        self._count_call(decision, name, failed=failed, billed=billed, sign=sign)
        if ratio is not None and not failed:
            ratios = self._beliefs.cost_ratios[name]
            (ratios.add if sign > 0 else ratios.remove)(decision.seq, ratio)

    def _count_call(
        self, decision: OpenDecision, name: str, *, failed: bool, billed: float = 0.0, sign: int
    ) -> None:
        seq, beliefs = decision.seq, self._beliefs
        if not beliefs.count_call(name, seq, failed=failed, billed=billed, sign=sign):
            return
        circuit = beliefs.failure[name].circuit
        at_seq = circuit.since_seq if circuit.since_seq >= 0 else seq
        change = CircuitChanged(provider=name, state=circuit.state, at_seq=at_seq, failures=circuit.failures)
        self.note(change)
        self.tripped = True

    def note(self, change: CircuitChanged) -> None:
        """Remember a change of a circuit; it changes nothing, since circuits follow from outcomes."""
        self._check_on_route(change.provider, "a circuit is of")
        if change not in self.circuit_changes:
            self.circuit_changes.append(change)
            counts, name = self.circuit_change_counts, change.provider
            counts[name] = counts.get(name, 0) + 1
            del self.circuit_changes[:-MOST_CHANGES]

    def _check_on_route(self, name: str, what: str) -> None:
        known_names = self._beliefs.failure
        if name not in known_names:
            raise InvalidInput(
                f"{what} {name!r}, which is not on the route: choose from {sorted(known_names)}"
            )

    def _add_cost(self, decision: OpenDecision, outcome: Outcome, *, sign: int) -> None:
        """Learn and book the cost of an outcome as it is judged now, or take it back."""
        verdict = self._quarantine.verdict(decision, outcome)
        if sign > 0:
            self._book(decision, outcome, verdict)
        if outcome.status != "ok":
            return
        name = outcome.served_provider
        units = self._costs.units(decision, name, verdict.learned_usd)
        if units is not None and outcome.cost_usd is not None:
            self._beliefs.invoices[name] = self._beliefs.invoices.get(name, 0) + sign
        if units is not None and decision.row is not None:
            self._beliefs.cost.add(name, decision.row, units, seq=decision.seq, sign=sign)

    def _count_cost_again(self, decision: OpenDecision, sign: int) -> None:
        """Do so for a decision whose outcome stays and is judged anew."""
        assert decision.outcome is not None, "a decision without outcome has no cost"
        before_usd = decision.booked_usd
        self._add_cost(decision, decision.outcome, sign=sign)
        if decision.booked_usd != before_usd:
            self._corrections.append(decision.booked_usd - before_usd)
        if self._costs.may_move_unit(decision, decision.outcome):
            self._moved.add(decision.provider)

    def _forget_costs_before(self, name: str, seq: int) -> None:
        since = max(seq, self._beliefs.cost.changes.get(name, 0))
        self._quarantine.forget_costs_before(name, since, self._count_cost_again)
        later = [
            (each.row, units)
            for each in self.ledger.since(since)
            if each.provider == name and each.outcome is not None and each.row is not None
            if (units := self._units_of(each, each.outcome)) is not None
        ]
        self._beliefs.cost.mark_change(name, since, later)
        self.refreshed = True

    def _units_of(self, decision: OpenDecision, outcome: Outcome) -> float | None:
        """Return the cost of an outcome in the units that are learned; None if it is not learned."""
        if outcome.status != "ok":
            return None
        learned_usd = self._quarantine.verdict(decision, outcome).learned_usd
        return self._costs.units(decision, outcome.served_provider, learned_usd)

    def _book(self, decision: OpenDecision, outcome: Outcome, verdict: Verdict) -> None:
        self._quarantine.hold(decision, verdict)
        usd = verdict.booked_usd
        if usd is None:
            # An unknown cost counts as expected; a failed call is free unless it says otherwise.
            usd = decision.expected_usd if outcome.status == "ok" else 0.0
        if usd != decision.booked_usd:
            self._spending.append((usd - decision.booked_usd, decision.at_s))
            decision.booked_usd = usd

    def _recount(self, name: str) -> None:
        self._costs.recount(name)
        if self.evidence is not None:
            self.evidence.know_cost(name)
        self.refreshed = True

    def _watch_reward(self, decision: OpenDecision, name: str, reward: float) -> None:
        is_watched = self._detect and decision.row is not None and name in self._beliefs.names
        if is_watched and (alarm := self._watch.reward(decision, name, reward)) is not None:
            self.alarm(alarm)

    def _watch_call(self, decision: OpenDecision, outcome: Outcome) -> None:
        name = outcome.served_provider
        if not self._detect or name not in self._beliefs.names:
            return
        if name in self._beliefs.circuits:
            self._watch.excuse(name)
        elif (failing := self._watch.call(decision, outcome)) is not None:
            self.alarm(failing)
        if outcome.status == "ok" and name == decision.selected and decision.row is not None:
            typical_usd, doubted = self._quarantine.typical_usd(decision), self.implausible(outcome)
            for alarm in self._watch.answer(decision, outcome, typical_usd=typical_usd, doubted=doubted):
                self.alarm(alarm)

    def alarm(self, alarm: DriftAlarm) -> None:
        """Discount what the provider did before its change, in the quantity that changed."""
        if alarm in self.alarms:
            return
        name, since = alarm.provider, alarm.since_seq
        self._check_on_route(name, "drift alarm is about")
        self.alarms.append(alarm)
        self._watch.restart(name, alarm.quantity)
        # The latest change counts, whichever of two alarms comes first.
        if alarm.quantity == "quality":
            since = max(since, self._beliefs.quality.changes.get(name, 0))
            self._beliefs.quality.mark_change(name, since, self.ledger.rewards_since(name, since))
        if alarm.quantity == "failure":
            self._beliefs.forget_calls_before(name, since)
        if alarm.quantity in ("tokens", "cost"):
            self._forget_costs_before(name, since)
        if alarm.quantity in ("tokens", "latency"):  # longer answers take longer
            later = self.ledger.latencies_since(name, since)
            self._beliefs.forget_latencies_before(name, since, later)

    def reencoded(self, change: TextChange, blocks: Sequence[Block]) -> Reencoded:
        """Encode everything that was learned anew; changes nothing, so that another thread may do it."""
        encoded = Encoded.of(self.ledger, self._text, self._units_of)
        return reencoded(encoded, self._beliefs, self.evidence, change=change, blocks=blocks)

    def _judge_as_today(self) -> None:
        """Judge the open decisions of 0.1.0 as today, so that a correction takes out what was put in.

        It had learned rewards, costs and latencies as they were, those of failed calls too.
        """
        called = [(decision, decision.outcome) for decision in self.ledger.decisions() if decision.outcome]
        for name in sorted({outcome.served_provider for _, outcome in called}):
            self._quarantine.restart(name)
        moved = set()
        for decision, outcome in called:
            name, failed = outcome.served_provider, outcome.status != "ok"
            if failed:
                self._take_back_failed(decision, outcome)
                unit = self._beliefs.cost_unit(name)
                if unit is not None and unit[0] == decision.seq:
                    moved.add(name)
            cost = decision.cost_of(outcome)
            if cost == (None if failed else self._quarantine.verdict(decision, outcome).learned_usd):
                continue
            units = self._costs.units(decision, name, cost)
            if units is not None and decision.row is not None:
                self._beliefs.cost.add(name, decision.row, units, seq=decision.seq, sign=-1)
            self._add_cost(decision, outcome, sign=1)
        for name in sorted(moved):
            self._recount(name)

    def _take_back_failed(self, decision: OpenDecision, outcome: Outcome) -> None:
        """Take reward and latency of a failed call out, and count what it was billed."""
        name = outcome.served_provider
        self._add_reward(decision, name, decision.reward, sign=-1)
        if outcome.latency_s is not None:
            self._beliefs.count_latency(name, decision.seq, outcome.latency_s, sign=-1)
        self._beliefs.failure[name].remove(decision.seq, failed=True)
        self._add_call(decision, outcome, sign=1)

    def state(self) -> State:
        """Return the open decisions with their reports, and what was derived from them."""
        saved = SavedLearner(
            spending=self._spending,
            counts=self.counts,
            alarms=self.alarms,
            detected=[],
            circuit_changes=self.circuit_changes,
            circuit_change_counts=self.circuit_change_counts,
        )
        parts = joined(watch=self._watch.state(), quarantine=self._quarantine.state())
        if self.evidence is not None:
            parts |= joined(evidence=self.evidence.state())
        return {"learner": packed(saved), **self.ledger.state(), **parts}

    def restore(self, state: State) -> None:
        """Become the learner whose `state` this is, on the same route."""
        self.ledger.restore(state, prices_at=self._history.prices_at)
        saved = unpacked(state["learner"], SavedLearner)
        self._spending, self.counts, self.alarms = saved.spending, saved.counts, saved.alarms
        self.circuit_changes, self.circuit_change_counts = saved.circuit_changes, saved.circuit_change_counts
        if watched := part(state, "watch"):
            self._watch.restore(watched)
        if evidence := part(state, "evidence"):
            self.evidence = EvidenceInForce(self._beliefs, self._history, self._text)
            self.evidence.restore(evidence)
        if judged := part(state, "quarantine"):
            self._quarantine.restore(judged)
        else:
            self._judge_as_today()
        self.refreshed = False


class SavedLearner(msgspec.Struct, array_like=True):
    """A learner in a snapshot, without its ledger and detectors."""

    spending: list[tuple[float, float | None]]
    counts: dict[str, int]
    alarms: list[DriftAlarm]
    detected: list[str]
    """Of earlier releases: providers with a detector, which start anew."""
    circuit_changes: list[CircuitChanged] = []
    circuit_change_counts: dict[str, int] = {}
