"""A day budget on clocks that jump over midnight, and in zones whose summer time begins at midnight."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead import Budget, Prices
from tests.trials.operations.arrivals import DAY_S, MONDAY_S, arrivals, day_night
from tests.trials.operations.clients import Honest
from tests.trials.operations.play import make_router, play
from tests.trials.operations.world import Endpoint, World

Times = NDArray[np.float64]
DAYS, PER_DAY = 4, 300.0
SMALL = Prices(input_usd_per_mtok=0.1, output_usd_per_mtok=0.4)


def used(shift: Callable[[Times], Times], *, start_s: float = MONDAY_S, zone: str = "UTC") -> list[float]:
    """Play four days under a day budget, on a clock that is shifted; return what was spent of it, day by day.

    The days are of the true time, in UTC.
    """
    true_s = arrivals(day_night, days=DAYS, per_day=PER_DAY, seed=1, start_s=start_s)
    endpoints = [
        Endpoint(name="small", quality=0.7, prices=SMALL),
        Endpoint(name="large", quality=0.9, prices=SMALL.scaled(20.0)),
    ]
    world = World(endpoints, requests=len(true_s), seed=1)
    limit_usd = PER_DAY * float(world.mean_costs().mean())
    budget = Budget(usd_per_day=limit_usd, time_zone=zone)
    played = play(
        make_router(world, budget=budget), world, at_s=shift(true_s.copy()), client=Honest(judged=0.5)
    )
    assert np.isfinite(played.probabilities).all()
    day = ((true_s - start_s) // DAY_S).astype(int)
    return [float(played.cost_usd[day == d].sum()) / limit_usd for d in range(DAYS)]


def jump(day: float, by_days: float, *, requests: int) -> Callable[[Times], Times]:
    """Make a shift of some requests from a day on."""

    def shift(at_s: Times) -> Times:
        first = int(np.searchsorted(at_s, MONDAY_S + day * DAY_S))
        at_s[first : first + requests] += by_days * DAY_S
        return at_s

    return shift


@pytest.mark.parametrize(
    ("day", "by_days", "requests"),
    [
        (2.05, -0.1, 20),  # back over midnight, and on again
        (1.9, 0.2, 5),  # ahead over midnight, and back
        (1.5, 365.0, 1),  # a year ahead, once
        (1.5, 365.0, 20),
        (1.5, -1e6, 10),  # before 1970, which is cut to 1970
        (1.5, 1e7, 1),  # beyond the years of calendars
    ],
)
def test_a_clock_that_jumps_over_midnight_neither_starves_nor_floods(
    day: float, by_days: float, requests: int
) -> None:
    shift = jump(day, by_days, requests=requests)
    days = used(lambda at_s: np.maximum(shift(at_s), 0.0))
    assert sum(days) / DAYS == pytest.approx(1.0, abs=0.12)
    assert all(0.75 <= share <= 1.35 for share in days), days


def test_a_clock_that_is_set_back_for_good_does_not_open_a_period_again() -> None:
    """From 2:24 on the third day back to 14:24 on the second, whose money is half gone by then."""
    days = used(jump(2.1, -0.5, requests=10**6))
    assert sum(days) <= 0.5 + DAYS - 0.5
    assert days[2] <= 1.1
    assert days[3] == pytest.approx(1.0, abs=0.3)


def test_two_processes_whose_clocks_differ_by_a_day_spend_no_more_than_their_days() -> None:
    """Every other decision is dated a day ahead: the money of five days is there, and no more."""

    def shift(at_s: Times) -> Times:
        at_s[::2] += DAY_S
        return at_s

    assert sum(used(shift)) <= (DAYS + 1) * 1.3


@pytest.mark.parametrize("zone", ["Africa/Cairo", "Asia/Beirut"])
@pytest.mark.parametrize("start", [datetime(2026, 4, 22, tzinfo=UTC), datetime(2026, 3, 27, tzinfo=UTC)])
def test_the_days_around_a_summer_time_that_begins_at_midnight_are_paced(zone: str, start: datetime) -> None:
    days = used(lambda at_s: at_s, start_s=start.timestamp(), zone=zone)
    assert sum(days) / DAYS == pytest.approx(1.0, abs=0.12)
    assert all(0.8 <= share <= 1.2 for share in days), days
