import math

import numpy as np
import pytest

from fairlead.optimizer.selection.pacer import CREDIT_REQUESTS, HORIZON, TOLERANCE, Pacer
from fairlead.optimizer.types import Budget

CHEAP, DEAR = 1e-4, 1e-2
DAY_S, HOUR_S = 86_400.0, 3_600.0
MONDAY_S = 1_767_571_200.0


def per_request(usd=1e-3) -> Pacer:
    return Pacer(Budget(usd_per_request=usd))


def per_day(usd=10.0) -> Pacer:
    return Pacer(Budget(usd_per_day=usd))


def falling(scale):
    """Spend between a cheap and a dear provider, whose mixture moves around λ = 1 / scale."""
    return lambda price: CHEAP + (DEAR - CHEAP) / (1.0 + (price * scale) ** 1.5)


def keeps_to(target, spend):
    return target * (1.0 - 1e-9) <= spend <= target * (1.0 + TOLERANCE)


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("target", [2e-4, 1e-3, 5e-3])
def test_the_shadow_price_makes_the_expected_spend_meet_the_target(scale, target):
    pacer = per_request(target)
    first = pacer.update(falling(scale), least_usd=CHEAP)
    assert falling(scale)(first) == pytest.approx(target, rel=0.15)
    # The search goes on from where the last one ended.
    price = pacer.update(falling(scale), least_usd=CHEAP)
    assert keeps_to(target, falling(scale)(price))
    assert pacer.shadow_price == price


@pytest.mark.parametrize("before", [1e-6, 1.0, 1e7])
def test_it_is_found_from_any_earlier_price(before):
    pacer = per_request()
    pacer.shadow_price = before
    pacer.update(falling(0.1), least_usd=CHEAP)
    assert keeps_to(1e-3, falling(0.1)(pacer.update(falling(0.1), least_usd=CHEAP)))


def test_a_budget_that_does_not_bind_has_no_price():
    pacer = per_request(2 * DEAR)
    assert pacer.update(falling(1.0), least_usd=CHEAP) == 0.0


def test_a_budget_that_is_spent_has_a_finite_price_where_the_cheapest_is_free():
    pacer = per_day(1e-3)
    pacer.request(1.0, at_s=MONDAY_S)
    assert pacer.target_usd() == 0.0
    assert math.isfinite(pacer.update(lambda price: 0.01 / (1.0 + price), least_usd=0.0))
    assert pacer.update(lambda price: 0.0, least_usd=0.0) == pytest.approx(pacer.shadow_price)


def test_less_than_the_cheapest_costs_is_not_asked_for():
    pacer = per_request(CHEAP / 10)
    price = pacer.update(falling(1.0), least_usd=CHEAP * 1.1)
    assert keeps_to(CHEAP * 1.1, falling(1.0)(price))


def test_a_saving_within_the_tolerance_is_not_bought_with_a_higher_price():
    """Two providers cost the same within .3 %; a third, which is dear, is left out from λ = 1,000 on."""

    def spend(price):
        return CHEAP * (1.0 + 0.003 / (1.0 + price / 1e6) + 2.0 / (1.0 + (price / 300.0) ** 4))

    pacer = per_request(CHEAP)
    for before in (1.0, 1e8):
        pacer.shadow_price = before
        pacer.update(spend, least_usd=CHEAP)
        price = pacer.update(spend, least_usd=CHEAP)
        assert keeps_to(CHEAP, spend(price))
        assert 900.0 < price < 1_300.0


def test_a_spend_that_no_price_lowers_ends_at_a_finite_price():
    price = per_request(1e-3).update(lambda price: DEAR, least_usd=CHEAP)
    assert math.isfinite(price) and price > 0.0


