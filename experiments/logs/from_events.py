"""The event log of a router as lines of the canonical form: each decision with all that came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from fairlead.experiments.logs.write import Line
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.learning.ledger import Ledger
from fairlead.optimizer.learning.open_decision import OpenDecision
from fairlead.optimizer.types.events import Decision, Event, Feedback, Outcome
from fairlead.optimizer.types.route import Metric


def served_lines(events: Iterable[Event], *, metrics: Sequence[Metric] = (Metric(),)) -> Iterator[Line]:
    """Turn events, such as `read_log` yields, into the lines of their decisions, in the log's order.

    The router's own ledger settles late, repeated and corrected events; ``metrics`` say how feedback makes
    the reward. A line lists eligible providers only. Decisions and their feedback are held until the end of
    the log, since feedback may come until then. Fallbacks, which no policy drew, are left out.
    """
    decisions: list[Decision] = []
    later: list[Outcome | Feedback] = []
    for event in events:
        if isinstance(event, Decision):
            if event.fallback_used is None:
                decisions.append(event)
        elif isinstance(event, Outcome | Feedback):
            later.append(event)
    names = {name for decision in decisions for name in decision.providers}
    names |= {event.served_provider for event in later if isinstance(event, Outcome)}
    ledger = Ledger(providers=sorted(names), metrics=metrics)
    decisions.sort(key=lambda decision: decision.seq)
    for decision in decisions:
        ledger.open(OpenDecision.of(decision, {}))
    for event in later:
        if event.decision_id in ledger:
            ledger.apply(event)
    for decision in decisions:
        yield _line(decision, ledger)


def _line(decision: Decision, ledger: Ledger) -> Line:
    entry = ledger.get(decision.id)
    outcome = entry.outcome if entry is not None else None
    eligible = [j for j, name in enumerate(decision.providers) if name not in decision.ineligible]
    line: dict[str, Any] = {
        "decision_id": decision.id,
        "decided_at": time_text(decision.at_s, decision.id),
        "route": decision.route,
        "context": {"task": decision.task} if decision.task is not None else None,
        "features": decision.features.tolist() or None,
        "providers": [decision.providers[j] for j in eligible],
        "propensities": [float(decision.probabilities[j]) for j in eligible],
        "provider": decision.selected,
        "reward": entry.reward if entry is not None else None,
    }
    if decision.input_tokens:
        line["context"] = {**(line["context"] or {}), "attributes": {"input_tokens": decision.input_tokens}}
    if outcome is not None:
        line |= {
            "served_provider": outcome.served_provider,
            "cost_usd": outcome.cost_usd,
            "latency_s": outcome.latency_s,
            "status": outcome.status,
        }
    return line


def time_text(at_s: float | None, decision_id: str) -> str:
    """Write a time in seconds since 1970 as RFC 3339 in UTC, to the microsecond."""
    if at_s is None:
        raise InvalidInput(
            f"decision {decision_id!r} has no time, and a log is ordered by it: give `decide` the time "
            "as at_s"
        )
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
