"""Costs that cannot be right wait until others agree, in whatever order events come."""

import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Context, Outcome, Prices, Provider, Route
from tests.optimizer.toy import assert_same_statistics

LIST = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0)
HONEST_USD = 0.0013


def new_router(*, listed=True, **more):
    providers = (Provider(name="small", prices=LIST if listed else None), Provider(name="large", prices=LIST))
    return Router(Route(name="r", providers=providers, **more), blocks=(Block("x", 1, False),))


def opened(router, n, first=0):
    for i in range(first, first + n):
        context = Context(features=np.array([0.5]), input_tokens=100)
        router.learn(router.decide(context, decision_id=str(i), draw=(i * 0.618) % 1.0))


def report(router, i, usd, *, provider="small", tokens=None, revision=0, **more):
    usage = {} if tokens is None else {"input_tokens": 100, "output_tokens": tokens}
    router.learn(
        Outcome(
            decision_id=str(i), served_provider=provider, cost_usd=usd, revision=revision, **usage, **more
        )
    )


def believed(router, name="small"):
    decision = router.decide(
        Context(features=np.array([0.5]), input_tokens=100), decision_id="asked", draw=0.5
    )
    return decision.candidates[decision.providers.index(name)].expected.cost_usd


def settled(n=60, **more):
    router = new_router(**more)
    opened(router, n)
    rng = np.random.default_rng(0)
    for i in range(n):
        report(router, i, HONEST_USD * rng.lognormal(0.0, 0.5))
    return router


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("usd", [0.13, 1.3, 10.0, 1e6, 1e-7])
def test_an_absurd_cost_is_neither_learned_nor_paid(usd, listed):
    router = settled(listed=listed, budget=Budget(usd_per_request=0.002))
    before, spent = believed(router), router.summary()["spent_usd"]
    opened(router, 1, first=60)
    report(router, 60, usd)
    assert believed(router) == pytest.approx(before, rel=1e-6)
    expected = router.open_decision("60").expected_usd
    assert router.summary()["spent_usd"] == pytest.approx(spent + expected)
    (doubt,) = router.quarantine
    assert (doubt.provider, doubt.quantity, doubt.value, doubt.count) == ("small", "cost", usd, 1)


def test_usage_that_no_call_can_have_is_not_believed():
    router = settled()
    before = believed(router)
    opened(router, 1, first=60)
    report(router, 60, None, tokens=10**9)
    report(router, 60, 4_000.0, tokens=10**9, revision=1)
    assert believed(router) == pytest.approx(before, rel=1e-6)
    assert [doubt.value for doubt in router.quarantine] == [4_000.0]


def test_usage_explains_what_history_does_not():
    """A long answer costs a hundred times as much, and what it cost is paid."""
    router = settled(budget=Budget(usd_per_request=0.002))
    spent = router.summary()["spent_usd"]
    opened(router, 1, first=60)
    long_usd = LIST.cost_usd(input_tokens=100, output_tokens=60_000)
    report(router, 60, long_usd, tokens=60_000)
    assert router.quarantine == []
    assert router.summary()["spent_usd"] == pytest.approx(spent + long_usd)
    assert believed(router) < 0.1 * long_usd


def test_usage_betrays_what_history_would_allow():
    router = settled()
    opened(router, 1, first=60)
    report(router, 60, 100 * LIST.cost_usd(input_tokens=100, output_tokens=2), tokens=2)
    (doubt,) = router.quarantine
    assert doubt.likely_error == "cents for dollars"
    assert doubt.expected == pytest.approx(LIST.cost_usd(input_tokens=100, output_tokens=2))


@pytest.mark.parametrize("factor", [8.0, 1 / 8])
def test_usage_allows_a_cost_that_is_four_times_what_it_explains_and_no_more(factor):
    """Lengths of answers differ by more, but the usage says how long this one was."""
    router = settled(budget=Budget(usd_per_request=0.002))
    before = believed(router)
    opened(router, 2, first=60)
    usage_usd = LIST.cost_usd(input_tokens=100, output_tokens=300)
    report(router, 60, factor * usage_usd, tokens=300)
    assert [doubt.value for doubt in router.quarantine] == [factor * usage_usd]
    assert believed(router) == pytest.approx(before, rel=1e-6)
    assert router.open_decision("60").booked_usd == pytest.approx(usage_usd)
    report(router, 61, factor**0.5 * usage_usd, tokens=300)
    assert len(router.quarantine) == 1
    assert router.open_decision("61").booked_usd == pytest.approx(factor**0.5 * usage_usd)


