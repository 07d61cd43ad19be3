import random
from dataclasses import replace

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.learning.learner import Learner
from fairlead.optimizer.learning.open_decision import cost_of
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.types import (
    Decision,
    DriftAlarm,
    Feedback,
    Outcome,
    Prices,
    Provider,
    Route,
    RouteChanged,
)

WIDTH = 2
BLOCKS = (Block("context", WIDTH, isotropic=False),)
PRICES = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0, cached_usd_per_mtok=0.1)
NAMES = ("a", "b", "c")


def route(*names, prices=PRICES) -> Route:
    return Route(name="toy", providers=tuple(Provider(name=n, prices=prices) for n in names or NAMES))


def new_learner(declared=None, *, detect_drift=False) -> tuple[Learner, Beliefs]:
    declared = declared or route()
    beliefs = Beliefs(BLOCKS, declared.providers)
    return Learner(RouteHistory(declared), beliefs, detect_drift=detect_drift), beliefs


def configured(learner, declared, seq=10) -> None:
    learner.configure(RouteChanged(seq=seq, route=declared))


def decision(seq, selected="a", *, providers=NAMES, expected=0.5) -> Decision:
    table = np.full((6, len(providers)), expected)
    table[1], table[2], table[5] = 0.05, 1e-3, 0.0
    return Decision(
        id=str(seq),
        seq=seq,
        route="toy",
        providers=providers,
        probabilities=np.full(len(providers), 1 / len(providers)),
        selected=selected,
        features=np.array([np.sin(seq), np.cos(3 * seq)]),
        input_tokens=100.0,
        expected=table,
        ineligible={},
        shadow_price=0.0,
        floor=np.zeros(len(providers)),
        encoder_version="",
        model_version=0,
    )


def fold(learner, *events) -> None:
    for event in events:
        if isinstance(event, Decision):
            learner.open(event)
        elif isinstance(event, DriftAlarm):
            learner.alarm(event)
        else:
            learner.apply(event)


def history(n=80):
    """n decisions in turn, with what came of them."""
    rng = np.random.default_rng(1)
    for seq in range(n):
        name = NAMES[seq % 3]
        yield decision(seq, name)
        usd = float(rng.lognormal(-7, 0.3))
        yield Outcome(decision_id=str(seq), served_provider=name, cost_usd=usd, latency_s=0.1 + usd)
        yield Feedback(decision_id=str(seq), value=float(rng.random()))


def alarm(provider="a", since=30, at=60) -> DriftAlarm:
    return DriftAlarm(
        provider=provider, quantity="quality", since_seq=since, at_seq=at, before=0.0, after=-1.0
    )


def assert_same(first: Beliefs, second: Beliefs) -> None:
    for first_model, second_model in ((first.quality, second.quality), (first.cost, second.cost)):
        left, right = first_model.statistics(), second_model.statistics()
        assert left.keys() == right.keys()
        for name in left:
            for key in left[name]:
                np.testing.assert_array_equal(left[name][key], right[name][key], err_msg=name)
    for name in first.latency:
        assert first.latency[name].count == second.latency[name].count
        np.testing.assert_array_equal(first.latency[name].mean_s(), second.latency[name].mean_s())
        assert first.failure[name].recent == second.failure[name].recent


@pytest.mark.parametrize("seed", range(5))
def test_the_state_is_a_function_of_the_set_of_events_alarms_included(seed):
    events = [*history(), alarm("a", 30, 60), alarm("a", 50, 70), alarm("b", 45, 60)]
    clean, believed = new_learner()
    fold(clean, *events)
    shuffled = events + events[::7]
    random.Random(seed).shuffle(shuffled)
    other, also = new_learner()
    fold(other, *shuffled)
    assert_same(believed, also)
    assert clean.counts == other.counts
    assert believed.quality.changes == also.quality.changes == {"a": 50, "b": 45}
    assert len(other.alarms) == 3


