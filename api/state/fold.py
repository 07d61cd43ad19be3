"""The served state, as a fold of the log.

The fold knows no clock, no randomness and no store: the same rows in the same order give the same state, in
every process and at any time. An event that cannot be used is counted and left out; it never stops the fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import takewhile
from sys import intern
from typing import Any, Final

import msgspec

from fairlead.api.state.configuration import Configuration
from fairlead.api.state.configuration_view import ConfigurationView, DeclaredRoute
from fairlead.api.state.served_route import SavedRoute, ServedDecision, ServedRoute
from fairlead.api.state.shared_budgets import SavedShared, SharedBudgets
from fairlead.api.store.base import Row, decode_decision_metadata, decode_report_metadata
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider, UnknownDecision
from fairlead.optimizer.learning.open_decision import OpenDecision, cost_of
from fairlead.optimizer.learning.pending import PendingEvents
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.persistence.route_codec import from_json
from fairlead.optimizer.types import Decision, Feedback, Outcome, Route
from fairlead.optimizer.types.events import copy_with

CLOSE_EVERY: Final = 256
"""Number of decisions of a route between two searches for open ones that must be closed."""

MAX_SESSION: Final = 100
"""Most open decisions of a session to which feedback on the session applies: the latest ones."""

FILE_KIND, FILE_FORMAT = "fairlead-fold", 3
"""Kind and format version of a file that holds a `SavedFold`."""

Logged = Decision | Outcome | Feedback
"""An event of the log that is about one request, as opposed to a change of the configuration."""

_EXPECTED = (InvalidInput, UnknownDecision, NoEligibleProvider)


class SavedFold(msgspec.Struct, array_like=True):
    """A fold in a snapshot, without the routers and the decisions that are open in them."""

    seq: int
    clock_s: float
    parked_wait_s: float
    parked_limit: int
    config: dict[str, Any]
    applied: list[str]
    sessions: dict[str, list[str]]
    open: dict[str, ServedDecision]
    pending: list[tuple[str, list[Row]]]
    closed: list[str]
    given_up: list[str]
    counts: list[tuple[str, str, int]]
    routes: dict[str, SavedRoute]
    shared: dict[str, SavedShared] = {}


class Fold:
    """Configuration, routers and open decisions at one place in the log."""

    def __init__(self, *, parked_wait_s: float, parked_limit: int, learn: bool = True) -> None:
        self.declared = ConfigurationView()
        """The configuration at this place."""
        self.routes: dict[str, ServedRoute] = {}
        self.seq = 0
        self.clock_s = 0.0
        """Latest time of any event so far; waiting times run on it, so that every fold agrees on them."""
        self.open: dict[str, ServedDecision] = {}
        """Open decisions by their id; the rest of each is in the router of its route."""
        self.sessions: dict[str, list[str]] = {}
        """Ids of the latest open decisions, by session."""
        self.pending = PendingEvents[tuple[Row, Outcome | Feedback]](limit=parked_limit, wait_s=parked_wait_s)
        """Reports that wait for their decision, and the ids of decisions that take no more reports."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Events by kind and result: joined, parked, late, expired or rejected."""
        self.stale: dict[str, ServedRoute] = {}
        """Routes that must be refitted before the next row."""
        self.shared = SharedBudgets()
        """Budgets that routes share."""
        self._learn = learn

    def apply(self, row: Row, event: Logged | None = None, *, refit: bool = True) -> None:
        """Fold the next row of the log; ``event`` is what its line decodes to, if that is available.

        Without ``refit``, routes that need one stay ``stale`` until `refit` or the next row: the result is
        the same, and its milliseconds can be spent elsewhere.
        """
        if self.stale:
            self.refit()
        self.clock_s = max(self.clock_s, row.at_s)
        if self._learn or row.kind == "config":
            try:
                if row.kind == "decision":
                    self._fold_decision(row, event)
                elif row.kind == "config":
                    self._fold_change(row)
                else:
                    self._fold_report(row, event)
            except _EXPECTED:
                self.counts[row.kind, "rejected"] += 1
            except Exception as error:
                # A defect of this release: the default provider answers until another one is installed.
                self.counts[row.kind, "rejected"] += 1
                decision = self.open.get(row.decision_id or "")
                name = row.route or (decision.route if decision else "")
                self._break(self.routes.get(name), row.seq, error)
        self.seq = row.seq
        if refit and self.stale:
            self.refit()

    def refit(self) -> None:
        """Refit the routes that are stale."""
        for served in self.stale.values():
            try:
                served.router.refit()
            except Exception as error:
                self._break(served, self.seq, error)
        self.stale = {}

    def _break(self, served: ServedRoute | None, seq: int, error: Exception) -> None:
        if served is not None and served.broken is None:
            served.broken = f"event {seq} could not be learned ({type(error).__name__})"

    def _refit_later(self, served: ServedRoute) -> None:
        if not served.is_quick and served.broken is None and served.router.needs_refit:
            self.stale[served.body.name] = served

    def _fold_decision(self, row: Row, event: Logged | None) -> None:
        served = self.routes.get(row.route or "")
        # The route's own count, and not the place in the log: what ages, ages by the route's own decisions.
        decision = _event_of(row, event, seq=0 if served is None else served.router.next_seq)
        if served is None or not isinstance(decision, Decision):
            self.counts["decision", "rejected"] += 1
            return
        metadata = decode_decision_metadata(row.metadata)
        session = metadata.session_id
        served.learn_decision(decision, explored=metadata.explored)
        self.open[decision.id] = ServedDecision(
            served.body.name, row.at_s, session, usd=decision.expected_usd
        )
        if self.shared:
            self._share(self.shared.decide(decision, row.at_s))
        self.counts["decision", "joined"] += 1
        if session is not None:
            group = self.sessions.setdefault(session, [])
            group.append(decision.id)
            del group[:-MAX_SESSION]
        if self.pending:
            for waiting, report in self.pending.join(decision.id):
                try:
                    self._join(waiting, report)
                except _EXPECTED:
                    self.counts[waiting.kind, "rejected"] += 1
            self._expire()
        if served.decisions % CLOSE_EVERY == 0:
            self._close_old(served)
        self._refit_later(served)

    def _fold_report(self, row: Row, event: Logged | None) -> None:
        # Its place in the log becomes its revision: the later of two is in force.
        report = _event_of(row, event, seq=row.seq)
        assert isinstance(report, Outcome | Feedback)
        if report.decision_id:
            self._join_or_park(row, report)
            return
        session = decode_report_metadata(row.metadata).session_id or ""
        for decision_id in tuple(self.sessions.get(session, ())):
            self._join_or_park(row, copy_with(report, decision_id=decision_id))

    def _join_or_park(self, row: Row, event: Outcome | Feedback) -> None:
        if event.decision_id in self.open:
            self._join(row, event)
        elif self.pending.is_closed(event.decision_id):
            self.counts[row.kind, "late"] += 1
        else:
            self.pending.park(event.decision_id, (row, event), at_s=row.at_s)
            self.counts[row.kind, "parked"] += 1
            self._expire()

    def _join(self, row: Row, event: Outcome | Feedback) -> None:
        decision = self.open[event.decision_id]
        served = self.routes[decision.route]
        metadata = decode_report_metadata(row.metadata)
        if metadata.routes is not None and served.body.name not in metadata.routes:
            # The key may not report on this route; when it did, the decision was not in the log yet.
            self.counts[row.kind, "rejected"] += 1
            return
        if row.at_s - decision.at_s > served.body.reward_wait_s:
            self.counts[row.kind, "late"] += 1
            return
        if isinstance(event, Feedback):
            served.learn(event)
            decision.count_feedback(metadata.key or "")
        else:
            if not event.served_provider:
                selected = served.open_decision(event.decision_id).selected
                event = copy_with(event, served_provider=selected)
            served.learn_outcome(event)
            decision.count_outcome(metadata.key or "")
            if self.shared:
                self._settle(decision, event)
        self._refit_later(served)
        self.counts[row.kind, "joined"] += 1

    def _share(self, names: Iterable[str]) -> None:
        """Let routes learn the shadow price of the budgets that they share."""
        for name in names:
            served = self.routes.get(name)
            if served is not None:
                served.learn_shared_price(self.shared.price_of(name))
                self._refit_later(served)

    def _settle(self, decision: ServedDecision, event: Outcome) -> None:
        """Book the cost of an outcome to the budgets that its route shares."""
        core = self.declared.routes[decision.route].core
        prices = {provider.name: provider.prices for provider in core.providers}
        usd = cost_of(event, prices.get(event.served_provider))
        if usd is not None:
            self.shared.settle(decision.route, usd - decision.usd, decision.at_s)
            decision.usd = usd

    def _expire(self) -> None:
        for row, _ in self.pending.expire(self.clock_s):
            self.counts[row.kind, "expired"] += 1

    def _close_old(self, served: ServedRoute) -> None:
        """Close the decisions of a route that are too many or too old."""
        oldest_s = self.clock_s - served.body.reward_wait_s
        decisions = served.router.open_decisions()
        surplus = max(len(decisions) - served.body.max_open_decisions, 0)

        def is_old(decision: OpenDecision) -> bool:
            served_decision = self.open.get(decision.id)
            return served_decision is None or served_decision.at_s < oldest_s

        # A clock that jumped back can leave a younger decision in front of older ones; they wait for it.
        old = decisions[:surplus] + list(takewhile(is_old, decisions[surplus:]))
        if old:
            served.close(old)
            for decision in old:
                self._forget(decision.id)

    def _forget(self, decision_id: str) -> None:
        decision = self.open.pop(decision_id, None)  # None if a defect stopped its router half-way
        self.pending.close(decision_id)
        session = None if decision is None else decision.session
        if session is not None and session in self.sessions:
            self.sessions[session] = [name for name in self.sessions[session] if name != decision_id]
            if not self.sessions[session]:
                del self.sessions[session]

    def _fold_change(self, row: Row) -> None:
        for name in self.declared.apply(row):
            declared, served = self.declared.routes.get(name), self.routes.get(name)
            if declared is None:
                for decision in self.routes.pop(name).router.open_decisions():
                    self._forget(decision.id)
            elif served is None:
                self.routes[name] = ServedRoute(declared.core, declared.body)
            else:
                served.configure(declared.core, declared.body)
                self._refit_later(served)

        config = self.declared.config
        if self.shared or config.budgets:
            self.shared.configure(config.budgets, config.routes)
            self._share(self.routes)

    def state(self) -> SavedFold:
        """Everything except the routers."""
        return SavedFold(
            seq=self.seq,
            clock_s=self.clock_s,
            parked_wait_s=self.pending.wait_s,
            parked_limit=self.pending.limit,
            config=self.declared.config.state(),
            applied=sorted(self.declared.applied),
            sessions=self.sessions,
            open=self.open,
            pending=[(name, [row for row, _ in group]) for name, group in self.pending.groups()],
            closed=self.pending.closed,
            given_up=self.pending.given_up,
            counts=[(kind, result, n) for (kind, result), n in self.counts.items()],
            routes={name: served.state() for name, served in self.routes.items()},
            shared=self.shared.state(),
        )

    @classmethod
    def from_state(cls, state: SavedFold) -> Fold:
        """Build the fold that gave `state`, with routers that have learned nothing yet."""
        fold = cls(parked_wait_s=state.parked_wait_s, parked_limit=state.parked_limit)
        fold.seq, fold.clock_s = state.seq, state.clock_s
        config = fold.declared.config = Configuration.from_state(state.config)
        fold.declared.seq, fold.declared.applied = state.seq, set(state.applied)
        fold.sessions, fold.open = state.sessions, state.open
        for decision in fold.open.values():
            decision.route = intern(decision.route)  # one text for all decisions of a route
        for decision_id, rows in state.pending:
            for row in rows:
                event = decode(row.line, seq=row.seq)
                assert isinstance(event, Outcome | Feedback)
                event = copy_with(event, decision_id=decision_id)
                fold.pending.park(decision_id, (row, event), at_s=row.at_s)
        fold.pending.remember(closed=state.closed, given_up=state.given_up)
        fold.counts = Counter({(kind, result): n for kind, result, n in state.counts})
        for name, saved in state.routes.items():
            first, body, core = from_json(Route, saved.first), config.routes[name], config.core_route(name)
            served = fold.routes[name] = ServedRoute.from_state(saved, first, body)
            declared = DeclaredRoute(body, core, first, served.width, state.seq, state.seq)
            fold.declared.routes[name] = declared
        fold.shared.configure(config.budgets, config.routes)
        fold.shared.restore(state.shared)
        return fold


def _event_of(row: Row, event: Logged | None, *, seq: int) -> object:
    """Return the event of a row with ``seq`` as its seq or revision; ``event`` has another, if at hand."""
    if event is None:
        return decode(row.line, seq=seq)
    if isinstance(event, Decision):
        return copy_with(event, seq=seq)
    return copy_with(event, revision=seq)
