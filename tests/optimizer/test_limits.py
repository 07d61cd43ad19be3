"""Limits of latency and cost: who serves under them, who is tried, and what the decision says."""

import numpy as np

from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Constraints, Context, Feedback, Outcome, Route
from tests.optimizer.toy import COST, provider

NONE = Context(features=np.empty(0))
QUALITY = {"cheap": 0.5, "middle": 0.8, "dear": 0.9}
USUAL = dict.fromkeys(QUALITY, 1.0)


class Traffic:
    """Requests to a router of three providers with these constraints."""

    def __init__(self, constraints: Constraints | None = None, **more) -> None:
        providers = tuple(provider(name, usd) for name, usd in COST.items())
        more = {"constraints": constraints or Constraints(), **more}
        self.router = Router(Route(name="toy", providers=providers, **more))
        self.rng, self.i, self.decisions, self.events = np.random.default_rng(1), 0, [], []

    def ask(self, **more):
        return self.router.decide(NONE, decision_id=f"x{self.i}", draw=float(self.rng.random()), **more)

    def serve(self, n, *, latency_s=USUAL, **more) -> np.ndarray:
        """Serve n requests; the propensities, (n, 3)."""
        for _ in range(n):
            decision, name = self.ask(**more), f"x{self.i}"
            served = decision.selected
            value = QUALITY[served] + 0.1 * float(self.rng.random() - 0.5)
            came = [
                decision,
                Outcome(
                    decision_id=name,
                    served_provider=served,
                    latency_s=latency_s[served] * float(self.rng.lognormal(0.0, 0.2)),
                    cost_usd=COST[served],
                ),
                Feedback(decision_id=name, value=value),
            ]
            for event in came:
                self.router.learn(event)
            self.decisions.append(decision)
            self.events += came
            self.i += 1
        return np.array([decision.probabilities for decision in self.decisions[-n:]])


def test_a_provider_that_turns_slow_leaves_within_some_ten_calls_and_returns_when_it_is_quick():
    traffic = Traffic(Constraints(max_latency_s=4.0))
    assert traffic.serve(300, latency_s={**USUAL, "dear": 2.0})[-1, 2] > 0.9
    during = traffic.serve(150, latency_s={**USUAL, "dear": 9.0})
    assert (during[25:, 2] <= 0.02).all() and (during[25:, 2] > 0.0).all()
    decision = traffic.ask()
    reason = decision.candidates[2].reason
    assert "s or more in 8 calls in a row, above the latency limit of 4 s" in reason
    assert decision.candidates[2].eligible and decision.candidates[2].expected.latency_s < 4.0
    assert traffic.serve(300, latency_s={**USUAL, "dear": 2.0})[-1, 2] > 0.9


def test_one_slow_call_in_four_moves_nobody():
    traffic = Traffic(Constraints(max_latency_s=4.0))
    traffic.serve(300)
    for _ in range(60):
        traffic.serve(1, latency_s={**USUAL, "dear": 9.0})
        traffic.serve(3)
    assert traffic.serve(10)[-1, 2] > 0.9
