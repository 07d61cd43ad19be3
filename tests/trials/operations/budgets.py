"""Budgets for a day, a week or a month, under traffic that comes and goes: used up, not exceeded, evenly.

Each profile of traffic is played twice with the same requests: under the budget with periods, and under a
budget per request of the same money, whose quality is what that money can buy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead import Budget, Prices, Router
from tests.trials.operations.arrivals import DAY_S, HOUR_S, MONDAY_S, PROFILES, arrivals
from tests.trials.operations.clients import Honest
from tests.trials.operations.play import Hook, Played, make_router, play
from tests.trials.operations.result import Figure, Progress, Result, at_least, at_most, reported, result_of
from tests.trials.operations.result import within as within_range
from tests.trials.operations.world import Endpoint, Moment, World

MODELS: Final = (("small", 0.6, 0.02), ("mid", 0.8, 0.4), ("large", 0.86, 1.0), ("huge", 0.9, 3.0))
"""Name, quality, and price beside a list of 10 and 40 USD per million tokens."""

TASKS: Final = ("chat", "sql", "summary")
PER_DAY: Final = 3_000
HARD_TASK: Final = 0.12
"""By how much small models are worse at the hardest task, and better at the easiest."""

LIST: Final = Prices(input_usd_per_mtok=10.0, output_usd_per_mtok=40.0)


def endpoints(count: int = 4) -> list[Endpoint]:
    """Make providers each of which is better and dearer than the one before, and more so for some tasks."""
    chosen = MODELS[:count]
    return [
        Endpoint(
            name=name,
            quality=quality,
            by_task={
                task: quality + (0.9 - quality) * HARD_TASK * 3 * step
                for task, step in zip(TASKS, (1.0, 0.0, -1.0), strict=True)
            },
            prices=LIST.scaled(price),
        )
        for name, quality, price in chosen
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Periods:
    """What each period of a run cost, and what its requests were worth; arrays have one value a period."""

    requests: NDArray[np.intp]
    spent_usd: NDArray[np.float64]
    quality: NDArray[np.float64]


def by_period(played: Played, *, period_s: float, start_s: float = MONDAY_S) -> Periods:
    """Sum up a run by periods of equal length."""
    index = ((played.at_s - start_s) // period_s).astype(int)
    requests = np.bincount(index)
    return Periods(
        requests=requests,
        spent_usd=np.bincount(index, played.cost_usd),
        quality=np.bincount(index, played.worth) / np.maximum(requests, 1),
    )


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play every profile, the cases of operators, and what goes wrong."""
    figures: list[Figure] = []
    for name in PROFILES:
        figures += profile(name, seeds, progress)
    for case in (low_budget, rush_hour, night_and_noon, patched, long_gap, too_dear, week):
        figures += case(seeds, progress)
    return result_of(figures)


def profile(name: str, seeds: Sequence[int], progress: Progress, *, days: int = 4) -> list[Figure]:
    """Compare a budget per day with one per request, day by day, under one profile of traffic."""
    first, later, gaps, spread = [], [], [], []
    start = 3 if name == "weekend" else 0  # the week's end is what that profile is about
    for seed in seeds:
        progress(f"{name}, seed {seed}")
        times = arrivals(PROFILES[name], days=days + start, per_day=PER_DAY, seed=seed)
        times = times[times >= MONDAY_S + start * DAY_S]
        world = World(endpoints(), requests=len(times), seed=seed, tasks=TASKS)
        usd = 0.25 * float(world.mean_costs()[-1]) * PER_DAY
        played = play_router(world, times, Budget(usd_per_day=usd), seed=seed)
        periods = by_period(played, period_s=DAY_S, start_s=MONDAY_S + start * DAY_S)
        could_usd = np.minimum(usd, periods.requests * world.mean_costs()[-1])
        used = periods.spent_usd / could_usd
        means = [Budget(usd_per_request=usd) for usd in could_usd / periods.requests]
        starts_s = MONDAY_S + (start + np.arange(days)) * DAY_S
        even = play_router(world, times, means, seed=seed, starts_s=starts_s)
        alike = by_period(even, period_s=DAY_S, start_s=MONDAY_S + start * DAY_S)
        first.append(float(used[0]))
        later += used[1:].tolist()
        gaps.append(float((periods.quality[1:] - alike.quality[1:]).mean()))
        spread.append(hourly_spread(played, from_s=MONDAY_S + (start + 1) * DAY_S))
    return [
        within_range(f"{name}: share of the first day's money that is spent", first, low=0.85, high=1.05),
        within_range(f"{name}: share of the later days' money that is spent", later, low=0.95, high=1.02),
        reported(
            f"{name}: later days within .95 and 1.02", float(np.mean([0.95 <= u <= 1.02 for u in later]))
        ),
        at_least(f"{name}: quality beyond that of a budget per request", float(np.mean(gaps)), -0.01),
        reported(f"{name}: spread of the mean cost over hours, of the mean", float(np.mean(spread))),
    ]


