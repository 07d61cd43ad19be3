"""The state that is served, as a fold of the log.

It knows no clock, no randomness and no store: the same rows in the same order give the same state, in every
process and at every time. What an event says that nothing can be made of is counted and left out; it never
stops the fold.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fairlead.api.state import notes
from fairlead.api.state.configuration import Change, Configuration
from fairlead.api.state.encoding import encoder
from fairlead.api.state.served_route import OpenDecision, ServedRoute
from fairlead.api.store.base import Row
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider, UnknownDecision
from fairlead.optimizer.learning.route_history import prices_of
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.persistence.route_codec import from_json
from fairlead.optimizer.selection.eligibility import check_contradictions
from fairlead.optimizer.types import Decision, Feedback, Outcome, Route

MOST_CLOSED: Final = 100_000
MOST_REFUSED: Final = 1_000
MOST_OF_A_SESSION: Final = 100


Logged = Decision | Outcome | Feedback
"""What is said of one request, beside the configuration."""

_EXPECTED = (InvalidInput, UnknownDecision, NoEligibleProvider)


class Fold:
    """Configuration, routers and open decisions at one place in the log."""

    def __init__(self, *, parked_wait_s: float, parked_limit: int, learn: bool = True) -> None:
        self.config = Configuration()
        self.routes: dict[str, ServedRoute] = {}
        self.seq = 0
        self.clock_s = 0.0
        """Latest time of any event so far; waiting times run on it, and so are the same in every fold."""
        self.places: dict[str, str] = {}
        """Route of each open decision, by its id."""
        self.sessions: dict[str, list[str]] = {}
        self.parked: OrderedDict[str, list[tuple[Row, Outcome | Feedback]]] = OrderedDict()
        self.closed: OrderedDict[str, None] = OrderedDict()
        """Decisions that were closed last. A dict would look through all that it forgot each time."""
        self.unknown: OrderedDict[str, None] = OrderedDict()
        """Ids for which something waited in vain."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """By kind of event and what became of it: joined, parked, late, expired, rejected."""
        self.due: dict[str, ServedRoute] = {}
        """Routes of which something is to be computed anew before the next row."""
        self.refused: dict[int, str] = {}
        """Changes of the configuration that came too late to be possible, by their place."""
        self.applied: set[str] = set()
        """Entries of settings files that were applied, by their uid."""
        self._parked_wait_s, self._parked_limit = parked_wait_s, parked_limit
        self.parked_rows = 0
        """How many events wait for their decision."""
        self._learn = learn

    def apply(self, row: Row, made: Logged | None = None, *, refit: bool = True) -> None:
        """Fold the next row of the log; ``made`` is what its line would be read as, where that is known.

        Without ``refit``, routes of which something is to be computed anew stay ``due`` until `refit` or the
        next row: what is folded is the same, and the milliseconds can be spent elsewhere.
        """
        if self.due:
            self.refit()
        self.clock_s = max(self.clock_s, row.at_s)
        if self._learn or row.kind == "config":
            try:
                if row.kind == "decision":
                    self._decision(row, made)
                elif row.kind == "config":
                    self._config(row)
                else:
                    self._told(row, made)
            except _EXPECTED:
                self.counts[row.kind, "rejected"] += 1
            except Exception as error:
                # A defect of this release: the route answers its default until another one is installed.
                self.counts[row.kind, "rejected"] += 1
                name = row.route or self.places.get(row.decision_id or "")
                self._break(self.routes.get(name or ""), row.seq, error)
        self.seq = row.seq
        if refit and self.due:
            self.refit()

    def refit(self) -> None:
        """Compute anew what is due."""
        for served in self.due.values():
            try:
                served.router.refit()
            except Exception as error:
                self._break(served, self.seq, error)
        self.due = {}

    def _break(self, served: ServedRoute | None, seq: int, error: Exception) -> None:
        if served is not None and served.broken is None:
            served.broken = f"event {seq} could not be learned ({type(error).__name__})"

    def _learned(self, served: ServedRoute) -> None:
        if served.router.needs_refit and not served.is_quick and served.broken is None:
            self.due[served.body.name] = served

    def _decision(self, row: Row, made: Logged | None) -> None:
        event = decode(row.line, place=row.seq) if made is None else _placed(made, row.seq)
        served = self.routes.get(row.route or "")
        if served is None or not isinstance(event, Decision):
            self.counts["decision", "rejected"] += 1
            return
        kept = notes.of_decision(row.metadata)
        session = kept.session_id
        served.opened(event, at_s=row.at_s, session=session)
        served.explored += kept.explored
        self.places[event.id] = served.body.name
        self.counts["decision", "joined"] += 1
        if session is not None:
            group = self.sessions.setdefault(session, [])
            group.append(event.id)
            del group[:-MOST_OF_A_SESSION]
        for waiting, told in self.parked.pop(event.id, ()):
            self.parked_rows -= 1
            try:
                self._join(waiting, told)
            except _EXPECTED:
                self.counts[waiting.kind, "rejected"] += 1
        self._expire()
        for one in served.close_due(self.clock_s):
            self._forget(one)
        self._learned(served)

    def _told(self, row: Row, made: Logged | None) -> None:
        # The later of two in the log is the one in force.
        event = decode(row.line, place=row.seq) if made is None else _placed(made, row.seq)
        assert isinstance(event, Outcome | Feedback)
        if event.decision_id:
            self._join_or_park(row, event)
            return
        for decision_id in tuple(self.sessions.get(notes.of_event(row.metadata).session_id or "", ())):
            self._join_or_park(row, replace(event, decision_id=decision_id))

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
        one = served.open[event.decision_id]
        extra = notes.of_event(row.metadata)
        if extra.routes is not None and served.body.name not in extra.routes:
            # The key may not speak of this route; when it did, the decision was not known yet.
            self.counts[row.kind, "rejected"] += 1
            return
        if row.at_s - one.at_s > served.body.reward_wait_s:
            self.counts[row.kind, "late"] += 1
            return
        if isinstance(event, Outcome) and not event.served_provider:
            event = replace(event, served_provider=one.selected)
        served.told(event)
        self._learned(served)
        if isinstance(event, Feedback):
            one.count(extra.key or "")
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

    def _forget(self, one: OpenDecision) -> None:
        self.places.pop(one.id, None)
        _remember(self.closed, one.id)
        if one.session is not None and one.session in self.sessions:
            left = [name for name in self.sessions[one.session] if name != one.id]
            if left:
                self.sessions[one.session] = left
            else:
                del self.sessions[one.session]

    @property
    def waits(self) -> tuple[float, int]:
        """The settings that the state depends on: waiting time and most that wait."""
        return self._parked_wait_s, self._parked_limit

    def _config(self, row: Row) -> None:
        change = Change.from_line(row.line)
        if row.uid.startswith("file:"):
            self.applied.add(row.uid)
        try:
            self.config, affected = self.checked(change)
        except _EXPECTED as error:
            self.refused[row.seq] = str(error)
            if len(self.refused) > MOST_REFUSED:
                del self.refused[next(iter(self.refused))]
            raise
        for name in affected:
            self._reconfigure(name, row.seq)

    def checked(self, change: Change) -> tuple[Configuration, list[str]]:
        """What a change would lead to, and the routes it concerns; `InvalidInput` where it cannot be."""
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
                encoder(after.routes[name].features)  # raises where its projection cannot be read
                affected.append(name)
            elif core != served.router.route or after.routes[name] != served.body:
                served.check(core)
                affected.append(name)
        return after, affected

    def _reconfigure(self, name: str, seq: int) -> None:
        body = self.config.routes.get(name)
        if body is None:
            gone = self.routes.pop(name)
            for one in gone.open.values():
                self._forget(one)
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
        """Become what gave `state`, with routers that have learned nothing yet."""
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
        self.counts = Counter({(kind, what): n for kind, what, n in state["counts"]})
        for name, part in state["routes"].items():
            first = from_json(Route, part["first"])
            served = self.routes[name] = ServedRoute(first, self.config.routes[name])
            served.restore(part, prices_of(self.config.core_route(name)))
            self.places |= dict.fromkeys(served.open, name)


def _placed(made: Logged, seq: int) -> Logged:
    # In place, since nobody looks at it any more: a copy took longer than half of learning from it.
    object.__setattr__(made, "seq" if isinstance(made, Decision) else "revision", seq)
    return made


def _remember(known: OrderedDict[str, None], name: str) -> None:
    known[name] = None
    if len(known) > MOST_CLOSED:
        known.popitem(last=False)