def test_where_no_price_keeps_to_the_target_the_least_that_one_can_spend_is_the_target():
    pacer = per_request(CHEAP)
    for _ in range(2):
        pacer.update(lambda price: 3.0 * falling(0.1)(price), least_usd=CHEAP)
    assert keeps_to(3.0 * CHEAP, 3.0 * falling(0.1)(pacer.shadow_price))


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
    pacer.spend(-1.5e-3, at_s=None)
    assert pacer.spent_usd == pytest.approx(5e-4)
    assert pacer.balance_usd == pytest.approx(5e-4)
    assert pacer.requests == 1


def test_a_debt_is_settled_over_the_horizon_within_limits():
    pacer = per_request(1e-3)
    pacer.spend(0.03, at_s=None)
    assert pacer.target_usd() == pytest.approx(1e-3 - 0.03 / HORIZON)
    pacer.spend(100.0, at_s=None)
    assert pacer.target_usd() == pytest.approx(2e-4)
    pacer.spend(-200.0, at_s=None)
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
            pacer.spend(unsettled.pop(0), at_s=None)
    # A debt or a surplus settles within the horizon, so only its first part is seen in the total.
    assert np.mean(real) == pytest.approx(1e-3, rel=0.06)
    assert np.mean(real[1_500:]) == pytest.approx(1e-3, rel=0.03)


def test_a_debt_beyond_the_horizon_is_forgotten_with_the_next_request():
    pacer = per_request(1e-3)
    pacer.spend(10.0, at_s=None)
    pacer.request(0.0, at_s=None)
    assert pacer.balance_usd == pytest.approx(-(HORIZON - 1) * 1e-3)
    for _ in range(400):
        pacer.request(0.2e-3, at_s=None)
    assert pacer.target_usd() == pytest.approx(1e-3, rel=0.1)


def even(hour):
    return 1.0


def night(hour):
    return 1.0 + 0.9 * math.sin(math.pi * (hour - 8) / 12)


def rush(hour):
    return 10.0 if int(hour) == 14 else 1.0


def office(hour):
    return float(9 <= hour < 17)


def play(pacer, shape, *, day, n=1_000) -> tuple[float, list[float]]:
    """Spend the target on each request of a day; returns what that cost and the targets, by hour."""
    weights = [shape(hour + 0.5) for hour in range(24)]
    spent, targets = 0.0, [0.0] * 24
    for hour in range(24):
        count = round(n * weights[hour] / sum(weights))
        for i in range(count):
            cost = pacer.target_usd()
            pacer.request(cost, at_s=MONDAY_S + day * DAY_S + (hour + (i + 0.5) / count) * HOUR_S)
            spent += cost
            targets[hour] += cost / count
    return spent, targets


@pytest.mark.parametrize(("shape", "first"), [(even, 0.9), (night, 0.9), (rush, 0.9), (office, 0.85)])
def test_a_budget_per_day_is_used_up_whenever_requests_come(shape, first):
    pacer = per_day(10.0)
    spent = [play(pacer, shape, day=day)[0] for day in range(3)]
    assert 10.0 * first <= spent[0] <= 10.0 * 1.001
    assert spent[1:] == pytest.approx([10.0, 10.0], rel=0.02)


@pytest.mark.parametrize("shape", [even, night, rush, office])
def test_money_is_worth_the_same_at_every_hour_from_the_second_day_on(shape):
    pacer = per_day(10.0)
    for day in range(3):
        _, targets = play(pacer, shape, day=day)
        # The first request of a day is paid by the day before, and the last hour divides the rest by few.
        shown = [target for target in targets[1:-1] if target]
        if day:
            assert max(shown) / min(shown) < 1.15


def test_a_budget_per_day_starts_anew_each_day_and_not_when_a_clock_jumps_back():
    pacer = per_day(1.0)
    for i in range(10):
        pacer.request(0.2, at_s=MONDAY_S + 100.0 * i)
    assert pacer.target_usd() == 0.0
    pacer.request(0.3, at_s=MONDAY_S + DAY_S)
    assert pacer.target_usd() > 0.0
    pacer.request(0.0, at_s=MONDAY_S + DAY_S - 5.0)
    assert pacer.target_usd() == 0.0
    assert pacer.left_usd(MONDAY_S) == pytest.approx(-1.0)
    assert pacer.left_usd(MONDAY_S + DAY_S) == pytest.approx(0.7)