@pytest.mark.parametrize("factor", [1_024.0, 1 / 1_024, 0.25])
@pytest.mark.parametrize("doubted_first", [False, True])
def test_a_cost_in_doubt_is_booked_as_its_usage_costs_in_truth_if_the_list_is_wrong(factor, doubted_first):
    """Whatever the list says, 40 calls say what usage costs, whether they come before the doubt or after."""
    router = new_router(budget=Budget(usd_per_request=2.0))
    opened(router, 41)
    usage_usd = LIST.cost_usd(input_tokens=100, output_tokens=300)
    if doubted_first:
        report(router, 40, 1e5 * factor * usage_usd, tokens=300)
    for i in range(40):
        report(router, i, factor * LIST.cost_usd(input_tokens=100, output_tokens=250), tokens=250)
    if not doubted_first:
        report(router, 40, 1e5 * factor * usage_usd, tokens=300)
    assert router.open_decision("40").booked_usd == pytest.approx(factor * usage_usd)
    assert "cost" in {doubt.quantity for doubt in router.quarantine}


HONEST_RATIOS = {
    "prompt caching": lambda rng: rng.uniform(0.15, 0.25) if rng.random() < 0.3 else 1.0,
    "batch discount": lambda rng: 0.5 if rng.random() < 0.5 else 1.0,
    "fee per call": lambda rng: 50.0,
    "hidden reasoning": lambda rng: 6.0 if rng.random() < 0.5 else 1.0,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio", HONEST_RATIOS.values(), ids=HONEST_RATIOS)
def test_what_calls_usually_cost_beside_their_usage_is_paid_as_it_is(ratio, seed):
    router, rng = new_router(budget=Budget(usd_per_request=0.01)), np.random.default_rng(seed)
    opened(router, 200)
    paid = np.empty(200)
    for i in range(200):
        tokens = int(rng.integers(50, 600))
        paid[i] = ratio(rng) * LIST.cost_usd(input_tokens=100, output_tokens=tokens)
        report(router, i, float(paid[i]), tokens=tokens)
    booked = [router.open_decision(str(i)).booked_usd for i in range(200)]
    assert np.mean(booked) == pytest.approx(paid.mean(), rel=0.05)
    assert believed(router) == pytest.approx(paid.mean(), rel=0.15)


def test_what_costs_more_than_its_usage_explains_is_believed_once_it_is_usual():
    router = settled(budget=Budget(usd_per_request=0.002))
    opened(router, 30, first=60)
    usd = 8.0 * LIST.cost_usd(input_tokens=100, output_tokens=300)
    for i in range(60, 90):
        report(router, i, usd, tokens=300)
    assert [doubt.quantity for doubt in router.quarantine] == ["prices"]
    assert {router.open_decision(str(i)).booked_usd for i in range(60, 90)} == {usd}


def test_a_cost_that_is_corrected_leaves_the_quarantine():
    router, clean = settled(), settled()
    for each in (router, clean):
        opened(each, 1, first=60)
    report(router, 60, 10.0)
    report(router, 60, HONEST_USD, revision=1)
    report(clean, 60, HONEST_USD, revision=1)
    assert router.quarantine == []
    assert_same_statistics(router, clean)


@pytest.mark.parametrize("factor", [50.0, 1_000.0, 1e-3])
@pytest.mark.parametrize("listed", [True, False])
def test_a_provider_whose_costs_change_is_believed_after_some_tens_of_calls(factor, listed):
    router = settled(200, listed=listed)
    opened(router, 60, first=200)
    for i in range(200, 260):
        report(router, i, HONEST_USD * factor)
    assert believed(router) == pytest.approx(HONEST_USD * factor, rel=0.1)
    assert {doubt.quantity for doubt in router.quarantine} <= {"prices", "cost"}


def test_a_list_that_is_wrong_by_a_thousand_is_noticed_and_costs_are_learned():
    router = new_router(budget=Budget(usd_per_request=2.0))
    opened(router, 40)
    for i in range(40):
        report(router, i, 1_000.0 * LIST.cost_usd(input_tokens=100, output_tokens=250), tokens=250)
    assert believed(router) == pytest.approx(
        1_000 * LIST.cost_usd(input_tokens=100, output_tokens=250), rel=0.3
    )
    (doubt,) = router.quarantine
    assert (doubt.quantity, doubt.provider) == ("prices", "small")
    assert "per 1k tokens" in doubt.likely_error
    paid = sum(router.open_decision(str(i)).booked_usd for i in range(40))
    assert paid == pytest.approx(40 * 1_000 * LIST.cost_usd(input_tokens=100, output_tokens=250))


def test_a_list_that_is_a_thousand_times_too_high_is_noticed_and_costs_are_learned():
    router = new_router()
    opened(router, 40)
    for i in range(40):
        report(router, i, LIST.cost_usd(input_tokens=100, output_tokens=250) / 1_000.0, tokens=250)
    assert believed(router) == pytest.approx(
        LIST.cost_usd(input_tokens=100, output_tokens=250) / 1_000, rel=0.3
    )


def test_the_first_cost_of_a_provider_without_list_does_not_rule_it():
    router = new_router(listed=False)
    opened(router, 30)
    report(router, 0, 1e6)
    for i in range(1, 30):
        report(router, i, HONEST_USD)
    assert believed(router) == pytest.approx(HONEST_USD, rel=0.05)
    assert [doubt.count for doubt in router.quarantine] == [1]


def test_free_calls_are_believed():
    router = settled()
    opened(router, 20, first=60)
    for i in range(60, 80):
        report(router, i, 0.0)
    assert router.quarantine == []


def test_what_closes_in_quarantine_is_still_counted():
    router = settled()
    opened(router, 3, first=60)
    for i in range(60, 63):
        report(router, i, 10.0 + i)
    router.close_before(62)
    (doubt,) = router.quarantine
    assert (doubt.count, doubt.value, doubt.decision_id) == (3, 72.0, "62")


def test_of_what_is_closed_no_decision_is_remembered():
    router = settled()
    opened(router, 3, first=60)
    for i in range(60, 63):
        report(router, i, 10.0 + i)
    measures = router._learner._quarantine._costs["small"].measures

    def remembered() -> set[str]:
        return {name for measure in measures for held in measure._remote.values() for name in held}

    assert {"60", "61", "62"} <= remembered()
    router.close_before(62)
    assert remembered() == {"62"}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("absurd", [0.02, 0.2])
def test_no_order_of_outcomes_changes_what_is_learned_or_paid(seed, absurd, tmp_path):
    listed, rng = seed % 2 == 0, np.random.default_rng(seed)
    budget = Budget(usd_per_request=0.002)
    n = 120
    usd = HONEST_USD * rng.lognormal(0.0, 1.0, n) * np.where(rng.random(n) < absurd, 1_000.0, 1.0)
    reports = [(i, u, 0) for i, u in enumerate(usd.tolist())]
    reports += [(int(i), HONEST_USD, 1) for i in rng.choice(n, 10, replace=False)]
    tokens = [int(t) if rng.random() < 0.5 else None for t in rng.integers(1, 2_000, n)]
    router, other = (new_router(listed=listed, budget=budget) for _ in range(2))
    for each in (router, other):
        opened(each, n)
    for i, u, revision in sorted(reports, key=lambda r: (r[2], r[0])):
        report(router, i, u, tokens=tokens[i], revision=revision)
    for place in rng.permutation(len(reports)).tolist():
        i, u, revision = reports[place]
        report(other, i, u, tokens=tokens[i], revision=revision)
    assert_same_statistics(router, other)
    assert router.quarantine == other.quarantine
    assert [d.booked_usd for d in router.open_decisions()] == [d.booked_usd for d in other.open_decisions()]
    path = tmp_path / "router.npz"
    router.save(path)
    loaded = new_router(listed=listed, budget=budget)
    loaded.load(path)
    assert loaded.quarantine == router.quarantine
    for each in (router, loaded):
        opened(each, 30, first=n)
        for i in range(n, n + 30):
            report(each, i, 1_000.0 * HONEST_USD)
    assert_same_statistics(router, loaded)
    assert loaded.quarantine == router.quarantine


@pytest.mark.parametrize(("usual_s", "expected_s"), [(None, 10.0), (0.0, 0.001)])
def test_a_latency_in_doubt_is_compared_with_a_number_also_if_nothing_is_known(usual_s, expected_s):
    router = settled()
    opened(router, 42, first=60)
    for i in range(60, 100):
        report(router, i, HONEST_USD, latency_s=usual_s)
    report(router, 100, HONEST_USD, latency_s=1e6)
    (doubt,) = router.quarantine
    assert (doubt.quantity, doubt.value, doubt.expected) == ("latency", 1e6, expected_s)


def test_a_latency_in_milliseconds_is_named_and_not_learned():
    router = settled()
    opened(router, 42, first=60)
    for i in range(60, 100):
        report(router, i, HONEST_USD, latency_s=1.5)
    before = router.summary()["providers"]["small"]["latency_s"]
    late = Outcome(decision_id="100", served_provider="small", latency_s=1_500.0)
    assert router.implausible(late) == ("latency_s",)
    report(router, 100, HONEST_USD, latency_s=1_500.0)
    report(router, 101, HONEST_USD, latency_s=1_400.0)
    assert router.summary()["providers"]["small"]["latency_s"] == pytest.approx(before)
    (doubt,) = router.quarantine
    assert (doubt.quantity, doubt.likely_error, doubt.count) == ("latency", "ms for s", 2)
    router.close_before(101)
    report(router, 101, HONEST_USD, latency_s=1.4, revision=1)
    assert [doubt.count for doubt in router.quarantine] == [1]
