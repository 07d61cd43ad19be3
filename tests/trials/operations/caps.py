"""Caps of latency and cost lock nobody out: the new, the slow that became quick, the one absurd report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fairlead import Constraints, Outcome, Route, Router
from tests.trials.operations.play import make_router, play
from tests.trials.operations.result import Figure, Progress, Result, at_most, in_most, result_of
from tests.trials.operations.world import Course, Endpoint, Moment, World, between

SLOW = 300
"""Requests for which a provider is slow or dear, before it no longer is."""


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play each case for each seed."""
    return result_of([*_new(seeds, progress), *_back(seeds, progress, 1_600), *_absurd(seeds, progress)])


def run_short(seeds: Sequence[int], progress: Progress) -> Result:
    """Play fewer cases."""
    return result_of([*_new(seeds, progress), *_absurd(seeds, progress)])


def _new(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    refused, adopted = 0, []
    for seed in seeds:
        progress(f"a new route and a newcomer under a cap, seed {seed}")
        endpoints = [Endpoint(name="new", quality=0.9), Endpoint(name="old", quality=0.8)]
        world = World(endpoints, requests=1_200, seed=seed)
        router = make_router(world, constraints=Constraints(max_latency_s=3.0))
        whole = router.route
        old = replace(whole, providers=whole.providers[1:])
        played = play(router, world, before=[_configured({0: old, 300: whole})])
        refused += played.refused
        adopted.append(played.share("new", 1_000) > 0.5)
    return [
        at_most("requests refused on a new route with a latency cap", refused, 0),
        in_most("newcomers that are better and adopted within 700 requests", adopted, share=0.95),
    ]


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
