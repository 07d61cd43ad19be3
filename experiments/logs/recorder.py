"""The decisions of one route with all that came of them, as lines of the canonical form.

A recorder takes the events that a router takes, and joins them as a router does, but learns nothing. So a
line holds what the router had learned of its decision when it was closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fairlead.experiments.logs.write import Line
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import Block, Encoder
from fairlead.optimizer.features.sketch import Sketch
from fairlead.optimizer.features.text import TextEncoder
from fairlead.optimizer.learning.ledger import Ledger
from fairlead.optimizer.learning.open_decision import OpenDecision
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.types import FloatArray, Route
from fairlead.optimizer.types.events import Decision, Event, Feedback, Outcome, RouteChanged


class Recorder:
    """Joins the events of one route; ``lines`` are those of the decisions that were closed, oldest first.

    Features of texts are learned anew as a log grows. All lines have those that ``text`` gives, the last
    encoder of the log; without one, features of texts are left out. Times never run back, as a log is
    ordered by them: a decision whose clock was behind has the time of the one before.
    """

    def __init__(
        self,
        route: Route,
        *,
        encoder: Encoder | None = None,
        blocks: Sequence[Block] = (),
        encoder_version: str = "",
        text: TextEncoder | None = None,
    ) -> None:
        self._sketch = Sketch(encoder.blocks if encoder is not None else blocks)
        self._version, self._text = encoder_version, text
        self._history = RouteHistory(route)
        self._ledger = Ledger(providers=self._history.names(), metrics=route.metrics, sources=route.sources)
        self._decisions: dict[str, Decision] = {}
        self._latest_s = -np.inf
        self.lines: list[Line] = []
        self.fallbacks = 0
        """Decisions left out, since no policy drew them: the default served, because routing failed."""
        self.next_seq = 0

    @property
    def route(self) -> Route:
        """The configuration in force."""
        return self._history.latest

    @property
    def width(self) -> int:
        """Number of features of a decision, without those of texts."""
        return self._sketch.width

    @property
    def needs_refit(self) -> bool:
        """Nothing is ever fitted."""
        return False

    def configure(self, route: Route, *, refit: bool = True) -> None:
        """Use another configuration for the decisions to come."""
        self.learn(RouteChanged(seq=self.next_seq, route=route), refit=refit)

    def learn(self, event: Event, *, refit: bool = True, checked: bool = False) -> None:
        """Record an event, as `Router.learn` folds it; raises what that raises."""
        del refit, checked
        if isinstance(event, Outcome | Feedback):
            self._ledger.apply(event)
        elif isinstance(event, Decision):
            self._ledger.open(OpenDecision.of(event, self._history.prices_at(event.seq)))
            self._decisions[event.id] = event
            self.next_seq = max(self.next_seq, event.seq + 1)
        elif isinstance(event, RouteChanged) and self._history.add(event):
            for name in self._history.names():
                self._ledger.add_provider(name)
            for decision in self._ledger.since(event.seq):
                decision.prices = self._history.prices_at(decision.seq)
            self.next_seq = max(self.next_seq, event.seq + 1)

    def open_decision(self, decision_id: str) -> OpenDecision | None:
        """Return a decision that is not closed yet."""
        return self._ledger.get(decision_id)

    def close_before(self, seq: int) -> int:
        """Close the decisions before ``seq``, and add their lines; returns how many."""
        for entry in self._ledger.before(seq):
            decision = self._decisions.pop(entry.id)
            if decision.fallback_used is None:
                self.lines.append(self._line(decision, entry))
            else:
                self.fallbacks += 1
        return self._ledger.close_before(seq)

    def take_lines(self) -> list[Line]:
        """Return the lines that have come since the last call."""
        lines, self.lines = self.lines, []
        return lines

    def sketched(self, features: FloatArray) -> FloatArray:
        """Return features as they are logged."""
        return self._sketch.apply(features)

    def share_budgets(self, shadow_price: float) -> None:
        """Take note of nothing: prices of money are not part of a line."""

    def refit(self) -> None:
        """Do nothing: nothing is ever fitted."""

    def take_corrections(self) -> list[float]:
        """Return nothing: no cost is doubted here."""
        return []

    def _line(self, decision: Decision, entry: OpenDecision) -> Line:
        eligible = [j for j, name in enumerate(decision.providers) if name not in decision.ineligible]
        self._latest_s = max(self._latest_s, seconds_of(decision))
        line: dict[str, Any] = {
            "decision_id": decision.id,
            "decided_at": time_text(self._latest_s),
            "route": decision.route,
            "context": _context(decision),
            "features": self._features(decision),
            "providers": [decision.providers[j] for j in eligible],
            "propensities": [float(decision.probabilities[j]) for j in eligible],
            "provider": decision.selected,
            "reward": entry.reward,
        }
        if (outcome := entry.outcome) is not None:
            line |= {
                "served_provider": outcome.served_provider,
                "cost_usd": entry.cost_of(outcome),
                "latency_s": outcome.latency_s,
                "status": outcome.status,
            }
        return line

    def _features(self, decision: Decision) -> list[float] | None:
        features = self._sketch.apply(decision.features)[: self._sketch.width]
        if self._text is not None:
            features = np.concatenate([features, self._text.encode(decision.terms)])
        return features.tolist() or None


def _context(decision: Decision) -> dict[str, Any] | None:
    context: dict[str, Any] = {} if decision.task is None else {"task": decision.task}
    if decision.input_tokens:
        context["attributes"] = {"input_tokens": decision.input_tokens}
    return context or None


def seconds_of(decision: Decision) -> float:
    """Return when a decision was made, in seconds since 1970; `InvalidInput` if it does not say."""
    if decision.at_s is None:
        raise InvalidInput(
            f"decision {decision.id!r} has no time, and a log is ordered by it: give `decide` the time as "
            "at_s"
        )
    return decision.at_s


def time_text(at_s: float) -> str:
    """Write a time in seconds since 1970 as RFC 3339 in UTC, to the microsecond."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
