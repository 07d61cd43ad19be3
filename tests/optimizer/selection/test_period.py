from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimizer.selection.period import LAST_S, hour_slot, hour_slots, hour_start, period_at
from fairlead.optimizer.types import Budget

ZONES = (
    "UTC", "Europe/Berlin", "Africa/Cairo", "America/Sao_Paulo", "Asia/Beirut", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Pacific/Apia", "America/Havana", "Atlantic/Azores",
)  # fmt: skip
HOUR_S, DAY_S = 3_600.0, 86_400.0


def at(zone, *moment, fold=0) -> float:
    return datetime(*moment, tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def day(zone="UTC", **more) -> Budget:
    return Budget(usd_per_day=1.0, time_zone=zone, **more)


def test_a_day_begins_at_its_hour_in_its_zone():
    period = period_at(day("Asia/Kathmandu", start_hour=6), at("Asia/Kathmandu", 2026, 5, 4, 5, 59))
    assert period == (at("Asia/Kathmandu", 2026, 5, 3, 6), at("Asia/Kathmandu", 2026, 5, 4, 6))


@pytest.mark.parametrize(
    ("zone", "moment", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 29, 12), 23),
        ("Europe/Berlin", (2026, 10, 25, 12), 25),
        ("America/Sao_Paulo", (2018, 11, 4, 12), 23),  # midnight is skipped
        ("America/Sao_Paulo", (2019, 2, 16, 23), 25),  # the hour before midnight comes twice
        ("Asia/Beirut", (2024, 3, 31, 12), 23),
        ("Africa/Cairo", (2024, 4, 26, 12), 23),
        ("Africa/Cairo", (2024, 10, 31, 12), 25),
        ("Australia/Lord_Howe", (2026, 4, 5, 12), 24.5),
    ],
)
def test_days_of_a_change_of_clocks_have_other_lengths(zone, moment, hours):
    period = period_at(day(zone), at(zone, *moment))
    assert (period.end_s - period.start_s) / HOUR_S == hours
    assert period_at(day(zone), period.start_s) == period
    assert period_at(day(zone), period.start_s - 1.0).end_s == period.start_s


def test_both_passes_of_a_repeated_hour_before_midnight_are_of_the_same_day():
    zone = "America/Sao_Paulo"
    first = period_at(day(zone), at(zone, 2019, 2, 16, 23, 30))
    assert first == period_at(day(zone), at(zone, 2019, 2, 16, 23, 30, fold=1))
    assert first.end_s == at(zone, 2019, 2, 17)


def test_a_day_that_a_zone_left_out_has_no_period():
    zone = "Pacific/Apia"  # there was no 30 December 2011
    last = period_at(day(zone), at(zone, 2011, 12, 29, 12))
    assert last.end_s - last.start_s == DAY_S
    assert period_at(day(zone), last.end_s) == (at(zone, 2011, 12, 31), at(zone, 2012, 1, 1))


def test_weeks_and_months_begin_on_their_day():
    week = Budget(usd=1.0, window="week", start_day=7, time_zone="Europe/Berlin")
    assert period_at(week, at("Europe/Berlin", 2026, 3, 25, 3)) == (
        at("Europe/Berlin", 2026, 3, 22),
        at("Europe/Berlin", 2026, 3, 29),
    )
    month = Budget(usd=1.0, window="calendar_month", start_day=28, start_hour=9)
    assert period_at(month, at("UTC", 2026, 1, 28, 8, 59)) == (
        at("UTC", 2025, 12, 28, 9),
        at("UTC", 2026, 1, 28, 9),
    )
    assert period_at(month, at("UTC", 2026, 2, 28, 9)).end_s == at("UTC", 2026, 3, 28, 9)
    assert period_at(Budget(usd=1.0, window="calendar_month"), at("UTC", 2024, 2, 29)).end_s == at(
        "UTC", 2024, 3, 1
    )


@given(
    zone=st.sampled_from(ZONES),
    window=st.sampled_from(["day", "week", "calendar_month"]),
    at_s=st.floats(0.0, 4e9),
    start_hour=st.integers(0, 23),
)
def test_periods_hold_their_times_and_follow_each_other(zone, window, at_s, start_hour):
    budget = Budget(usd=1.0, window=window, time_zone=zone, start_hour=start_hour)
    period = period_at(budget, at_s)
    assert period.start_s <= at_s < period.end_s
    assert period_at(budget, period.end_s).start_s == period.end_s
    assert period_at(budget, period.start_s) == period
    least = {"day": 0.9, "week": 5.9, "calendar_month": 26.9}[window]
    assert least * DAY_S <= period.end_s - period.start_s <= 33 * DAY_S


def test_a_clock_beyond_all_calendars_is_no_fault():
    period = period_at(day(), 1e12)
    assert period.start_s <= LAST_S < period.end_s
    assert 0 <= hour_slot(ZoneInfo("UTC"), 1e12) < 168


def test_hours_carry_their_local_place_in_the_week():
    zone = "Asia/Kathmandu"
    monday = at(zone, 2026, 5, 4)
    assert hour_slots(zone, monday, monday + 3 * HOUR_S) == (0, 1, 2)
    assert hour_slot(ZoneInfo(zone), monday - 1.0) == 167
    assert hour_start(ZoneInfo(zone), monday + 1_234.5) == monday
