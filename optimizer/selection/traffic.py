"""The profile of traffic: how many requests are still to come in a period, by local hour and weekday.

It is learned from the requests themselves. At first it is seasonal and naive: an hour will be as the same
hour was yesterday, a weekend that was never seen as a weekday with fewer requests. Later each hour of the
week has its own mean over the weeks. Within a day the profile is scaled by what came so far against what was
expected, shrunk towards 1 by a quarter of what that day should bring, so that growth and holidays are
followed and one busy hour is not extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from fairlead.optimizer.selection.period import HOUR_S, LAST_S, hour_slot, hour_slots, hour_start
from fairlead.optimizer.types.arrays import FloatArray, State

NEWEST: Final = 0.5
"""Weight of the newest day or week in the mean of an hour."""

WEEKEND: Final = 0.4
"""Share of a weekday's requests that is expected of a weekend that was never seen."""

WORKING_HOURS: Final = 8.0
"""Length of the first day if it does not begin with the period: who starts at nine is taken for an office.
Who starts so late that such a day would end after midnight is not."""

AFTER_HOURS: Final = 0.15
"""Share of the mean rate that is expected of hours of which nothing is known. It doubles with each hour for
which requests go on after a first day's working hours."""

MOST_OF_AN_HOUR: Final = 2.0
"""No hour counts for more than this multiple of what was expected of it when the day's level is judged."""

SHRINKAGE: Final = (0.05, 0.25)
"""Evidence that the level is 1, in shares of what the day is expected to bring: of a kind of day never seen
before, and of one that was."""

LONGEST_GAP_S: Final = 7 * 24 * HOUR_S
"""A silence that is longer says nothing about traffic: the route was not in use, or the clock was wrong."""

SWING: Final = 0.4
"""How much more than the mean is expected of the early afternoon, and less of the small hours, while nothing
is known of a day: most services have a night, and one that starts at midnight sees the bottom of it first."""

_FIRST_S: Final = 10.0
"""Seconds that one request stands for while there is no other."""

_WEEKEND_FROM: Final = 5 * 24
_DAY_SHAPE: Final = 1.0 - SWING * np.cos(2.0 * np.pi * (np.arange(24) - 2) / 24)


