"""The world of the simulated weeks: four routes of one company, and what goes wrong on each.

    chat     a day budget in New York's time; the price list of the middle model is off by 1,000
    support  the best provider fails 2 % of its calls, and has an outage one morning
    agent    a latency cap; the best answers always come too late, the second best did so on one day
    search   embeddings of width 1,536, and a budget per request

On all of them one outcome in a thousand states milliseconds for seconds, or cents for dollars. Without
faults, the same requests meet the same providers in good health.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead import Prices
from tests.trials.operations.arrivals import DAY_S, HOUR_S, MONDAY_S, Profile, arrivals, day_night, weekend
from tests.trials.operations.world import Course, Endpoint, Moment, World, at, between_s

CHEAP: Final = Prices(input_usd_per_mtok=0.1, output_usd_per_mtok=0.4)
CAP_S: Final = 4.0
FLAKY: Final = 0.02
FEATURES: Final = {"surface": False, "task": 8, "attributes": 0}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long the weeks are, how much traffic they have, and what goes wrong.

    ``outage_s`` and ``slow_s`` are the start and end of the outage on ``support`` and of the slow day on
    ``agent``, in seconds from the start; ``unit_errors`` is the share of outcomes in a wrong unit. ``faults``
    False leaves out all of them.
    """

    days: int
    per_day: Mapping[str, float]
    outage_s: tuple[float, float]
    slow_s: tuple[float, float]
    embedding_width: int = 1_536
    profile: Profile = weekend
    zone: str = "America/New_York"
    unit_errors: float = 0.001
    faults: bool = True


WEEKS: Final = Plan(
    days=21,
    per_day={"chat": 600.0, "support": 500.0, "agent": 300.0, "search": 150.0},
    outage_s=(8 * DAY_S + 14 * HOUR_S, 8 * DAY_S + 17 * HOUR_S),
    slow_s=(10 * DAY_S, 11 * DAY_S),
)
"""Three weeks: the outage is on the second Tuesday, the slow day on the Thursday after."""

SHORT: Final = Plan(
    days=2,
    per_day={"chat": 200.0, "support": 300.0, "agent": 120.0, "search": 40.0},
    outage_s=(1 * DAY_S + 10 * HOUR_S, 1 * DAY_S + 14 * HOUR_S),
    slow_s=(1 * DAY_S, 1 * DAY_S + 12 * HOUR_S),
    profile=day_night,
    unit_errors=0.005,
)
"""Two days, for the tests: too few to judge quality and spend."""


@dataclass(frozen=True, kw_only=True)
class Office:
    """One route: its world, when its requests come, and its declaration."""

    world: World
    at_s: NDArray[np.float64]
    declaration: Mapping[str, Any]


def offices(plan: Plan, *, seed: int) -> dict[str, Office]:
    """Make the four routes of a plan, by name."""
    make = {"chat": _chat, "support": _support, "agent": _agent, "search": _search}
    result = {}
    for number, (name, build) in enumerate(make.items()):
        at_s = arrivals(plan.profile, days=plan.days, per_day=plan.per_day[name], seed=100 * seed + number)
        result[name] = build(plan, at_s, 100 * seed + number)
    return result


def _only(plan: Plan, course: Course, otherwise: float) -> Course:
    return course if plan.faults else otherwise


def _chat(plan: Plan, at_s: NDArray[np.float64], seed: int) -> Office:
    middle = CHEAP.scaled(10.0)
    tasks = {"billing": (0.75, 0.85, 0.9), "smalltalk": (0.85, 0.88, 0.9), "code": (0.5, 0.72, 0.9)}
    by_task = [{task: values[j] for task, values in tasks.items()} for j in range(3)]
    endpoints = (
        Endpoint(name="chat/small", quality=0.7, by_task=by_task[0], prices=CHEAP),
        # USD per thousand tokens, typed into a form that asks for USD per million.
        Endpoint(
            name="chat/middle",
            quality=0.8,
            by_task=by_task[1],
            prices=middle,
            listed=middle.scaled(0.001) if plan.faults else "as charged",
        ),
        Endpoint(name="chat/large", quality=0.9, by_task=by_task[2], prices=CHEAP.scaled(60.0)),
    )
    world = World(endpoints, requests=len(at_s), seed=seed, tasks=tuple(tasks))
    # On a working day half of the requests could go to the middle, and half to the large one.
    usd = plan.per_day["chat"] * float(world.mean_costs()[1:].mean())
    declaration = {"budget": {"usd_per_day": usd, "time_zone": plan.zone}, "features": FEATURES}
    return Office(world=world, at_s=at_s, declaration=declaration)


