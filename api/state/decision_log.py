"""The log of a service as a log of decisions: each with what the service had learned of it in the end.

The log is folded as by the service itself, so that what it rejected, or heard too late, does not count; but
routes record their decisions instead of learning from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, cast

from fairlead.api.schemas.declarations import RouteIn
from fairlead.api.settings import Settings
from fairlead.api.state.fold import Fold
from fairlead.api.state.served_route import ServedRoute
from fairlead.api.store import Query, Row, Store
from fairlead.api.store.base import decode_report_metadata
from fairlead.experiments.logs.from_events import last_encoder
from fairlead.experiments.logs.recorder import Recorder
from fairlead.experiments.logs.write import Line
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.text import TextEncoder
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import EncoderFitted, Feedback, Outcome, Route
from fairlead.optimizer.types.events import copy_with

_DOUBTED: Final = ("cost_usd", "latency_s")
_MOST_NAMED: Final = 20


@dataclass(kw_only=True)
class Exported:
    """What an export has left out or emptied, by reason; it is whole once all lines are read."""

    decisions: int = 0
    """Lines."""
    first_at: str = ""
    last_at: str = ""
    outside: int = 0
    """Decisions before or after the time that was asked for."""
    fallbacks: int = 0
    """Decisions that no policy drew, because routing failed or was paused."""
    doubted: int = 0
    """Outcomes whose cost or latency was in quarantine when it was reported; these fields stay empty."""
    reports: dict[str, int] = field(default_factory=dict)
    """Outcomes and feedback, of all routes, that did not count: ``late``, ``rejected``, ``expired``."""

    def sentences(self) -> list[str]:
        """Say what was left out, a sentence for each reason."""
        texts = [
            (self.outside, "{:,} decisions before or after the time asked for are left out."),
            (
                self.fallbacks,
                "{:,} decisions that no policy drew are left out (routing failed or was paused).",
            ),
            (self.doubted, "{:,} outcomes had a cost or latency that was not believed; it stays empty."),
            (self.reports.get("late", 0), "{:,} reports came too late and do not count."),
            (self.reports.get("rejected", 0), "{:,} reports were rejected and do not count."),
            (self.reports.get("expired", 0), "{:,} reports were about decisions that never came."),
        ]
        return [text.format(count) for count, text in texts if count]


def route_names(store: Store) -> list[str]:
    """Return the routes that the decisions of a log are of, sorted."""
    rows = store.read("SELECT DISTINCT route FROM events WHERE kind = 'decision'", [])
    return sorted(name for (name,) in rows if name is not None)


def chosen_route(store: Store, route: str | None) -> str:
    """Return the route to export; `InvalidInput` lists those that there are if none can be meant."""
    names = route_names(store)
    listed = ", ".join(names[:_MOST_NAMED]) + (" …" if len(names) > _MOST_NAMED else "")
    if not names:
        raise InvalidInput("the log has no decisions yet: ask the service for some first")
    if route is None and len(names) > 1:
        raise InvalidInput(f"the log has decisions of several routes: choose one with --route, of {listed}")
    if route is not None and route not in names:
        raise InvalidInput(f"the log has no decision of route {route!r}: choose among {listed}")
    return names[0] if route is None else route


def decision_lines(
    store: Store,
    settings: Settings,
    *,
    route: str,
    since_s: float | None = None,
    until_s: float | None = None,
    exported: Exported,
) -> Iterator[Line]:
    """Yield the lines of a route's decisions in the order of the log, while others may write to it.

    Those made from ``since_s`` on and before ``until_s``, seconds since 1970. What comes after the first line
    was asked for is not part of it. Memory holds the open decisions alone.
    """
    until = store.last_seq()
    fold = _recording_fold(store, settings, route, until=until, exported=exported)
    first, last = _time_text(since_s), _time_text(until_s)
    lines = _recorded(fold, store, route, until=until)
    for line in lines:
        at = line["decided_at"]
        if (first and at < first) or (last and at >= last):
            exported.outside += 1
            continue
        exported.decisions += 1
        exported.first_at, exported.last_at = exported.first_at or at, at
        yield line
    for (kind, outcome), count in fold.counts.items():
        if kind in ("outcome", "feedback") and outcome != "joined":
            exported.reports[outcome] = exported.reports.get(outcome, 0) + count


def _recorded(fold: _RecordingFold, store: Store, route: str, *, until: int) -> Iterator[Line]:
    after = 0
    while rows := store.rows(Query(after=after, until=until)):
        for row in rows:
            before = fold.routes.get(route)
            fold.apply(row)
            if before is not None and fold.routes.get(route) is not before:
                yield from _rest(before, fold.exported)  # removed, and perhaps declared anew
        after = rows[-1].seq
        if (served := fold.routes.get(route)) is not None:
            yield from _recorder(served).take_lines()
    if (served := fold.routes.get(route)) is not None:
        yield from _rest(served, fold.exported)


def _rest(served: ServedRoute, exported: Exported) -> Iterator[Line]:
    """Yield the lines of decisions that are still open, as they stand."""
    recorder = _recorder(served)
    recorder.close_before(recorder.next_seq)
    exported.fallbacks += recorder.fallbacks
    yield from recorder.take_lines()


def _recorder(served: ServedRoute) -> Recorder:
    return cast(Recorder, served.router)


class _RecordingFold(Fold):
    """A fold that leaves out what was not believed of an outcome when it was reported."""

    exported: Exported
    route: str

    def _join(self, row: Row, event: Outcome | Feedback) -> None:
        if isinstance(event, Outcome):
            quarantined = decode_report_metadata(row.metadata).quarantined
            doubted = {name: None for name in _DOUBTED if name in quarantined}
            if doubted:
                event = copy_with(event, **doubted)
                self.exported.doubted += self.open[event.decision_id].route == self.route
        super()._join(row, event)


def _recording_fold(
    store: Store, settings: Settings, route: str, *, until: int, exported: Exported
) -> _RecordingFold:
    text = _last_text(store, route, until=until)

    def new_route(core: Route, body: RouteIn) -> ServedRoute:
        recorder = partial(Recorder, text=text if core.name == route else None)
        return ServedRoute(core, body, new_router=cast(type[Router], recorder))

    fold = _RecordingFold(
        parked_wait_s=settings.parked_wait_s, parked_limit=settings.parked_limit, new_route=new_route
    )
    fold.exported, fold.route = exported, route
    return fold


def _last_text(store: Store, route: str, *, until: int) -> TextEncoder | None:
    mark = store.mark
    rows = store.read(
        f"SELECT line FROM events WHERE kind = 'encoder' AND route = {mark} AND seq <= {mark} ORDER BY seq",
        [route, until],
    )
    events = (decode(line) for (line,) in rows)
    return last_encoder([event for event in events if isinstance(event, EncoderFitted)])


def _time_text(at_s: float | None) -> str:
    if at_s is None:
        return ""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
