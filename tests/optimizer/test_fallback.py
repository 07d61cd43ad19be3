"""What is answered when routing fails: the default provider, flagged, and learned from with care."""

from dataclasses import replace

import numpy as np
import pytest

from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.types import Budget, Feedback, Outcome
from tests.optimizer.toy import COST, decided, new_router, play, provider, route


def test_the_declared_default_answers_and_says_why():
    served = new_router(route(default_provider="dear"))
    decision = served.fallback(decision_id="1", reason="the featuriser failed", at_s=3.0, task="sql")
    assert (decision.selected, decision.propensity) == ("dear", 1.0)
    assert decision.fallback_used == "the featuriser failed"
    again = decode(encode(decision))
    assert (again.fallback_used, again.task, again.at_s) == ("the featuriser failed", "sql", 3.0)


def test_without_a_default_the_first_healthy_provider_answers():
    names = list(COST)
    sick = replace(provider(names[0], 1e-4), healthy=False)
    well = provider(names[1], 1e-3)
    assert new_router(route(sick, well)).fallback(decision_id="1", reason="x").selected == names[1]
    assert new_router(route(sick)).fallback(decision_id="1", reason="x").selected == names[0]


def test_what_comes_of_it_is_paid_for_but_teaches_nothing_about_contexts():
    served = new_router(route(budget=Budget(usd_per_request=1e-3), default_provider="dear"))
    play(served, 60)
    before, spent = decided(served), served.summary()["spent_usd"]
    served.learn(served.fallback(decision_id="down", reason="x"))
    assert served.summary()["spent_usd"] == spent
    served.learn(Feedback(decision_id="down", value=0.0))
    served.learn(Outcome(decision_id="down", served_provider="dear", cost_usd=0.05, latency_s=9.0))
    after = decided(served)
    assert served.summary()["spent_usd"] == pytest.approx(spent + 0.05)
    np.testing.assert_array_equal(after.expected[:2], before.expected[:2])
    # It may not have served yet, so that nothing was known of its latency.
    assert after.expected[4, 2] > np.nan_to_num(before.expected[4, 2])