def hourly_spread(played: Played, *, from_s: float) -> float:
    """Return the standard deviation over hours of the day of the mean cost, by requests, over the mean."""
    later = played.at_s >= from_s
    hour = (played.at_s[later] % DAY_S // HOUR_S).astype(int)
    count, usd = np.bincount(hour, minlength=24), np.bincount(hour, played.cost_usd[later], minlength=24)
    shown = count > 0
    means, mean = usd[shown] / count[shown], usd.sum() / count.sum()
    return float(np.sqrt(np.average((means / mean - 1.0) ** 2, weights=count[shown])))


def play_router(
    world: World,
    times: NDArray[np.float64],
    budget: Budget | Sequence[Budget],
    *,
    seed: int,
    starts_s: Sequence[float] | NDArray[np.float64] = (),
    judged: float = 0.3,
    before: Sequence[Hook] = (),
) -> Played:
    """Play a router under a budget, or under one budget after another from the times ``starts_s`` on."""
    budgets = [budget] if isinstance(budget, Budget) else list(budget)
    router = make_router(world, budget=budgets[0])
    hooks = [changing(starts_s, budgets), *before] if len(budgets) > 1 else before
    return play(router, world, client=Honest(judged=judged, seed=seed), at_s=times, before=hooks)


def changing(starts_s: Sequence[float] | NDArray[np.float64], budgets: Sequence[Budget]) -> Hook:
    """Make a hook that configures the next budget when its time has come."""
    waiting = list(zip(starts_s, budgets, strict=True))

    def change(router: Router, moment: Moment) -> None:
        while waiting and moment.at_s >= waiting[0][0]:
            router.configure(replace(router.route, budget=waiting.pop(0)[1]))

    return change


def one_day(seed: int, name: str, *, days: int, share: float) -> tuple[World, NDArray[np.float64], float]:
    """Return a world, the times of its requests, and a day's budget as a share of the dearest provider's."""
    times = arrivals(PROFILES[name], days=days, per_day=PER_DAY, seed=seed)
    world = World(endpoints(), requests=len(times), seed=seed, tasks=TASKS)
    return world, times, share * float(world.mean_costs()[-1]) * PER_DAY


def low_budget(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    """Spend $20 a day on 3,000 requests: all went to the cheapest provider, $.17, at a quality of .66."""
    quality, fixed, used = [], [], []
    for seed in seeds:
        progress(f"$20 a day, seed {seed}")
        world, times, _ = one_day(seed, "uniform", days=2, share=1.0)
        periods = by_period(play_router(world, times, Budget(usd_per_day=20.0), seed=seed), period_s=DAY_S)
        quality.append(float(periods.quality[1]))
        used.append(float(periods.spent_usd[1]) / 20.0)
        mix = world.best_mix()
        fixed.append(float(mix.quality_at(20.0 / PER_DAY)))
    return [
        within_range("$20 a day: share that is spent", used, low=0.95, high=1.02),
        at_least(
            "$20 a day: quality beyond the best fixed mix", float(np.mean(quality) - np.mean(fixed)), -0.01
        ),
    ]


def rush_hour(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    """Meet an hour of ten-fold traffic on the third day: it had a quality of .65 beside .80 outside."""
    inside, outside = [], []
    for seed in seeds:
        progress(f"one rush hour, seed {seed}")
        start_s = MONDAY_S + 2 * DAY_S + 14 * HOUR_S
        calm = arrivals(PROFILES["uniform"], days=3, per_day=PER_DAY, seed=seed)
        extra = start_s + np.sort(np.random.default_rng([seed, 5]).random(9 * PER_DAY // 24)) * HOUR_S
        times = np.sort(np.concatenate((calm, extra)))
        world = World(endpoints(), requests=len(times), seed=seed, tasks=TASKS)
        usd = 0.25 * float(world.mean_costs()[-1]) * PER_DAY
        played = play_router(world, times, Budget(usd_per_day=usd), seed=seed)
        rush = (times >= start_s) & (times < start_s + HOUR_S)
        inside.append(float(played.worth[rush].mean()))
        # Nobody could know of it beforehand: what was spent in the morning is spent.
        outside.append(float(played.worth[times >= start_s + HOUR_S].mean()))
    return [at_most("a rush hour: quality lost in it", abs(float(np.mean(outside) - np.mean(inside))), 0.03)]


def night_and_noon(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    """Compare night and noon: a request cost .0053 USD at night and .00056 at noon."""
    ratios = []
    for seed in seeds:
        progress(f"night and noon, seed {seed}")
        world, times, usd = one_day(seed, "day and night", days=4, share=0.25)
        played = play_router(world, times, Budget(usd_per_day=usd), seed=seed)
        hour, later = times % DAY_S / HOUR_S, times >= MONDAY_S + DAY_S
        night, noon = later & ((hour < 4) | (hour >= 22)), later & (hour >= 10) & (hour < 16)
        ratios.append(float(played.cost_usd[night].mean() / played.cost_usd[noon].mean()))
    return [within_range("night: USD a request beside noon", ratios, low=0.8, high=1.25)]


def patched(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    """Change a budget three times a day: a change restarted the account, $2.19 were spent of 1.01."""
    used = []
    for seed in seeds:
        progress(f"changed budget, seed {seed}")
        world, times, usd = one_day(seed, "uniform", days=2, share=0.25)
        budgets = [Budget(usd_per_day=usd * (1.0 + 0.01 * i)) for i in range(4)]
        starts_s = MONDAY_S + DAY_S * np.array([0.0, 1.25, 1.5, 1.75])
        played = play_router(world, times, budgets, seed=seed, starts_s=starts_s)
        used.append(float(by_period(played, period_s=DAY_S).spent_usd[1] / (1.03 * usd)))
    return [
        within_range(
            "a budget that is changed at 6, 12 and 18: share that is spent", used, low=0.95, high=1.02
        )
    ]


def long_gap(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    """Go on after 13 hours without traffic: $1.38 of $1.00 were spent."""
    used = []
    for seed in seeds:
        progress(f"gap of 13 hours, seed {seed}")
        world, times, usd = one_day(seed, "uniform", days=3, share=0.25)
        times = times[~((times >= MONDAY_S + 1.25 * DAY_S) & (times < MONDAY_S + 1.25 * DAY_S + 13 * HOUR_S))]
        periods = by_period(play_router(world, times, Budget(usd_per_day=usd), seed=seed), period_s=DAY_S)
        used.append(float(periods.spent_usd[1:].max() / usd))
    return [at_most("a gap of 13 hours: most that is spent, of the budget", max(used), 1.02)]


def too_dear(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    """Offer only providers that the budget cannot pay: 1.6 times the money, no cap and no alarm."""
    hard, alarmed, early = [], [], []
    for seed in seeds:
        progress(f"all too dear, seed {seed}")
        times = arrivals(PROFILES["uniform"], days=2, per_day=1_000, seed=seed)
        world = World(endpoints()[2:], requests=len(times), seed=seed, tasks=TASKS)
        usd = float(world.mean_costs()[0]) * 1_000 / 2.5
        router = make_router(world, budget=Budget(usd_per_day=usd, hard=True))
        played = play(router, world, client=Honest(seed=seed), at_s=times)
        hard.append(float(by_period(played, period_s=DAY_S).spent_usd.max() / usd))
        reasons = [(alarm.reason, alarm.spent_usd) for alarm in router.budget_alarms]
        alarmed.append(bool(reasons) and reasons[0][0] == "too_dear")
        early.append(reasons[0][1] / usd if reasons else np.inf)
    return [
        at_most("all too dear, hard: most that is spent, of the budget", max(hard), 1.02),
        at_least("all too dear: share of seeds that are alarmed of it first", float(np.mean(alarmed)), 1.0),
        at_most("all too dear: share of the money spent before the alarm", max(early), 0.5),
    ]


def week(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    """Play weeks that begin on Wednesday at six in Tokyo, with weekends of a fifth."""
    first, later = [], []
    for seed in seeds:
        progress(f"weeks, seed {seed}")
        times = arrivals(PROFILES["weekend"], days=21, per_day=400, seed=seed)
        world = World(endpoints(), requests=len(times), seed=seed, tasks=TASKS)
        usd = 0.25 * float(world.mean_costs()[-1]) * 7 * 400
        budget = Budget(usd=usd, window="week", time_zone="Asia/Tokyo", start_day=3, start_hour=6)
        played = play_router(world, times, budget, seed=seed)
        start_s = MONDAY_S + 2 * DAY_S - 3 * HOUR_S
        spent = [
            float(
                played.cost_usd[
                    (times >= start_s + i * 7 * DAY_S) & (times < start_s + (i + 1) * 7 * DAY_S)
                ].sum()
            )
            for i in range(2)
        ]
        first.append(spent[0] / usd)
        later.append(spent[1] / usd)
    return [
        within_range(
            "a week: share of the first whole week's money that is spent", first, low=0.95, high=1.02
        ),
        within_range("a week: share of the next week's", later, low=0.95, high=1.02),
    ]
