import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.optimizer.selection.traffic import SWING, WEEKEND, Traffic

HOUR_S, DAY_S = 3_600.0, 86_400.0
MONDAY_S = 1_767_571_200.0


def play(traffic, counts, *, from_s=MONDAY_S) -> None:
    """Send so many requests in each hour, evenly."""
    for hour, count in enumerate(counts):
        for i in range(count):
            traffic.record(from_s + (hour + (i + 0.5) / count) * HOUR_S)


def rest_of_day(traffic, at_s) -> float:
    return traffic.remaining(at_s, at_s // DAY_S * DAY_S + DAY_S)


def test_tomorrow_is_expected_to_be_as_today():
    traffic = Traffic("UTC")
    counts = [10 * (hour + 1) for hour in range(24)]
    play(traffic, [*counts, 10])
    expected = rest_of_day(traffic, MONDAY_S + DAY_S + HOUR_S - 1e-3)
    assert expected == pytest.approx(sum(counts[1:]), rel=0.01)


def test_a_weekend_that_was_never_seen_has_fewer_requests():
    traffic = Traffic("UTC")
    play(traffic, [50] * 24 * 5)
    friday_s = MONDAY_S + 5 * DAY_S - 1.0
    assert traffic.remaining(friday_s, friday_s + DAY_S + 1.0) == pytest.approx(24 * 50 * WEEKEND, rel=0.05)


def test_a_weekday_of_its_own_is_learned_over_the_weeks():
    traffic = Traffic("UTC")
    week = [200 if day == 2 else 20 for day in range(7) for _ in range(24)]
    play(traffic, [*week, *week, *week])
    tuesday_s = MONDAY_S + 22 * DAY_S
    play(traffic, [20] * 24 + [20, 2], from_s=tuesday_s - DAY_S)
    wednesday = traffic.remaining(tuesday_s + HOUR_S, tuesday_s + 2 * DAY_S) - rest_of_day(
        traffic, tuesday_s + HOUR_S
    )
    assert wednesday > 3 * 24 * 20


def test_growth_is_followed_within_the_day_and_one_busy_hour_is_not_extrapolated():
    grown, busy = Traffic("UTC"), Traffic("UTC")
    for traffic, today in ((grown, [150] * 12), (busy, [100] * 11 + [1_000])):
        play(traffic, [100] * 24)
        play(traffic, today, from_s=MONDAY_S + DAY_S)
    noon_s = MONDAY_S + 1.5 * DAY_S - 1.0
    assert 1.2 * 1_200 < rest_of_day(grown, noon_s) < 1.5 * 1_200
    # A rush is expected to last for one more hour, and to say little of the rest of the day.
    assert rest_of_day(busy, noon_s) < 1_200 * 1.15 + 1_000


def test_a_day_is_judged_against_its_own_expectation_not_that_of_busier_days():
    traffic = Traffic("UTC")
    saturday_s = MONDAY_S + 5 * DAY_S
    play(traffic, [100] * 24 * 5 + [20] * 6)
    shown, hoped, shrinkage = 6 * 20, 6 * 40, 0.05 * 24 * 40
    expected = 18 * 40 * (shown + shrinkage) / (hoped + shrinkage)
    # The sixth hour is open until a request lies outside of it.
    assert rest_of_day(traffic, saturday_s + 6 * HOUR_S - 1e-3) == pytest.approx(expected, rel=0.01)


def test_a_first_day_that_starts_at_nine_is_an_office_and_one_at_midnight_goes_on():
    office, always = Traffic("UTC"), Traffic("UTC")
    play(office, [0] * 9 + [100] * 7)
    assert 100 < rest_of_day(office, MONDAY_S + 16 * HOUR_S) < 300
    play(always, [100] * 16)
    assert rest_of_day(always, MONDAY_S + 16 * HOUR_S) == pytest.approx(800, rel=0.3)


@pytest.mark.parametrize("first", [15, 17, 23])
def test_who_starts_in_the_evening_is_no_office_that_closes_in_the_night(first):
    traffic, shape = Traffic("UTC"), 1.0 - SWING * np.cos(2.0 * np.pi * (np.arange(24) - 2) / 24)
    seen = [*range(first, 24), 0]
    play(traffic, [0] * first + [100] * len(seen))
    coming = np.ones(24)
    if first == 15:
        # Eight hours end at 23; each hour beyond them doubles what is expected of the hours of the night.
        coming[(np.arange(24) - first) % 24 >= 8] = 0.15 * 2.0 ** (len(seen) - 8)
    unknown = 100 * len(seen) / shape[seen].sum() * (shape * coming)[1:first].sum()
    expected = unknown + 100 * (24 - first)
    assert rest_of_day(traffic, MONDAY_S + DAY_S + HOUR_S - 1e-3) == pytest.approx(expected, rel=0.01)


def test_one_clock_that_is_wrong_moves_nothing():
    traffic, wrong = Traffic("UTC"), Traffic("UTC")
    for each in (traffic, wrong):
        play(each, [100] * 30)
    wrong.record(MONDAY_S + 3_000 * DAY_S)
    wrong.record(MONDAY_S + 30 * HOUR_S - 1.0)
    wrong.record(0.0)
    at_s = MONDAY_S + 30 * HOUR_S - 0.5
    assert rest_of_day(wrong, at_s) == pytest.approx(rest_of_day(traffic, at_s), rel=0.02)


def test_a_month_of_silence_does_not_teach_that_nothing_comes():
    traffic = Traffic("UTC")
    play(traffic, [100] * 48)
    later_s = MONDAY_S + 35 * DAY_S
    play(traffic, [100], from_s=later_s)
    assert rest_of_day(traffic, later_s + HOUR_S) > 1_500


def test_a_night_in_a_zone_is_that_of_its_clocks_before_and_after_a_change():
    zone = "Europe/Berlin"
    traffic = Traffic(zone)
    friday_s = 1_774_566_000.0  # 27 March 2026, midnight in Berlin; clocks change on Sunday
    office = ([0] * 9 + [100] * 8 + [0] * 7) * 5
    play(traffic, office[:53], from_s=friday_s)
    sunday_end_s = friday_s + 3 * DAY_S - HOUR_S
    play(traffic, office[52:], from_s=friday_s + 51 * HOUR_S)
    eight = sunday_end_s + 8 * HOUR_S
    assert traffic.remaining(eight + HOUR_S, eight + 9 * HOUR_S) > 400


@settings(max_examples=50, deadline=None)
@given(
    times=st.lists(st.floats(0.0, 1e12), min_size=1, max_size=60),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/Sao_Paulo", "Australia/Lord_Howe"]),
)
def test_any_clock_gives_a_finite_forecast_and_the_same_after_a_restart(times, zone):
    traffic, other = Traffic(zone, start_hour=5), Traffic(zone, start_hour=5)
    for at_s in times:
        traffic.record(at_s)
        expected = traffic.remaining(at_s, min(at_s, 2.533e11) + 31 * DAY_S)
        assert np.isfinite(expected) and expected >= 0.0
    other.restore(traffic.state())
    at_s = min(times[-1], 2.5e11)
    assert other.remaining(at_s, at_s + DAY_S) == traffic.remaining(at_s, at_s + DAY_S)