def test_a_clock_that_jumps_far_ahead_and_back_neither_starves_nor_floods():
    pacer = per_day(10.0)
    for day in range(2):
        play(pacer, even, day=day)
    noon_s = MONDAY_S + 2 * DAY_S + 12 * HOUR_S
    for i in range(500):
        pacer.request(pacer.target_usd(), at_s=noon_s - 12 * HOUR_S + i * 86.4)
    before, left_usd = pacer.target_usd(), pacer.left_usd(noon_s)
    for years in (1, 30):
        pacer.request(0.01, at_s=noon_s + years * 365 * DAY_S)
    pacer.request(0.01, at_s=noon_s)
    assert pacer.target_usd() == pytest.approx(before, rel=0.05)
    assert pacer.left_usd(noon_s) == pytest.approx(left_usd - 0.01)


def test_a_night_without_requests_is_not_owed():
    pacer = per_day(1.0)
    for i in range(200):
        pacer.request(pacer.target_usd(), at_s=MONDAY_S + 9 * HOUR_S + i * 144.0)
    spent_usd = 1.0 - pacer.left_usd(MONDAY_S)
    assert 0.8 <= spent_usd <= 1.0
    for i in range(200):
        pacer.request(pacer.target_usd(), at_s=MONDAY_S + DAY_S + 6 * HOUR_S + i * 144.0)
    assert pacer.left_usd(MONDAY_S + DAY_S) >= 0.0


def test_before_any_request_money_is_given_little_by_little():
    assert 0.0 < per_day(1.0).target_usd() <= 0.01


def test_another_limit_window_or_zone_keeps_what_was_spent():
    pacer = per_day(1.0)
    for i in range(48):
        pacer.request(0.03, at_s=MONDAY_S + i * HOUR_S)
    noon_s = MONDAY_S + DAY_S + 12 * HOUR_S
    pacer.change(Budget(usd_per_day=1.01))
    assert pacer.left_usd(noon_s) == pytest.approx(1.01 - 24 * 0.03)
    pacer.change(Budget(usd=5.0, window="week"))
    assert pacer.left_usd(noon_s) == pytest.approx(5.0 - 48 * 0.03)
    pacer.change(Budget(usd_per_day=1.0, start_hour=6))
    assert pacer.left_usd(noon_s) == pytest.approx(1.0 - 18 * 0.03)
    pacer.change(Budget(usd_per_day=1.0, time_zone="Asia/Tokyo"))
    assert pacer.left_usd(noon_s) == pytest.approx(1.0 - 24 * 0.03)
    pacer.change(Budget(usd_per_request=1.0))
    pacer.change(Budget(usd_per_day=1.0))
    assert pacer.left_usd(noon_s) == pytest.approx(1.0 - 24 * 0.03)


def test_a_late_cost_is_booked_to_the_day_of_its_decision():
    pacer = per_day(1.0)
    pacer.request(0.1, at_s=MONDAY_S)
    pacer.request(0.1, at_s=MONDAY_S + DAY_S)
    pacer.spend(0.4, at_s=MONDAY_S)
    assert pacer.left_usd(MONDAY_S) == pytest.approx(0.5)
    assert pacer.left_usd(MONDAY_S + DAY_S) == pytest.approx(0.9)


