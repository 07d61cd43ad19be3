"""Caps of latency and cost lock nobody out: the new, who is slow or dear no more, the one absurd report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from fairlead import Constraints, Decision, Outcome, Route, Router
from tests.trials.operations.clients import Honest, Report
from tests.trials.operations.play import make_router, play
from tests.trials.operations.result import Figure, Progress, Result, at_most, in_most, result_of
from tests.trials.operations.world import LIST, Call, Course, Endpoint, Moment, World, between

SLOW = 300
"""Requests for which a provider is slow or dear, before it no longer is."""

LIMIT_USD = 0.004
"""Limit of cost, two and a half times what a call usually costs."""


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play each case for each seed."""
    return result_of(
        [
            *_new(seeds, progress),
            *_back(seeds, progress, 1_600),
            *_dear(seeds, progress),
            *_nobody(seeds, progress),
            *_absurd(seeds, progress),
        ]
    )


def run_short(seeds: Sequence[int], progress: Progress) -> Result:
    """Play fewer cases."""
    return result_of([*_new(seeds, progress), *_nobody(seeds, progress), *_absurd(seeds, progress)])


def _new(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    cases = {
        "latency": (Endpoint(name="new", quality=0.9), Constraints(max_latency_s=3.0)),
        "cost": (Endpoint(name="new", quality=0.9, listed=None), Constraints(max_cost_usd=LIMIT_USD)),
    }
    figures = []
    for name, (new, limits) in cases.items():
        refused, adopted = 0, []
        for seed in seeds:
            progress(f"{name}: a new route and a newcomer under a cap, seed {seed}")
            world = World([new, Endpoint(name="old", quality=0.8)], requests=1_200, seed=seed)
            router = make_router(world, constraints=limits)
            whole = router.route
            old = replace(whole, providers=whole.providers[1:])
            played = play(router, world, before=[_configured({0: old, 300: whole})])
            refused += played.refused
            adopted.append(played.share("new", 1_000) > 0.5)
        figures += [
            at_most(f"{name}: requests refused on a new route with a cap", refused, 0),
            in_most(
                f"{name}: newcomers that are better and adopted within 700 requests", adopted, share=0.95
            ),
        ]
    return figures


def _configured(routes: dict[int, Route]) -> Callable[[Router, Moment], None]:
    def hook(router: Router, moment: Moment) -> None:
        if moment.request in routes:
            router.configure(routes[moment.request])

    return hook


def _back(seeds: Sequence[int], progress: Progress, requests: int) -> list[Figure]:
    cases = {
        "latency": (
            Endpoint(name="best", quality=0.9, latency_s=_slow_at_first(6.0)),
            Constraints(max_latency_s=3.0),
        ),
        "tail latency": (
            Endpoint(name="best", quality=0.9, latency_s=_slow_at_first(8.0)),
            Constraints(max_tail_latency_s=4.0),
        ),
    }
    figures = []
    for name, (best, limits) in cases.items():
        back = []
        for seed in seeds:
            progress(f"{name}: slow, then quick, seed {seed}")
            world = World([best, Endpoint(name="next", quality=0.8)], requests=requests, seed=seed)
            played = play(make_router(world, constraints=limits), world)
            back.append(played.share("best", SLOW + 1_000) > 0.5)
        figures.append(in_most(f"{name}: back within 1,000 requests of being quick", back, share=0.95))
    return figures


def _slow_at_first(latency_s: float) -> Course:
    return between(0, SLOW, inside=latency_s, outside=0.5)


def _dear(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    figures = []
    for name, listed in (("with a list", "as charged"), ("without a list", None)):
        left, back = [], []
        for seed in seeds:
            progress(f"cost, {name}: dear, then cheap, seed {seed}")
            best = Endpoint(name="best", quality=0.9, listed=listed)
            world = World([best, Endpoint(name="next", quality=0.8)], requests=2 * SLOW + 1_300, seed=seed)
            router = make_router(world, constraints=Constraints(max_cost_usd=LIMIT_USD))
            played = play(router, world, client=_dear_meanwhile)
            left.append(played.share("best", 2 * SLOW - 100, 2 * SLOW) < 0.1)
            back.append(played.share("best", 2 * SLOW + 1_000) > 0.5)
        figures += [
            in_most(f"cost {name}: gone within 200 requests of being dear", left, share=0.95),
            in_most(f"cost {name}: back within 1,000 requests of being cheap", back, share=0.95),
        ]
    return figures


def _dear_meanwhile(decision: Decision, call: Call, moment: Moment) -> Iterable[Report]:
    """Report what calls cost: those of the best ten times as much for a while, of which no list says."""
    is_dear = call.provider == "best" and SLOW <= moment.request < 2 * SLOW
    return Honest()(decision, replace(call, cost_usd=call.cost_usd * (10.0 if is_dear else 1.0)), moment)


def _nobody(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    refused, cheapest, silent = 0, [], 0
    for seed in seeds:
        progress(f"nobody meets a limit of cost, seed {seed}")
        endpoints = [
            Endpoint(name="dear", quality=0.9, prices=LIST.scaled(4.0)),
            Endpoint(name="cheap", quality=0.7),
        ]
        world = World(endpoints, requests=400, seed=seed)
        router = make_router(world, constraints=Constraints(max_cost_usd=0.1 * LIMIT_USD))
        played = play(router, world, keep_decisions=True)
        refused += played.refused
        cheapest.append(played.share("cheap", 100) > 0.9)
        silent += sum("max_cost_usd" not in each.relaxed for each in played.decisions if each is not None)
    return [
        at_most("cost: requests refused if nobody meets the limit", refused, 0),
        in_most("cost: the least bad serves nine in ten of them", cheapest, share=0.95),
        at_most("cost: decisions that do not say that they relax it", silent, 0),
    ]


def _absurd(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    refused, moved = 0, []
    for seed in seeds:
        progress(f"one absurd latency, seed {seed}")
        world = World([Endpoint(name="only", quality=0.9)], requests=400, seed=seed)
        router = make_router(world, constraints=Constraints(max_latency_s=3.0, max_tail_latency_s=6.0))

        def hook(router: Router, moment: Moment) -> None:
            if moment.request == 200:
                router.learn(Outcome(decision_id="d150", served_provider="only", latency_s=1e6, revision=99))

        played = play(router, world, before=[hook], keep_decisions=True)
        refused += played.refused
        moved += [bool(decision and decision.relaxed) for decision in played.decisions[201:]]
    return [
        at_most("requests refused after one latency of 1e6 s", refused, 0),
        at_most("decisions that relax a limit for it", float(np.sum(moved)), 0),
    ]
