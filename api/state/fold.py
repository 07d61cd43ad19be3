"""The served state, as a fold of the log.

The fold knows no clock, no randomness and no store: the same rows in the same order give the same state, in
every process and at any time. An event that cannot be used is counted and left out; it never stops the fold.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fairlead.api.state.configuration import Change, Configuration
from fairlead.api.state.metadata import decision_metadata, report_metadata
from fairlead.api.state.served_route import OpenDecision, ServedRoute, new_encoder
from fairlead.api.store.base import Row
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider, UnknownDecision
from fairlead.optimizer.learning.route_history import prices_of
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.persistence.route_codec import from_json
from fairlead.optimizer.selection.eligibility import check_contradictions
from fairlead.optimizer.types import Decision, Feedback, Outcome, Route

MAX_REMEMBERED: Final = 100_000
"""Most ids of decisions that are remembered as closed, or as never seen."""

MAX_REFUSED: Final = 1_000
MAX_SESSION: Final = 100
"""Most open decisions of a session to which feedback on the session applies: the latest ones."""

Logged = Decision | Outcome | Feedback
"""An event of the log that is about one request, as opposed to a change of the configuration."""

_EXPECTED = (InvalidInput, UnknownDecision, NoEligibleProvider)


class Fold:
    """Configuration, routers and open decisions at one place in the log."""

    def __init__(self, *, parked_wait_s: float, parked_limit: int, learn: bool = True) -> None:
        self.config = Configuration()
        self.routes: dict[str, ServedRoute] = {}
        self.seq = 0
        self.clock_s = 0.0
        """Latest time of any event so far; waiting times run on it, so that every fold agrees on them."""
        self.places: dict[str, str] = {}
        """Route of each open decision, by its id."""
        self.sessions: dict[str, list[str]] = {}
        self.parked: OrderedDict[str, list[tuple[Row, Outcome | Feedback]]] = OrderedDict()
        """Reports that wait for their decision, by its id; those that have waited longest come first."""
        self.closed: OrderedDict[str, None] = OrderedDict()
        """Decisions that were closed last. A dict would scan all the entries that it deleted each time."""
        self.unknown: OrderedDict[str, None] = OrderedDict()
        """Ids of decisions for which reports waited in vain."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Events by kind and result: joined, parked, late, expired or rejected."""
        self.stale: dict[str, ServedRoute] = {}
        """Routes that must be refitted before the next row."""
        self.refused: dict[int, str] = {}
        """Why a change of the configuration was impossible by the time it was logged, by its seq."""
        self.applied: set[str] = set()
        """Entries of settings files that were applied, by their uid."""
        self._parked_wait_s, self._parked_limit = parked_wait_s, parked_limit
        self.parked_rows = 0
        """Number of reports that wait for their decision."""
        self._learn = learn

    def apply(self, row: Row, event: Logged | None = None, *, refit: bool = True) -> None:
        """Fold the next row of the log; ``event`` is what its line decodes to, if that is at hand.

        Without ``refit``, routes that need one stay ``stale`` until `refit` or the next row: the result is
        the same, and its milliseconds can be spent elsewhere.
        """
        if self.stale:
            self.refit()
        self.clock_s = max(self.clock_s, row.at_s)
        if self._learn or row.kind == "config":
            try:
                if row.kind == "decision":
                    self._decision(row, event)
                elif row.kind == "config":
                    self._change(row)
                else:
                    self._report(row, event)
            except _EXPECTED:
                self.counts[row.kind, "rejected"] += 1
            except Exception as error:
                # A defect of this release: the default provider answers until another one is installed.
                self.counts[row.kind, "rejected"] += 1
                name = row.route or self.places.get(row.decision_id or "")
                self._break(self.routes.get(name or ""), row.seq, error)
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

    def _decision(self, row: Row, event: Logged | None) -> None:
        decision = _event_of(row, event)
        served = self.routes.get(row.route or "")
        if served is None or not isinstance(decision, Decision):
            self.counts["decision", "rejected"] += 1
            return
        metadata = decision_metadata(row.metadata)
        session = metadata.session_id
        served.open_decision(decision, at_s=row.at_s, session=session)
        served.explored += metadata.explored
        self.places[decision.id] = served.body.name
        self.counts["decision", "joined"] += 1
        if session is not None:
            group = self.sessions.setdefault(session, [])
            group.append(decision.id)
            del group[:-MAX_SESSION]
        for waiting, report in self.parked.pop(decision.id, ()):
            self.parked_rows -= 1
            try:
                self._join(waiting, report)
            except _EXPECTED:
                self.counts[waiting.kind, "rejected"] += 1
        self._expire()
        for closed in served.close_old(self.clock_s):
            self._forget(closed)
        self._refit_later(served)

    def _report(self, row: Row, event: Logged | None) -> None:
        # Its place in the log becomes its revision: the later of two is in force.
        report = _event_of(row, event)
        assert isinstance(report, Outcome | Feedback)
        if report.decision_id:
            self._join_or_park(row, report)
            return
        session = report_metadata(row.metadata).session_id or ""
        for decision_id in tuple(self.sessions.get(session, ())):
            self._join_or_park(row, replace(report, decision_id=decision_id))

    def _join_or_park(self, row: Row, event: Outcome | Feedback) -> None:
        if event.decision_id in self.places:
            self._join(row, event)
        elif event.decision_id in self.closed:
            self.counts[row.kind, "late"] += 1
        else:
            self.parked.setdefault(event.decision_id, []).append((row, event))
            self.parked_rows += 1
            self.counts[row.kind, "parked"] += 1
            self._expire()

    def _join(self, row: Row, event: Outcome | Feedback) -> None:
        served = self.routes[self.places[event.decision_id]]
        decision = served.open[event.decision_id]
        metadata = report_metadata(row.metadata)
        if metadata.routes is not None and served.body.name not in metadata.routes:
            # The key may not report on this route; when it did, the decision was not in the log yet.
            self.counts[row.kind, "rejected"] += 1
            return
        if row.at_s - decision.at_s > served.body.reward_wait_s:
            self.counts[row.kind, "late"] += 1
            return
        if isinstance(event, Outcome) and not event.served_provider:
            event = replace(event, served_provider=decision.selected)
        served.report(event)
        self._refit_later(served)
        if isinstance(event, Feedback):
            decision.count_feedback(metadata.key or "")
        self.counts[row.kind, "joined"] += 1

    def _expire(self) -> None:
        while self.parked:
            decision_id, group = next(iter(self.parked.items()))
            row, _ = group[0]
            if self.parked_rows <= self._parked_limit and self.clock_s - row.at_s <= self._parked_wait_s:
                return
            for waiting, _ in self.parked.pop(decision_id):
                self.counts[waiting.kind, "expired"] += 1
            self.parked_rows -= len(group)
            _remember(self.unknown, decision_id)

    def _forget(self, decision: OpenDecision) -> None:
        self.places.pop(decision.id, None)
        _remember(self.closed, decision.id)
        if decision.session is not None and decision.session in self.sessions:
            others = [name for name in self.sessions[decision.session] if name != decision.id]
            if others:
                self.sessions[decision.session] = others
            else:
                del self.sessions[decision.session]

    @property
    def parking(self) -> tuple[float, int]:
        """The settings that the state depends on: how long reports wait, and how many at most."""
        return self._parked_wait_s, self._parked_limit

    def _change(self, row: Row) -> None:
        change = Change.from_line(row.line)
        if row.uid.startswith("file:"):
            self.applied.add(row.uid)
        try:
            self.config, affected = self.preview(change)
        except _EXPECTED as error:
            self.refused[row.seq] = str(error)
            if len(self.refused) > MAX_REFUSED:
                del self.refused[next(iter(self.refused))]
            raise
        for name in affected:
            self._reconfigure(name, row.seq)

    def preview(self, change: Change) -> tuple[Configuration, list[str]]:
        """The configuration after a change, and the routes affected; `InvalidInput` if it is impossible."""
        after = self.config.after(change)
        affected = []
        for name in {**self.config.routes, **after.routes}:
            if name not in after.routes:
                affected.append(name)
                continue
            core = after.core_route(name)
            served = self.routes.get(name)
            if served is None:
                check_contradictions(core.constraints, core.providers)
                new_encoder(after.routes[name].features)  # raises if its projection cannot be read
                affected.append(name)
            elif core != served.router.route or after.routes[name] != served.body:
                served.check(core)
                affected.append(name)
        return after, affected

    def _reconfigure(self, name: str, seq: int) -> None:
        body = self.config.routes.get(name)
        if body is None:
            for decision in self.routes.pop(name).open.values():
                self._forget(decision)
            return
        core = self.config.core_route(name)
        served = self.routes.get(name)
        if served is None:
            self.routes[name] = ServedRoute(core, body)
        else:
            served.configure(core, body, seq=seq)

    def state(self) -> dict[str, Any]:
        """Everything beside the routers, as JSON has it."""
        return {
            "seq": self.seq,
            "clock_s": self.clock_s,
            "config": self.config.state(),
            "applied": sorted(self.applied),
            "sessions": self.sessions,
            "parked": [[name, [list(row) for row, _ in group]] for name, group in self.parked.items()],
            "closed": list(self.closed),
            "unknown": list(self.unknown),
            "counts": [[kind, state, n] for (kind, state), n in self.counts.items()],
            "routes": {name: served.state() for name, served in self.routes.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave, with routers that have learned nothing yet."""
        self.seq, self.clock_s = state["seq"], state["clock_s"]
        self.config, self.applied = Configuration.from_state(state["config"]), set(state["applied"])
        self.sessions = {name: list(ids) for name, ids in state["sessions"].items()}
        for name, rows in state["parked"]:
            group = []
            for values in rows:
                row = Row(*values)
                event = decode(row.line, place=row.seq)
                assert isinstance(event, Outcome | Feedback)
                group.append((row, replace(event, decision_id=name)))
            self.parked[name] = group
            self.parked_rows += len(group)
        self.closed, self.unknown = map(OrderedDict.fromkeys, (state["closed"], state["unknown"]))
        self.counts = Counter({(kind, result): n for kind, result, n in state["counts"]})
        for name, saved in state["routes"].items():
            first = from_json(Route, saved["first"])
            served = self.routes[name] = ServedRoute(first, self.config.routes[name])
            served.restore(saved, prices_of(self.config.core_route(name)))
            self.places |= dict.fromkeys(served.open, name)


def _event_of(row: Row, event: Logged | None) -> object:
    """The event of a row, dated by its place in the log; ``event`` is that event without its place."""
    if event is None:
        return decode(row.line, place=row.seq)
    # Together the three copies of a round take 9 µs of some 700.
    return replace(event, seq=row.seq) if isinstance(event, Decision) else replace(event, revision=row.seq)


def _remember(ids: OrderedDict[str, None], decision_id: str) -> None:
    ids[decision_id] = None
    if len(ids) > MAX_REMEMBERED:
        ids.popitem(last=False)
