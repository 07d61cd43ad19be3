"""What clients report of their calls, and when: honest ones, and some that send nonsense now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from fairlead import Decision, Feedback, Outcome
from tests.trials.operations.world import Call, Moment

Report = tuple[float, Outcome | Feedback]
"""An event, and how many seconds after the decision it comes."""

Client = Callable[[Decision, Call, Moment], Iterable[Report]]
"""Says what is reported of a call, of a decision made at a moment."""


@dataclass(frozen=True, kw_only=True)
class Honest:
    """Reports the truth; feedback comes for a share of the answers alone, ``judged``.

    Delays are in seconds, so in requests if these come one second apart. Without ``with_cost``, outcomes
    state the usage alone; without ``with_usage``, no usage either.
    """

    judged: float = 1.0
    outcome_after_s: float = 0.0
    feedback_after_s: float = 0.0
    with_cost: bool = True
    with_usage: bool = True
    seed: int = 1

    def __call__(self, decision: Decision, call: Call, moment: Moment) -> Iterable[Report]:
        """Report one call."""
        yield self.outcome_after_s, self.outcome(decision, call)
        judged = self.judged >= 1.0 or by_lot(self.seed, moment.request) < self.judged
        if call.quality is not None and judged:
            yield self.feedback_after_s, Feedback(decision_id=decision.id, value=call.quality)

    def outcome(self, decision: Decision, call: Call) -> Outcome:
        """Return the outcome of a call as it is reported."""
        usage = self.with_usage and call.status == "ok"
        return Outcome(
            decision_id=decision.id,
            served_provider=call.provider,
            status=call.status,
            cost_usd=call.cost_usd if self.with_cost else None,
            latency_s=call.latency_s,
            input_tokens=call.input_tokens if usage else None,
            output_tokens=call.output_tokens if usage else None,
        )


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """Replaces a ``share`` of the reports of a client by what ``corrupt`` makes of them.

    ``corrupt`` gets what the honest client would have sent for one decision, and returns what is sent
    instead.
    """

    honest: Client
    share: float
    corrupt: Callable[[list[Report], Decision, Call], Iterable[Report]]
    seed: int = 1

    def __call__(self, decision: Decision, call: Call, moment: Moment) -> Iterable[Report]:
        """Report one call, truly or not."""
        reports = list(self.honest(decision, call, moment))
        if by_lot(self.seed + 1_000, moment.request) < self.share:
            return self.corrupt(reports, decision, call)
        return reports


def by_lot(seed: int, request: int) -> float:
    """Return a number in [0, 1) that depends on nothing else than seed and request."""
    return float(np.random.default_rng([seed, 17, request]).random())
