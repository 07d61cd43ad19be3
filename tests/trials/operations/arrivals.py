"""When requests come: profiles of a week's traffic, and arrival times drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
MONDAY_S: Final = 1_767_571_200.0
"""Midnight UTC of Monday, 5 January 2026, at which simulated weeks begin."""

Profile = Callable[[int], float]
"""Relative rate of an hour, counted from the start: 0 is Monday 0–1 o'clock, 24 Tuesday's first hour."""


def uniform(hour: int) -> float:
    """Come at the same rate at every hour."""
    return 1.0


def peak_hour(hour: int) -> float:
    """Come ten times as often between 12 and 13 o'clock."""
    return 10.0 if hour % 24 == 12 else 1.0


def day_night(hour: int) -> float:
    """Follow a wave, with its top at 13:30 and a twentieth of it at 1:30."""
    return 1.0 - 0.905 * float(np.cos((hour % 24 - 1.0) / 24.0 * 2.0 * np.pi))


def office_hours(hour: int) -> float:
    """Come from 9 to 17 o'clock alone, weekends included."""
    return 1.0 if 9 <= hour % 24 < 17 else 0.0


def weekend(hour: int) -> float:
    """Follow day and night, with a fifth of the traffic on Saturday and Sunday."""
    return day_night(hour) * (0.2 if hour // 24 % 7 >= 5 else 1.0)


def growing(hour: int) -> float:
    """Follow day and night, 5 % more each day."""
    return day_night(hour) * 1.05 ** (hour // 24)


PROFILES: Final[dict[str, Profile]] = {
    "uniform": uniform,
    "peak hour": peak_hour,
    "day and night": day_night,
    "office hours": office_hours,
    "weekend": weekend,
    "growing": growing,
}


def arrivals(
    profile: Profile, *, days: int, per_day: float, seed: int, start_s: float = MONDAY_S
) -> NDArray[np.float64]:
    """Draw the times of requests in seconds, sorted: a Poisson count for each hour, uniform within it.

    ``per_day`` is the expected number on a mean day of the first week, whatever the profile.
    """
    rng = np.random.default_rng([seed, 11])
    weekly = sum(profile(hour) for hour in range(168))
    expected = np.array([profile(hour) for hour in range(24 * days)]) * (7.0 * per_day / weekly)
    counts = rng.poisson(expected)
    hours = np.repeat(np.arange(24 * days, dtype=np.float64), counts)
    return np.sort(start_s + (hours + rng.random(len(hours))) * HOUR_S)


def every(seconds: float, *, requests: int, start_s: float = MONDAY_S) -> NDArray[np.float64]:
    """Return the times of requests that come at equal distances."""
    return start_s + seconds * np.arange(requests, dtype=np.float64)
