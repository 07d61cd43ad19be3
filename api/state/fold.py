"""The served state, as a fold of the log.

The fold knows no clock, no randomness and no store: the same rows in the same order give the same state, in
every process and at any time. An event that cannot be used is counted and left out; it never stops the fold.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from sys import intern
from typing import Any, Final

import msgspec

from fairlead.api.schemas.declarations import RouteIn
from fairlead.api.state.configuration import Configuration
from fairlead.api.state.configuration_view import ConfigurationView, DeclaredRoute
from fairlead.api.state.served_route import SavedRoute, ServedDecision, ServedRoute, Waiting
from fairlead.api.state.shared_budgets import SavedShared, SharedBudgets
from fairlead.api.state.tenants import elsewhere
from fairlead.api.store.base import ReportMetadata, Row, decode_decision_metadata, decode_report_metadata
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider, UnknownDecision
from fairlead.optimizer.learning.open_decision import cost_of, is_near
from fairlead.optimizer.learning.pending import PendingEvents
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.persistence.route_codec import from_json
from fairlead.optimizer.types import Decision, EncoderFitted, Evidence, Feedback, Outcome, Route
from fairlead.optimizer.types.events import copy_with
from fairlead.optimizer.types.validation import check_learnable

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
    open: list[tuple[str, ServedDecision]]
    """By id, in the order of the log, in which they are closed."""
    pending: list[tuple[str, list[Row]]]
    closed: list[str]
    given_up: list[str]
    counts: list[tuple[str, str, int]]
    routes: dict[str, SavedRoute]
    shared: dict[str, SavedShared] = {}


class Fold:
    """Configuration, routers and open decisions at one place in the log."""

    def __init__(
        self,
        *,
        parked_wait_s: float,
        parked_limit: int,
        learn: bool = True,
        new_route: Callable[[Route, RouteIn], ServedRoute] = ServedRoute,
    ) -> None:
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
        self.busy: OrderedDict[ServedRoute, None] = OrderedDict()
        """Routes that have something to learn, or must be refitted first; the least recently served first."""
        self.shared = SharedBudgets()
        """Budgets that routes share."""
        self._learn, self._new_route = learn, new_route

    def apply(self, row: Row, event: Logged | None = None, *, refit: bool = True) -> None:
        """Fold the next row of the log; ``event`` is what its line decodes to, if that is available.

        Without ``refit``, routes that need one stay ``busy`` until `refit` or the next row: the result is
        the same, and its milliseconds can be spent elsewhere.
        """
        if self.busy:
            self.refit()
        self.dispatch(row, event)
        if self.busy:
            self._learn_all(refit=refit)

    def refit(self) -> None:
        """Learn all that waits in the queues of routes, and refit those that need it."""
        self._learn_all(refit=True)

    def _learn_all(self, *, refit: bool) -> None:
        for served in tuple(self.busy):
            while served in self.busy:
                if not served.waits_for_refit:
                    self.learn_next(served)
                elif refit:
                    self.refit_route(served)
                else:
                    break

    def learn_next(self, served: ServedRoute) -> None:
        """Let a busy route that does not wait for a refit learn one thing; with nothing left it is idle."""
        if not served.inbox:
            del self.busy[served]
            return
        seq, kind = served.inbox[0].seq, served.inbox[0].kind
        try:
            served.learn_next()
        except _EXPECTED:
            self._refuse(kind)
        except Exception as error:
            # A defect of this release: the default provider answers until another one is installed.
            self._refuse(kind)
            _break(served, seq, error)
        if served.inbox or served.waits_for_refit:
            self.busy.move_to_end(served)
        else:
            del self.busy[served]

    def _refuse(self, kind: str) -> None:
        """Count an event that its route could not learn as rejected instead of joined."""
        if kind:
            self.counts[kind, "joined"] -= 1
            self.counts[kind, "rejected"] += 1

    def refit_route(self, served: ServedRoute) -> None:
        """Refit a busy route at once."""
        try:
            served.router.refit()
        except Exception as error:
            _break(served, self.seq, error)

    def _put(self, served: ServedRoute, waiting: Waiting) -> None:
        served.inbox.append(waiting)
        self.busy[served] = None

    def dispatch(self, row: Row, event: Logged | None = None) -> None:
        """Fold the next row, but leave what it means for routers in the queues of their routes.

        This takes microseconds, whatever the routes do, and looks at none of their routers, so that it leads
        to the same state wherever each of them is in its queue.
        """
        self.clock_s = max(self.clock_s, row.at_s)
        if self._learn or row.kind == "config":
            try:
                if row.kind == "decision":
                    self._fold_decision(row, event)
                elif row.kind == "config":
                    self._fold_change(row)
                elif row.kind == "encoder":
                    self._fold_encoder(row)
                elif row.kind == "evidence":
                    self._fold_evidence(row)
                else:
                    self._fold_report(row, event)
            except _EXPECTED:
                self.counts[row.kind, "rejected"] += 1
            except Exception as error:
                # A defect of this release: the default provider answers until another one is installed.
                self.counts[row.kind, "rejected"] += 1
                decision = self.open.get(row.decision_id or "")
                name = row.route or (decision.route if decision else "")
                _break(self.routes.get(name), row.seq, error)
        self.seq = row.seq

    def _fold_decision(self, row: Row, event: Logged | None) -> None:
        served = self.routes.get(row.route or "")
        # Its router numbers it once it learns it.
        decision = decode(row.line, seq=0) if event is None else event
        if served is None or not isinstance(decision, Decision) or decision.id in self.open:
            self.counts["decision", "rejected"] += 1
            return
        # Releases before the sketch of wide vectors logged them whole, and texts come to have features.
        width = len(decision.features)
        fits = width == served.width or width in served.widths
        check_learnable(decision, width=width if fits else served.widths[0])
        metadata = decode_decision_metadata(row.metadata)
        session = metadata.session_id
        subject = decision, metadata.explored
        self._put(served, Waiting(row.seq, row.at_s, row.kind, ServedRoute.learn_decision, subject))
        served.dispatched += 1
        served.opened.append(decision.id)
        self.open[decision.id] = ServedDecision(
            served.body.name, row.at_s, session, usd=decision.expected_usd, selected=decision.selected
        )
        if self.shared.by_name:
            self._share(self.shared.decide(decision, row.at_s), row)
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
        if served.dispatched % CLOSE_EVERY == 0:
            self._close_old(served, row)

    def _fold_encoder(self, row: Row) -> None:
        served, event = self.routes.get(row.route or ""), decode(row.line)
        if served is None or not isinstance(event, EncoderFitted):
            raise InvalidInput(f"an encoder is of route {row.route!r}, which there is not")
        self._put(served, Waiting(row.seq, row.at_s, row.kind, ServedRoute.learn_encoder, event))
        self.counts[row.kind, "joined"] += 1

    def _fold_evidence(self, row: Row) -> None:
        served = self.routes.get(row.route or "")
        evidence = decode(row.line, seq=0)  # its router numbers it once it learns it
        if served is None or not isinstance(evidence, Evidence):
            raise InvalidInput(f"evidence is about route {row.route!r}, which there is not")
        self._put(served, Waiting(row.seq, row.at_s, row.kind, ServedRoute.learn_evidence, evidence))
        self.counts[row.kind, "joined"] += 1

    def _fold_report(self, row: Row, event: Logged | None) -> None:
        # Its place in the log becomes its revision: the later of two is in force.
        report = decode(row.line, seq=row.seq) if event is None else copy_with(event, revision=row.seq)
        assert isinstance(report, Outcome | Feedback)
        if report.decision_id:
            if report.decision_id not in self.open:
                meant = self.meant(report.decision_id, decode_report_metadata(row.metadata).routes)
                if meant is not None:
                    report = copy_with(report, decision_id=meant)
            self._join_or_park(row, report)
            return
        session = decode_report_metadata(row.metadata).session_id or ""
        for decision_id in tuple(self.sessions.get(session, ())):
            self._join_or_park(row, copy_with(report, decision_id=decision_id))

    def meant(self, decision_id: str, routes: Sequence[str] | None) -> str | None:
        """Return the open decision that a sender means by an id, None if there is none or are several.

        ``routes`` are those that the sender may report on, None for all. Its own id comes first; else
        it means the only decision of that id on its routes, whatever the tenant.
        """
        if self._is_open_on(decision_id, routes):
            return decision_id
        config = self.declared.config
        others = elsewhere(decision_id, config.keys, routes=routes, declared=tuple(config.routes))
        candidates = [name for name in others if self._is_open_on(name, routes)]
        return candidates[0] if len(candidates) == 1 else None

    def _is_open_on(self, decision_id: str, routes: Sequence[str] | None) -> bool:
        decision = self.open.get(decision_id)
        return decision is not None and (routes is None or decision.route in routes)

    def session_of(self, session_id: str, routes: Sequence[str] | None) -> str:
        """Return the session that a sender means by an id: its own, else the only one with such decisions."""
        if session_id in self.sessions:
            return session_id
        config = self.declared.config
        others = elsewhere(session_id, config.keys, routes=routes, declared=tuple(config.routes))
        candidates = [
            name
            for name in others
            if any(self._is_open_on(decision_id, routes) for decision_id in self.sessions.get(name, ()))
        ]
        return candidates[0] if len(candidates) == 1 else session_id

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
            self._put(served, Waiting(row.seq, row.at_s, row.kind, ServedRoute.learn, event))
            decision.count_feedback(metadata.key or "")
        else:
            if not event.served_provider:
                event = copy_with(event, served_provider=decision.selected)
            self._put(served, Waiting(row.seq, row.at_s, row.kind, ServedRoute.learn_outcome, event))
            decision.count_outcome(metadata.key or "")
            if self.shared.by_name:
                self._settle(decision, event, metadata)
        self.counts[row.kind, "joined"] += 1

    def _share(self, names: Iterable[str], row: Row) -> None:
        """Let routes learn the shadow price of the budgets that they share."""
        for name in names:
            served = self.routes.get(name)
            if served is not None:
                learn, price = ServedRoute.learn_shared_price, self.shared.price_of(name)
                self._put(served, Waiting(row.seq, row.at_s, "", learn, price))

    def _settle(self, decision: ServedDecision, event: Outcome, metadata: ReportMetadata) -> None:
        """Book the cost of an outcome to the budgets that its route shares.

        A cost that was in quarantine when it was reported stays booked as what was expected: one wrong unit
        must not stop every route of a budget. So does one that nobody judged, unless it is near.
        """
        core = self.declared.routes[decision.route].core
        prices = {provider.name: provider.prices for provider in core.providers}
        listed = prices.get(event.served_provider)
        if "cost_usd" in metadata.quarantined or (
            metadata.unjudged and not is_near(event, listed, expected_usd=decision.usd)
        ):
            return
        usd = cost_of(event, listed)
        if usd is None and event.status != "ok":
            usd = 0.0  # what failed is not billed unless its outcome says so
        if usd is not None:
            self.shared.settle(decision.route, usd - decision.usd, decision.at_s)
            decision.usd = usd

    def _expire(self) -> None:
        for row, _ in self.pending.expire(self.clock_s):
            self.counts[row.kind, "expired"] += 1

    def _close_old(self, served: ServedRoute, row: Row) -> None:
        """Close the decisions of a route that are too many or too old."""
        oldest_s, opened = self.clock_s - served.body.reward_wait_s, served.opened
        surplus = len(opened) - served.body.max_open_decisions
        closed: list[str] = []
        # A clock that jumped back can leave a younger decision in front of older ones; they wait for it.
        while opened and (len(closed) < surplus or self.open[opened[0]].at_s < oldest_s):
            closed.append(opened.popleft())
        if closed:
            subject = closed, served.body.reward_default
            self._put(served, Waiting(row.seq, row.at_s, "", ServedRoute.learn_closing, subject))
            for decision_id in closed:
                self._forget(decision_id)

    def _forget(self, decision_id: str) -> None:
        session = self.open.pop(decision_id).session
        self.pending.close(decision_id)
        if session is not None and session in self.sessions:
            self.sessions[session] = [name for name in self.sessions[session] if name != decision_id]
            if not self.sessions[session]:
                del self.sessions[session]

    def _fold_change(self, row: Row) -> None:
        for name in self.declared.apply(row):
            declared, served = self.declared.routes.get(name), self.routes.get(name)
            if declared is None:
                # What waits in its queue is still learned, and counted if it is refused.
                for decision_id in self.routes.pop(name).opened:
                    self._forget(decision_id)
            elif served is None:
                self.routes[name] = self._new_route(declared.core, declared.body)
            else:
                served.body = declared.body
                learn = ServedRoute.learn_configuration
                self._put(served, Waiting(row.seq, row.at_s, "", learn, declared.core))

        config = self.declared.config
        if self.shared.by_name or config.budgets:
            self.shared.configure(config.budgets, config.routes)
            self._share(self.routes, row)

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
            open=list(self.open.items()),
            pending=[(name, [row for row, _ in group]) for name, group in self.pending.groups()],
            closed=self.pending.closed,
            given_up=self.pending.given_up,
            counts=[(kind, result, n) for (kind, result), n in sorted(self.counts.items()) if n],
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
        fold.sessions, fold.open = state.sessions, dict(state.open)
        for decision in fold.open.values():
            # One text for all decisions of a route.
            decision.route, decision.selected = intern(decision.route), intern(decision.selected)
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
        for decision_id, decision in fold.open.items():
            fold.routes[decision.route].opened.append(decision_id)
        return fold


def _break(served: ServedRoute | None, seq: int, error: Exception) -> None:
    if served is not None and served.broken is None:
        served.broken = f"event {seq} could not be learned ({type(error).__name__})"
