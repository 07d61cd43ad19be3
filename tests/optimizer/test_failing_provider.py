"""A provider that fails loses traffic at once, and the decision says how often it is expected to fail."""

import numpy as np

from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Context, Feedback, Outcome, Provider, Route

ROUTE = Route(name="toy", providers=(Provider(name="steady"), Provider(name="flaky")))


def test_failures_are_in_the_decision_and_take_traffic_away():
    router, rng = Router(ROUTE), np.random.default_rng(5)
    none = Context(features=np.empty(0))
    for i in range(120):
        decision = router.decide(none, decision_id=str(i), draw=float(rng.random()))
        router.learn(decision)
        router.learn(Outcome(decision_id=str(i), served_provider=decision.selected))
        quality = 0.9 if decision.selected == "flaky" else 0.7
        router.learn(Feedback(decision_id=str(i), value=quality + 0.1 * float(rng.random() - 0.5)))
    before = router.decide(none, decision_id="before", draw=0.5)
    assert before.candidates[1].propensity > 0.9
    assert before.candidates[1].expected.failure == 0.0
    for i in range(6):
        router.learn(Outcome(decision_id=str(i), served_provider="flaky", status="timeout", revision=1))
    last = [str(i) for i in range(108, 120)]
    for name in last:
        router.learn(Outcome(decision_id=name, served_provider="flaky", status="timeout", revision=1))
    after = router.decide(none, decision_id="after", draw=0.5)
    steady, flaky = after.candidates
    assert flaky.expected.failure > 0.3
    assert steady.expected.failure == 0.0
    assert steady.propensity > 0.9