def test_an_alarm_about_a_stranger_is_refused():
    learner, _ = new_learner()
    with pytest.raises(InvalidInput, match=r"'stranger', which is not on the route: choose from"):
        learner.alarm(alarm("stranger"))
    assert learner.alarms == []


def test_a_decision_that_is_refused_leaves_nothing_and_its_id_can_be_used():
    learner, _ = new_learner()
    with pytest.raises(InvalidInput, match="'d', which is not on the route"):
        learner.open(decision(0, "d", providers=(*NAMES, "d")))
    assert learner.open(decision(0, "b"))
    learner.apply(Feedback(decision_id="0", value=1.0))
    assert learner.counts == {"b": 1}


def test_a_known_decision_is_not_opened_twice():
    learner, _ = new_learner()
    assert learner.open(decision(0))
    assert not learner.open(decision(0))


def test_decisions_from_before_a_provider_joined_are_folded():
    learner, beliefs = new_learner(route("new", "a", "b"))
    early = decision(0, "b", providers=("a", "b"))
    fold(learner, early, Feedback(decision_id="0", value=1.0))
    fold(learner, Outcome(decision_id="0", served_provider="b", cost_usd=1e-3))
    assert learner.counts == {"b": 1}
    assert beliefs.cost.count("b") == 1
    assert beliefs.cost.count("new") == 0


@pytest.mark.parametrize("prices", [PRICES, None])
def test_what_comes_of_a_provider_after_it_left_is_still_counted(prices):
    learner, beliefs = new_learner(route(prices=prices))
    fold(learner, decision(0, "c"))
    configured(learner, route("a", "b", prices=prices))
    late = Outcome(decision_id="0", served_provider="c", cost_usd=2e-3, latency_s=1.0)
    fold(learner, late, Feedback(decision_id="0", value=0.5))
    assert learner.counts == {"c": 1}
    assert [usd for usd, _ in learner.take_spending()] == [pytest.approx(1e-3)]
    assert beliefs.cost.count("c") == 1


def test_money_is_booked_as_the_difference_to_what_was_booked_before():
    learner, _ = new_learner()
    fold(learner, decision(0))
    served = Outcome(decision_id="0", served_provider="a", cost_usd=5e-3)
    fold(learner, served, replace(served, cost_usd=2e-3, revision=1), served)
    assert [usd for usd, _ in learner.take_spending()] == [pytest.approx(4e-3), pytest.approx(-3e-3)]
    assert learner.take_spending() == []


def test_a_cost_that_is_not_reported_follows_from_usage_and_the_price_list():
    usage = Outcome(
        decision_id="0", served_provider="a", input_tokens=1_000, output_tokens=50, cached_tokens=400
    )
    assert cost_of(usage, PRICES) == pytest.approx((600 * 1.0 + 400 * 0.1 + 50 * 10.0) / 1e6)
    assert cost_of(replace(usage, cost_usd=0.7), PRICES) == 0.7
    assert cost_of(replace(usage, output_tokens=None), PRICES) is None
    assert cost_of(usage, None) is None


def test_a_change_is_noticed_on_residuals_and_not_on_hard_requests():
    rng = np.random.default_rng(4)

    def run(expected_after, value_after):
        learner, _ = new_learner(detect_drift=True)
        for seq in range(600):
            late = seq >= 300
            level = value_after if late else 0.8
            fold(learner, decision(seq, "a", expected=expected_after if late else 0.8))
            value = float(np.clip(level + 0.1 * rng.normal(), 0, 1))
            fold(learner, Feedback(decision_id=str(seq), value=value))
        return learner.alarms

    assert run(expected_after=0.4, value_after=0.4) == []
    raised = run(expected_after=0.8, value_after=0.4)
    assert raised and raised[0].provider == "a"
    assert 250 <= raised[0].since_seq <= raised[0].at_seq
    assert 300 <= raised[0].at_seq < 350
    assert raised[0].after < raised[0].before
