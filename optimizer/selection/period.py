"""Periods of budgets: the day, week or month that holds a time, in a zone with summer time.

Periods follow each other without gap or overlap, whatever a zone's clocks do: a period begins when the local
clock first shows its start, or jumps over it. With summer time a day has 23 or 25 hours.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from fairlead.optimizer.types import Budget

HOUR_S: Final = 3_600.0

LAST_S: Final = datetime(9998, 1, 1, tzinfo=UTC).timestamp()
"""Times beyond count as this one, since calendars end with the year 9999."""


class Period(NamedTuple):
    """One period of a budget, in seconds since 1970; the end belongs to the next one."""

    start_s: float
    end_s: float


def period_at(budget: Budget, at_s: float) -> Period:
    """Return the period that holds a time; the budget must have one."""
    at_s, zone = min(at_s, LAST_S), ZoneInfo(budget.time_zone)
    local = datetime.fromtimestamp(at_s, zone)
    # A repeated or skipped hour can put the local date off by one, so the neighbours are looked at too.
    first = _first_day(budget, local.date())
    while at_s < (start_s := _start_s(budget, first)):
        first = _first_day(budget, first - timedelta(days=1))
    while at_s >= (end_s := _start_s(budget, _next(budget, first))):
        first, start_s = _next(budget, first), end_s
    return Period(start_s, end_s)


def _first_day(budget: Budget, day: date) -> date:
    """Return the latest day, up to this one, on which a period starts."""
    if budget.period == "week":
        return day - timedelta(days=(day.isoweekday() - budget.start_day) % 7)
    if budget.period == "calendar_month":
        month = day if day.day >= budget.start_day else day.replace(day=1) - timedelta(days=1)
        return month.replace(day=budget.start_day)
    return day


def _next(budget: Budget, first: date) -> date:
    if budget.period == "calendar_month":
        return (first.replace(day=1) + timedelta(days=32)).replace(day=budget.start_day)
    return first + timedelta(days=7 if budget.period == "week" else 1)


def _start_s(budget: Budget, day: date) -> float:
    zone = ZoneInfo(budget.time_zone)
    # Of a repeated hour the first counts; an hour that is skipped is read by the offset before the jump,
    # which is the moment of the jump if the period starts with the skipped hour.
    return datetime(day.year, day.month, day.day, budget.start_hour, tzinfo=zone).timestamp()


def time_text(at_s: float, time_zone: str) -> str:
    """Return a time for people, as the zone's clocks show it."""
    local = datetime.fromtimestamp(min(at_s, LAST_S), ZoneInfo(time_zone))
    return f"{local:%Y-%m-%d %H:%M} ({time_zone})"


@lru_cache(maxsize=64)
def hour_slots(zone_name: str, start_s: float, end_s: float) -> tuple[int, ...]:
    """Return the local hour of the week, 0 for Monday at midnight, of each hour from start to end."""
    zone = ZoneInfo(zone_name)
    count = max(int(-((start_s - end_s) // HOUR_S)), 0)
    return tuple(hour_slot(zone, start_s + HOUR_S * i) for i in range(count))


def hour_slot(zone: ZoneInfo, at_s: float) -> int:
    """Return the local hour of the week of a time, 0 for Monday at midnight, 167 for the last of Sunday."""
    local = datetime.fromtimestamp(min(at_s, LAST_S), zone)
    return local.weekday() * 24 + local.hour


def hour_start(zone: ZoneInfo, at_s: float) -> float:
    """Return the time at which the local hour that holds this time began."""
    whole_s = min(at_s, LAST_S) // 1.0
    local = datetime.fromtimestamp(whole_s, zone)
    return whole_s - (local.minute * 60 + local.second)
