import math

import numpy as np
import pytest

from fairlead.optimizer.selection.pacer import CREDIT_REQUESTS, HORIZON, Pacer
from fairlead.optimizer.types import Budget

CHEAP, DEAR = 1e-4, 1e-2
DAY_S = 86_400.0


def per_request(usd=1e-3) -> Pacer:
    return Pacer(Budget(usd_per_request=usd))


def per_day(usd=10.0) -> Pacer:
    return Pacer(Budget(usd_per_day=usd))


def falling(scale):
    """Spend between a cheap and a dear provider, whose mixture moves around λ = 1 / scale."""
    return lambda price: CHEAP + (DEAR - CHEAP) / (1.0 + (price * scale) ** 1.5)


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("target", [2e-4, 1e-3, 5e-3])
def test_the_shadow_price_makes_the_expected_spend_meet_the_target(scale, target):
    pacer = per_request(target)
    first = pacer.update(falling(scale), least_usd=CHEAP)
    assert falling(scale)(first) == pytest.approx(target, rel=0.15)
    # The search goes on from where the last one ended.
    price = pacer.update(falling(scale), least_usd=CHEAP)
    assert falling(scale)(price) == pytest.approx(target, rel=0.01)
    assert pacer.shadow_price == price


@pytest.mark.parametrize("before", [1e-6, 1.0, 1e7])
def test_it_is_found_from_any_earlier_price(before):
    pacer = per_request()
    pacer.shadow_price = before
    pacer.update(falling(0.1), least_usd=CHEAP)
    assert falling(0.1)(pacer.update(falling(0.1), least_usd=CHEAP)) == pytest.approx(1e-3, rel=0.01)


def test_a_budget_that_does_not_bind_has_no_price():
    pacer = per_request(2 * DEAR)
    assert pacer.update(falling(1.0), least_usd=CHEAP) == 0.0


def test_less_than_the_cheapest_costs_is_not_asked_for():
    pacer = per_request(CHEAP / 10)
    price = pacer.update(falling(1.0), least_usd=CHEAP * 1.1)
    assert falling(1.0)(price) == pytest.approx(CHEAP * 1.1, rel=0.01)


def test_a_spend_that_no_price_lowers_ends_at_a_finite_price():
    price = per_request(1e-3).update(lambda price: DEAR, least_usd=CHEAP)
    assert math.isfinite(price) and price > 1.0


@pytest.mark.parametrize("edge", [0.3, 20.0, 4_000.0])
def test_a_step_is_bracketed(edge):
    def spend(price):
        return DEAR if price < edge else CHEAP

    pacer = per_request()
    pacer.update(spend, least_usd=CHEAP)
    price = pacer.update(spend, least_usd=CHEAP)
    assert spend(price / 1.5) == DEAR
    assert spend(price * 1.5) == CHEAP


def test_several_steps_are_solved_at_the_one_that_matters():
    def spend(price):
        return DEAR if price < 3.0 else 2e-3 if price < 50.0 else CHEAP

    price = per_request().update(spend, least_usd=CHEAP)
    assert spend(price / 1.5) > 1e-3 > spend(price * 1.5)


def test_the_account_takes_expectations_and_settles_real_costs():
    pacer = per_request(1e-3)
    pacer.request(2e-3, at_s=None)
    assert pacer.balance_usd == pytest.approx(-1e-3)
    pacer.spend(-1.5e-3)
    assert pacer.spent_usd == pytest.approx(5e-4)
    assert pacer.balance_usd == pytest.approx(5e-4)
    assert pacer.requests == 1


def test_a_debt_is_settled_over_the_horizon_within_limits():
    pacer = per_request(1e-3)
    pacer.spend(0.03)
    assert pacer.target_usd() == pytest.approx(1e-3 - 0.03 / HORIZON)
    pacer.spend(100.0)
    assert pacer.target_usd() == pytest.approx(2e-4)
    pacer.spend(-200.0)
    assert pacer.target_usd() == pytest.approx(2e-3)


def test_what_was_saved_long_ago_is_not_spent_in_one_go():
    pacer = per_request(1e-3)
    for _ in range(10_000):
        pacer.request(0.0, at_s=None)
    assert pacer.balance_usd == pytest.approx(CREDIT_REQUESTS * 1e-3)


@pytest.mark.parametrize("late", [0, 200])
@pytest.mark.parametrize("factor", [0.85, 1.0, 1.4])
def test_real_money_meets_the_budget_although_costs_are_misjudged_and_late(factor, late):
    rng = np.random.default_rng(1)
    pacer, unsettled, real = per_request(1e-3), [], []
    for step in range(4_000):
        if step % 25 == 0:
            pacer.update(falling(0.1), least_usd=CHEAP)
        expected = falling(0.1)(pacer.shadow_price)
        pacer.request(expected, at_s=None)
        real.append(factor * expected * rng.lognormal(-0.125, 0.5))
        unsettled.append(real[-1] - expected)
        if len(unsettled) > late:
            pacer.spend(unsettled.pop(0))
    # A debt or a surplus settles within the horizon, so only its first part is seen in the total.
    assert np.mean(real) == pytest.approx(1e-3, rel=0.06)
    assert np.mean(real[1_500:]) == pytest.approx(1e-3, rel=0.03)


def day_of(pacer, *, day, n, cost_at) -> float:
    spent = 0.0
    for i in range(n):
        cost = cost_at(pacer)
        pacer.request(cost, at_s=day * DAY_S + (i + 0.5) * DAY_S / n)
        spent += cost
    return spent


def test_a_daily_budget_is_spread_over_the_day_at_the_rate_of_traffic():
    pacer = per_day(10.0)
    spent = [day_of(pacer, day=day, n=2_000, cost_at=lambda p: p.target_usd()) for day in range(3)]
    for total in spent[1:]:
        assert total == pytest.approx(10.0, rel=0.02)
    assert spent[0] <= 10.0 * 1.001


def test_a_daily_budget_starts_anew_each_day():
    pacer = per_day(1.0)
    for i in range(10):
        pacer.request(0.2, at_s=100.0 * i)
    assert pacer.target_usd() == 0.0
    pacer.request(0.0, at_s=DAY_S + 1.0)
    assert pacer.target_usd() > 0.0


def test_a_daily_budget_without_times_is_spent_little_by_little():
    pacer = per_day(1.0)
    assert 0.0 < pacer.target_usd() <= 0.01
    for _ in range(2_000):
        pacer.request(pacer.target_usd(), at_s=None)
    assert pacer.spent_usd <= 1.0


def test_twice_the_traffic_gets_half_each():
    slow, fast = per_day(10.0), per_day(10.0)
    for i in range(100):
        slow.request(0.0, at_s=i * 10.0)
        fast.request(0.0, at_s=i * 5.0)
    assert fast.target_usd() == pytest.approx(slow.target_usd() / 2, rel=0.02)
