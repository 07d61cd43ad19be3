"""What simulated weeks are judged by: quality, spend, recovery, answers and alarms, route by route."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tests.trials.operations.arrivals import MONDAY_S
from tests.trials.operations.life import Life
from tests.trials.operations.office import CAP_S, Plan, attainable
from tests.trials.operations.play import Played
from tests.trials.operations.result import Figure, Result, at_least, at_most, reported, result_of, within

_QUALITY: Final = 0.01
"""Quality that faults may cost beyond what no router could have saved, and that the best mix may be ahead."""

_TURNED: Final = 200
"""Most calls that a provider may still get that has become slower than a limit."""

_ON_TRIAL: Final = 0.05
"""Most of the traffic that may go to who is beyond a limit, or has an outage."""


@dataclass(frozen=True, kw_only=True)
class Lived:
    """One passing of the weeks: the plan, what its clients saw, and what was noticed meanwhile."""

    plan: Plan
    life: Life
    problems: list[str]


def judge(faulty: Lived, well: Lived) -> Result:
    """Compare the weeks with their faults with the same weeks without."""
    figures = [
        *_answers(faulty),
        *_quality(faulty, well),
        *_day_budget(faulty),
        *_request_budget(faulty),
        *_outage(faulty, well),
        *_latency_cap(faulty, well),
        *_alarms(faulty, well),
    ]
    return result_of(figures, problems=[*faulty.problems, *well.problems])


def _answers(lived: Lived) -> Iterator[Figure]:
    life = lived.life
    other = {status: count for status, count in life.answers.items() if status != 200}
    yield at_most("answers other than 200", sum(other.values()), 0)
    yield at_most("answers of the default provider", sum(life.fallbacks.values()), 0)
    yield reported("requests", sum(life.answers.values()))
    yield reported("outcomes in a wrong unit", life.unit_errors)


def _quality(faulty: Lived, well: Lived) -> Iterator[Figure]:
    with_faults, without = faulty.life.played(), well.life.played()
    for name, played in with_faults.items():
        mean, best = float(played.worth.mean()), float(without[name].worth.mean())
        office = faulty.life.routes[name]
        if "budget" in office.declaration:
            mix = office.world.best_mix().quality_at(float(played.cost_usd.mean()))
            yield at_least(f"{name}: quality above the best mix at its spend", mean - mix, -_QUALITY)
            unavoidable = 0.0
        else:
            unavoidable = attainable(well.life.routes[name]) - attainable(office)
            yield reported(f"{name}: quality that the faults cost with foresight", unavoidable)
        yield at_least(f"{name}: quality above that without faults", mean - best + unavoidable, -_QUALITY)
        yield reported(f"{name}: quality", mean)


# chat


def _day_budget(lived: Lived) -> Iterator[Figure]:
    office, played = lived.life.routes["chat"], lived.life.played()["chat"]
    limit_usd = office.declaration["budget"]["usd_per_day"]
    dearest_usd = float(office.world.mean_costs().max())
    used = []
    days = local_days(played.at_s, lived.plan.zone)
    for day in np.unique(days)[1:-1]:  # the first and the last are parts of days
        here = days == day
        # On a day with little traffic, no policy could spend the money.
        used.append(float(played.cost_usd[here].sum()) / min(limit_usd, dearest_usd * int(here.sum())))
    yield within("chat: share of the day budget that is spent, first day", used[:1], low=0.85, high=1.05)
    if used[1:]:
        yield within("chat: the same, later days", used[1:], low=0.95, high=1.02)
        yield at_most("chat: the same, on the worst of them", max(used[1:]), 1.05)


def local_days(at_s: NDArray[np.float64], zone: str) -> NDArray[np.int64]:
    """Return the day of a zone that each time is in, as an ordinal of the calendar."""
    there = ZoneInfo(zone)
    return np.array([datetime.fromtimestamp(s, there).toordinal() for s in at_s.tolist()], dtype=np.int64)


# search


def _request_budget(lived: Lived) -> Iterator[Figure]:
    office, played = lived.life.routes["search"], lived.life.played()["search"]
    used = float(played.cost_usd.mean()) / office.declaration["budget"]["usd_per_request"]
    yield within("search: share of the budget per request that is spent", [used], low=0.95, high=1.02)


# support


def _outage(faulty: Lived, well: Lived) -> Iterator[Figure]:
    played, name = faulty.life.played()["support"], "support/best"
    start, stop = span(played, faulty.plan.outage_s)
    after = stop + 300
    healthy = well.life.played()["support"].share(name, 200)
    ordinary = np.concatenate([shares(played, name)[200:start], shares(played, name)[after:]])
    yield at_least(
        "support: share of the flaky best, of that without failures", ordinary.mean() / healthy, 0.8
    )
    yield at_most(
        "support: failed calls in the outage's first 20 requests",
        int(played.failed[start : start + 20].sum()),
        10,
    )
    yield at_most(
        "support: share of the best in the outage, after 20 requests",
        played.share(name, start + 20, stop),
        _ON_TRIAL,
    )
    yield at_most("support: decisions until half of its share is back", until_back(played, name, stop), 150)


def shares(played: Played, name: str) -> NDArray[np.float64]:
    """Return the probability of a provider at each request."""
    return played.probabilities[:, played.names.index(name)]


def span(played: Played, times_s: tuple[float, float]) -> tuple[int, int]:
    """Return the first request from one time on, and the first from another on, since the start."""
    first, last = np.searchsorted(played.at_s, [MONDAY_S + times_s[0], MONDAY_S + times_s[1]]).tolist()
    return first, last


def until_back(played: Played, name: str, stop: int, *, before: float = 1.0, width: int = 20) -> int:
    """Count the requests from ``stop`` on until a provider has half of its share again, over ``width``."""
    share = shares(played, name)[stop:]
    means = np.convolve(share, np.ones(width) / width, mode="valid")
    back = np.flatnonzero(means >= before / 2.0)
    return int(back[0]) if len(back) else len(share)


# agent


def _latency_cap(faulty: Lived, well: Lived) -> Iterator[Figure]:
    played = faulty.life.played()["agent"]
    start, stop = span(played, faulty.plan.slow_s)
    first = min(300, len(played.at_s) // 2)
    yield at_most(
        "agent: share of who is always too late, once it is known",
        played.share("agent/late", first),
        _ON_TRIAL,
    )
    yield at_most(
        "agent: requests that who turned slow still gets, on its slow day",
        float(shares(played, "agent/turning")[start:stop].sum()),
        _TURNED,
    )
    yield at_most(
        "agent: decisions until half of its share is back", until_back(played, "agent/turning", stop), 1_000
    )
    in_time = float((played.latency_s[first:] <= CAP_S).mean())
    yield reported("agent: share of calls that took no longer than the cap", in_time)


# Alarms


def _alarms(faulty: Lived, well: Lived) -> Iterator[Figure]:
    """Demand that each fault is seen in metrics and states, and that without faults nothing cries wolf."""
    looks, last = faulty.life.looks, faulty.life.looks[-1]
    open_circuit = {"route": "support", "provider": "support/best"}
    seen = [look for look in looks if metric(look.metrics, "fairlead_circuit_state", **open_circuit) > 1]
    yield at_least("alarms: looks at the metrics that show the outage's open circuit", len(seen), 1)
    changes = [change["state"] for change in last.states["support"].get("circuit_changes", ())]
    yield at_least("alarms: openings in the state of support", changes.count("open"), 1)
    for name, kept in (("with", faulty), ("without", well)):
        count = metric(kept.life.looks[-1].metrics, "fairlead_quarantined_total")
        wrong = kept.life.unit_errors
        what = f"alarms: quarantined, {name} faults ({wrong} in a wrong unit)"
        yield at_least(what, count, 0.9 * wrong) if wrong else at_most(what, count, 0)
    prices = [
        entry for entry in last.states["chat"].get("quarantine", ()) if entry["provider"] == "chat/middle"
    ]
    yield at_least("alarms: entries about the price list that is off", len(prices), 1)
    spent = metric(last.metrics, "fairlead_budget_alarms_total", route="chat", level="80")
    yield at_least("alarms: days on which four fifths of the day budget were spent", spent, 1)
    states = [state.get("budget_alarms") for state in (look.states["chat"] for look in looks)]
    yield at_least("alarms: looks at the state that show them", sum(map(bool, states)), 1)


def metric(text: str, name: str, **labels: str) -> float:
    """Add up the samples of a metric with these labels, in the text that Prometheus reads."""
    total = 0.0
    for line in text.splitlines():
        sample, _, value = line.rpartition(" ")
        if sample.partition("{")[0] == name and all(
            f'{key}="{value}"' in sample for key, value in labels.items()
        ):
            total += float(value)
    return total