def test_each_level_alarms_once_in_a_period():
    pacer = per_day(1.0)
    for usd in (0.5, 0.31, -0.2, 0.5, 0.2, 0.01):
        pacer.spend(usd, at_s=MONDAY_S)
    assert not pacer.alarms
    pacer.request(0.0, at_s=MONDAY_S)
    for usd in (0.0, -0.5, 0.5, 0.01):
        pacer.spend(usd, at_s=MONDAY_S + 1.0)
    assert [(alarm.reason, alarm.level) for alarm in pacer.alarms] == [
        ("spent", 0.8),
        ("spent", 1.0),
        ("spent", 1.2),
    ]
    assert {(alarm.start_s, alarm.end_s) for alarm in pacer.alarms} == {(MONDAY_S, MONDAY_S + DAY_S)}
    pacer.request(0.9, at_s=MONDAY_S + DAY_S)
    assert len(pacer.alarms) == 4
    # More money: the level is passed again under the new limit.
    pacer.change(Budget(usd_per_day=10.0))
    pacer.request(8.0, at_s=MONDAY_S + DAY_S)
    assert [alarm.limit_usd for alarm in pacer.alarms] == [1.0, 1.0, 1.0, 1.0, 10.0]


def levels(pacer) -> list[float | None]:
    return [alarm.level for alarm in pacer.alarms]


def test_small_changes_of_a_limit_raise_no_alarm_again():
    pacer = per_day(1.0)
    pacer.request(0.805, at_s=MONDAY_S)
    for limit in (1.01, 1.2, 1.01, 1.0):
        pacer.change(Budget(usd_per_day=limit))
        pacer.request(0.001, at_s=MONDAY_S)
    assert levels(pacer) == [0.8]
    pacer.change(Budget(usd_per_day=0.5))
    pacer.request(0.0, at_s=MONDAY_S)
    assert levels(pacer) == [0.8, 1.0, 1.2]
    # $.809 are spent: of $1.1 that is less than .8 of the limit, but not less than .8 of the first level.
    pacer.change(Budget(usd_per_day=1.1))
    pacer.request(0.3, at_s=MONDAY_S)
    assert levels(pacer) == [0.8, 1.0, 1.2, 1.0]


def test_that_all_are_too_dear_is_said_again_if_a_raise_does_not_help():
    pacer = per_day(1.0)
    said = []
    for limit in (1.0, 1.01, 1.2, 1.26, 1.0):
        pacer.change(Budget(usd_per_day=limit))
        for i in range(40):
            pacer.request(0.0001, at_s=MONDAY_S + i * 60.0)
        pacer.adopt(1.0, mean_usd=0.05, least_usd=0.05)
        said.append(len(pacer.alarms))
    assert said == [1, 1, 1, 2, 2]


def test_providers_that_are_all_too_dear_are_said_before_the_money_is_gone():
    pacer = per_day(1.0)
    for i in range(60):
        pacer.request(0.005, at_s=MONDAY_S + i * 60.0)
        pacer.adopt(1.0, mean_usd=0.005, least_usd=0.005)
    (alarm,) = pacer.alarms
    assert (alarm.reason, alarm.cheapest_usd) == ("too_dear", 0.005)
    assert alarm.spent_usd < 0.2
    per_call = per_request(1e-3)
    for least in (9e-4, 2e-3, 2e-3, 9e-4, 2e-3):
        for _ in range(40):
            per_call.request(least, at_s=None)
        per_call.adopt(1.0, mean_usd=least, least_usd=least)
    assert [alarm.reason for alarm in per_call.alarms] == ["too_dear", "too_dear"]


def test_a_restored_pacer_goes_on_alike():
    pacer, other = per_day(10.0), per_day(10.0)
    for i in range(700):
        pacer.request(0.02, at_s=MONDAY_S + i * 200.0)
        pacer.adopt(1.0 + i, mean_usd=0.02, least_usd=0.01)
    other.restore(pacer.state())
    for each in (pacer, other):
        each.request(0.02, at_s=MONDAY_S + 701 * 200.0)
        each.spend(0.5, at_s=MONDAY_S)
    assert pacer.alarms == other.alarms
    assert pacer.target_usd() == other.target_usd()
    assert all(
        np.array_equal(array, other.state()[name], equal_nan=array.dtype == np.float64)
        for name, array in pacer.state().items()
    )
