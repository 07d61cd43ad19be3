"""The event log of a router as lines of the canonical form: each decision with all that came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fairlead.experiments.logs.recorder import Recorder
from fairlead.experiments.logs.write import Line
from fairlead.optimizer.errors import InvalidInput, UnknownDecision
from fairlead.optimizer.features import Block
from fairlead.optimizer.features.text import TEXT_WIDTH, TextEncoder
from fairlead.optimizer.types.events import (
    Decision,
    EncoderFitted,
    Event,
    Feedback,
    Outcome,
    RouteChanged,
)
from fairlead.optimizer.types.route import Metric, Provider, Route


def served_lines(events: Iterable[Event], *, route: str | None = None) -> Iterator[Line]:
    """Turn the events of a route, such as `read_log` yields, into the lines of its decisions, by their seq.

    The router's own ledger settles late, repeated and corrected events. What feedback means, its range,
    direction and weight, and what usage costs, is what the configurations in the log say; in a log without
    any, each metric is a quality in [0, 1]. A line lists eligible providers only. Fallbacks, which no policy
    drew, are left out, and so is what is about no decision of the log. All events are held until the end,
    since feedback may come until then. Raises `InvalidInput` if decisions are of several routes and none is
    named, or if feedback does not fit its metric.
    """
    held = list(events)
    decisions = [event for event in held if isinstance(event, Decision)]
    names = sorted({decision.route for decision in decisions})
    if route is None and len(names) > 1:
        raise InvalidInput(f"the log has decisions of the routes {', '.join(names)}: choose one with --route")
    chosen = route if route is not None else names[0] if names else ""
    if route is not None and names and route not in names:
        raise InvalidInput(f"the log has no decision of route {route!r}: choose among {', '.join(names)}")
    decisions = sorted((each for each in decisions if each.route == chosen), key=lambda each: each.seq)
    changes = [event for event in held if isinstance(event, RouteChanged) and event.route.name == chosen]
    fits = [event for event in held if isinstance(event, EncoderFitted)]
    text = last_encoder(fits)
    width = min((len(each.features) for each in decisions), default=0)
    width -= TEXT_WIDTH if text is not None and all(_has_text(each, width) for each in decisions) else 0
    reports = [event for event in held if isinstance(event, Outcome | Feedback)]
    blocks = (Block("logged", width, isotropic=False),) if width else ()
    first = _route(chosen, decisions=decisions, changes=changes, reports=reports)
    recorder = Recorder(first, blocks=blocks, text=text)
    own = {decision.id for decision in decisions}
    for event in [*sorted(changes, key=lambda change: change.seq), *decisions, *reports]:
        if not isinstance(event, Outcome | Feedback) or event.decision_id in own:
            _record(recorder, event)
    recorder.close_before(recorder.next_seq)
    yield from recorder.take_lines()


def last_encoder(fits: Sequence[EncoderFitted]) -> TextEncoder | None:
    """Return the last encoder of texts that was fitted; None if nothing was learned of any."""
    best = max((fit for fit in fits if fit.arrays), key=lambda fit: fit.number, default=None)
    return None if best is None else TextEncoder(best.arrays)


def _has_text(decision: Decision, width: int) -> bool:
    """Whether a decision's features hold those of its text, which came into force before the log began."""
    return len(decision.features) == width and "text-" in decision.encoder_version


def _route(
    name: str,
    *,
    decisions: Sequence[Decision],
    changes: Sequence[RouteChanged],
    reports: Sequence[Outcome | Feedback],
) -> Route:
    """Return the configuration before the first that is logged: its metrics, its sources, and no prices."""
    providers = {each for decision in decisions for each in decision.providers}
    providers |= {event.served_provider for event in reports if isinstance(event, Outcome)}
    plain = tuple(Provider(name=each) for each in sorted(providers)) or (Provider(name="unknown"),)
    if changes:
        first = min(changes, key=lambda change: change.seq).route
        return replace(Route(name=name, providers=plain), metrics=first.metrics, sources=first.sources)
    metrics = sorted({event.metric for event in reports if isinstance(event, Feedback)})
    qualities = tuple(Metric(name=each) for each in metrics) or (Metric(),)
    return Route(name=name, providers=plain, metrics=qualities)


def _record(recorder: Recorder, event: Event) -> None:
    try:
        recorder.learn(event)
    except UnknownDecision:
        return  # of a decision that the router had closed