def _support(plan: Plan, at_s: NDArray[np.float64], seed: int) -> Office:
    outage = between_s(MONDAY_S + plan.outage_s[0], MONDAY_S + plan.outage_s[1], inside=1.0, outside=FLAKY)
    endpoints = (
        Endpoint(name="support/best", quality=0.9, failure=_only(plan, outage, 0.0)),
        Endpoint(name="support/next", quality=0.8),
        Endpoint(name="support/last", quality=0.65),
    )
    world = World(endpoints, requests=len(at_s), seed=seed, tasks=("order", "refund"), binary=True)
    return Office(world=world, at_s=at_s, declaration={"features": FEATURES})


def _agent(plan: Plan, at_s: NDArray[np.float64], seed: int) -> Office:
    slow = between_s(MONDAY_S + plan.slow_s[0], MONDAY_S + plan.slow_s[1], inside=9.0, outside=2.0)
    endpoints = (
        Endpoint(name="agent/late", quality=0.95, latency_s=8.0),
        Endpoint(name="agent/turning", quality=0.88, latency_s=_only(plan, slow, 2.0)),
        Endpoint(name="agent/quick", quality=0.78, latency_s=1.0),
    )
    world = World(endpoints, requests=len(at_s), seed=seed, tasks=("plan", "act"))
    declaration = {"constraints": {"max_latency_s": CAP_S}, "features": FEATURES}
    return Office(world=world, at_s=at_s, declaration=declaration)


def _search(plan: Plan, at_s: NDArray[np.float64], seed: int) -> Office:
    tasks = {"facts": (0.86, 0.88), "essays": (0.5, 0.86), "code": (0.6, 0.9)}
    endpoints = [
        Endpoint(
            name=f"search/{name}",
            quality=0.7,
            by_task={task: values[j] for task, values in tasks.items()},
            prices=CHEAP.scaled((1.0, 20.0)[j]),
        )
        for j, name in enumerate(("small", "large"))
    ]
    width = plan.embedding_width
    world = World(endpoints, requests=len(at_s), seed=seed, tasks=tuple(tasks), embedding_width=width)
    costs = world.mean_costs()
    declaration = {
        "budget": {"usd_per_request": float(0.4 * costs[0] + 0.6 * costs[1])},
        "features": {"surface": False, "task": 0, "attributes": 0, "embedding": width},
    }
    return Office(world=world, at_s=at_s, declaration=declaration)


def settings_of(routes: Mapping[str, Office]) -> dict[str, Any]:
    """Return the declarations of a settings file: providers, price lists, routes."""
    endpoints = [endpoint for office in routes.values() for endpoint in office.world.endpoints.values()]
    prices = []
    for endpoint in endpoints:
        listed = endpoint.provider().prices
        if listed is not None:
            prices.append(
                {
                    "provider": endpoint.name,
                    "input_usd_per_mtok": listed.input_usd_per_mtok,
                    "output_usd_per_mtok": listed.output_usd_per_mtok,
                }
            )
    return {
        "providers": [{"name": endpoint.name} for endpoint in endpoints],
        "prices": prices,
        "routes": [
            {"name": name, "providers": list(office.world.names), **office.declaration}
            for name, office in routes.items()
        ],
    }


def attainable(office: Office) -> float:
    """Return the mean worth of always choosing best among those within the latency cap, with foresight.

    Without regard to money: for routes without a budget.
    """
    cap_s = office.declaration.get("constraints", {}).get("max_latency_s", np.inf)
    best = []
    for request, at_s in enumerate(office.at_s.tolist()):
        moment, task = Moment(request=request, at_s=at_s), office.world.task(request)
        worths = [
            endpoint.worth(moment, task)
            for endpoint in office.world.endpoints.values()
            if at(endpoint.latency_s, moment) <= cap_s
        ]
        best.append(max(worths, default=0.0))
    return float(np.mean(best))