class Traffic:
    """Requests by local hour, and the forecast that follows from them; days begin at ``start_hour``."""

    def __init__(self, time_zone: str, *, start_hour: int = 0) -> None:
        self._zone_name, self._zone, self._start_hour = time_zone, ZoneInfo(time_zone), start_hour
        self._week: FloatArray = np.full(168, np.nan)
        """Mean requests of each hour of the week; NaN if it was never seen."""
        self._days: FloatArray = np.full((2, 24), np.nan)
        """Mean requests of each hour of weekdays and of weekends."""
        self._rates: FloatArray = np.full(168, np.nan)
        self._first_s = math.nan
        """When the first request came."""
        self._hour_s = math.nan
        """When the open hour began."""
        self._seen_s = math.nan
        """Since when the open hour is watched."""
        self._requests = 0
        """Requests since the first one."""
        self._slot = 0
        self._count = 0
        self._before = (0.0, 0.0)
        """Requests of the hour before the open one, and how many were expected."""
        self._level = (0.0, 0.0)
        """Requests of the day so far in hours of a known rate, and how many were expected."""
        self._unknown = (0.0, 0.0)
        """Requests of the day so far in hours of an unknown rate, and the number of those hours."""
        self._day = -1
        self._is_new_kind = True
        """Whether no day of the kind of today, weekday or weekend, was seen before."""
        self._away = 0
        """Requests in a row that lie outside of the open hour."""

    def record(self, at_s: float) -> bool:
        """Count a request; returns whether another hour has begun, so that the forecast has changed.

        An hour ends with the second request in a row outside of it: one clock that is wrong moves nothing.
        """
        at_s = min(at_s, LAST_S)
        self._requests += 1
        if self._hour_s <= at_s < self._hour_s + HOUR_S:
            self._count += 1
            self._away = 0
            return False
        if not math.isnan(self._hour_s):
            self._away += 1
            if self._away < 2:
                return False
            self._leave(hour_start(self._zone, at_s))
        else:
            self._first_s = at_s
        self._open(at_s)
        return True

    def _open(self, at_s: float) -> None:
        self._hour_s, self._slot = hour_start(self._zone, at_s), hour_slot(self._zone, at_s)
        self._seen_s = max(self._hour_s, min(self._first_s, self._hour_s + HOUR_S))
        self._count, self._away = 1 + (self._away > 1), 0
        self._enter_day(self._slot)

    def _leave(self, next_s: float) -> None:
        """Learn from the open hour and from the silent ones up to ``next_s``, unless the clock went back."""
        end_s = self._hour_s + HOUR_S
        if next_s < end_s or next_s - end_s > LONGEST_GAP_S:
            self._before = (0.0, 0.0)
            return
        watched = (end_s - self._seen_s) / HOUR_S
        if watched >= 0.5:
            self._learn(self._slot, self._count / watched)
        for slot in hour_slots(self._zone_name, end_s, next_s):
            self._enter_day(slot)
            self._learn(slot, 0.0)

    def _enter_day(self, slot: int) -> None:
        day = (slot - self._start_hour) % 168 // 24
        if day != self._day:
            self._day = day
            self._level = self._unknown = (0.0, 0.0)
            self._is_new_kind = bool(np.isnan(self._days[_kind(slot)]).all())

    def _learn(self, slot: int, count: float) -> None:
        expected = float(self._rates[slot])
        if math.isnan(expected):
            self._unknown = (self._unknown[0] + count, self._unknown[1] + 1.0)
            self._before = (0.0, 0.0)
        else:
            counted = min(count, MOST_OF_AN_HOUR * expected)
            self._level = (self._level[0] + counted, self._level[1] + expected)
            self._before = (count, expected)
        for means, index in ((self._week, slot), (self._days[_kind(slot)], slot % 24)):
            old = means[index]
            means[index] = count if math.isnan(old) else old + NEWEST * (count - old)
        self._rates = _rates(self._week, self._days)

    def is_new(self, at_s: float) -> bool:
        """Whether less than a day of traffic is known."""
        return not at_s - self._first_s >= 24 * HOUR_S

    def remaining(self, at_s: float, end_s: float) -> float:
        """Return how many requests are expected from ``at_s`` until ``end_s``."""
        at_s = min(at_s, end_s)
        hour_s, slot, count = self._hour_s, self._slot, self._count
        if not hour_s <= at_s < hour_s + HOUR_S:
            hour_s, slot, count = hour_start(self._zone, at_s), hour_slot(self._zone, at_s), 0
        ahead = hour_slots(self._zone_name, hour_s + HOUR_S, end_s)
        slots = np.array((slot, *ahead), dtype=np.intp)
        rates = self._rates[slots]
        unknown = np.isnan(rates)
        elapsed = (at_s - hour_s) / HOUR_S
        rates[unknown] = self._guess(at_s, slots)[unknown]
        today = (self._start_hour - slot - 1) % 24 + 1
        coming = float(rates[:today][~unknown[:today]].sum())
        level = self._day_level(0.0 if unknown[0] else float(rates[0]) * elapsed, count, coming=coming)
        rates[:today][~unknown[:today]] *= level
        lengths = np.ones(len(slots))
        lengths[-1] = (end_s - hour_s) / HOUR_S - (len(slots) - 1)
        lengths[0] = min(1.0, (end_s - hour_s) / HOUR_S) - elapsed
        total = float(rates @ lengths)
        if not unknown[0]:
            total += self._excess(count, elapsed, float(rates[0])) * min((end_s - at_s) / HOUR_S, 1.0)
        return total

    def _day_level(self, expected: float, count: int, *, coming: float) -> float:
        """Return by how much more is going on today than was expected of it.

        ``expected`` and ``count`` are of the open hour so far; ``coming`` is expected of all of it and of the
        rest of the day.
        """
        shown, hoped = self._level
        shown += min(count, MOST_OF_AN_HOUR * expected)
        weight = SHRINKAGE[not self._is_new_kind] * (hoped + coming)
        return (shown + weight) / (hoped + expected + weight) if hoped + expected + weight > 0 else 1.0

    def _excess(self, count: int, elapsed: float, rate: float) -> float:
        """Return by how many requests the last hour exceeds what is usual; a rush lasts one more hour."""
        before, expected_before = self._before
        recent = count + (1.0 - elapsed) * before
        usual = rate * elapsed + (1.0 - elapsed) * expected_before
        return max(recent - usual - math.sqrt(max(usual, 1.0)), 0.0)

    def _guess(self, at_s: float, slots: Sequence[int] | np.ndarray) -> FloatArray:
        """Return the expected requests of hours of which nothing is known."""
        since_first_s = at_s - self._first_s
        if not 0 <= since_first_s < 24 * HOUR_S or not np.isnan(self._days).any():
            return self._later_guess(len(slots))
        first = hour_slot(self._zone, self._first_s)
        places = np.asarray(slots)
        rate = self._requests / self._first_hours(at_s)
        result: FloatArray = _DAY_SHAPE[places % 24] * rate
        if (first - self._start_hour) % 24 and first % 24 + WORKING_HOURS <= 24:
            over_h = since_first_s / HOUR_S - WORKING_HOURS
            share = min(AFTER_HOURS * 2.0 ** min(max(over_h, 0.0), 8.0), 1.0)
            result[(places - first) % 24 >= WORKING_HOURS] *= share
        if first < _WEEKEND_FROM:
            result[places >= _WEEKEND_FROM] *= WEEKEND
        return result

    def _first_hours(self, at_s: float) -> float:
        """Return the time since the first request in mean hours of a day as `SWING` has it."""
        first, now = (
            (hour_start(self._zone, self._first_s), self._first_s),
            (hour_start(self._zone, at_s), at_s),
        )
        places = np.array(hour_slots(self._zone_name, first[0], now[0] + 1.0), dtype=np.intp) % 24
        shape = _DAY_SHAPE[places]
        into_first, left = ((at - hour_s) / HOUR_S for hour_s, at in (first, now))
        hours = float(shape.sum()) - into_first * float(shape[0]) - (1.0 - left) * float(shape[-1])
        return hours + float(shape[-1]) * _FIRST_S / HOUR_S

    def _later_guess(self, n: int) -> FloatArray:
        count, hours = self._unknown
        return np.full(n, (count + AFTER_HOURS * self._mean_rate()) / (hours + 1.0))

    def _mean_rate(self) -> float:
        """Return the mean over the hours of the week of which something is known; 0 without any."""
        rates = self._rates[~np.isnan(self._rates)]
        return float(rates.mean()) if len(rates) else 0.0

    def state(self) -> State:
        """Return what was learned, as plain arrays."""
        pairs = (*self._before, *self._level, *self._unknown)
        return {
            "week": self._week.copy(),
            "days": self._days.copy(),
            "times": np.array((self._first_s, self._hour_s, self._seen_s, *pairs)),
            "counts": np.array(
                (self._slot, self._count, self._day, self._is_new_kind, self._away, self._requests),
                dtype=np.int64,
            ),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`, in the same zone."""
        self._week, self._days = state["week"].copy(), state["days"].copy()
        self._first_s, self._hour_s, self._seen_s, *pairs = state["times"].tolist()
        before, expected_before, *others = pairs
        self._before = (before, expected_before)
        self._level, self._unknown = (others[0], others[1]), (others[2], others[3])
        self._slot, self._count, self._day, is_new_kind, self._away, self._requests = state["counts"].tolist()
        self._is_new_kind = bool(is_new_kind)
        self._rates = _rates(self._week, self._days)


def _kind(slot: int) -> int:
    """Return 0 for an hour of a weekday, 1 for one of a weekend."""
    return int(slot >= _WEEKEND_FROM)


def _rates(week: FloatArray, days: FloatArray) -> FloatArray:
    """Return the expected requests of each hour of the week, (168,); NaN where nothing is known.

    The mean of its own weeks and of the last days of its kind; without either, that of the other kind.
    """
    weekday, weekend = days
    weekend = np.where(np.isnan(weekend), WEEKEND * weekday, weekend)
    weekday = np.where(np.isnan(weekday), days[1], weekday)
    by_day = np.concatenate((np.tile(weekday, 5), np.tile(weekend, 2)))
    return np.where(np.isnan(week), by_day, 0.5 * (week + by_day))
