"""A router without faults: it finds the best provider, and a budget per request is kept.

What the other trials compare with, and a check of the simulated world itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead import Budget, Prices
from tests.trials.operations.clients import Honest
from tests.trials.operations.play import make_router, play
from tests.trials.operations.result import Figure, Progress, Result, in_most, reported, result_of, within
from tests.trials.operations.world import Endpoint, World


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play two worlds for each seed."""
    return result_of([*_best(seeds, progress), *_budget(seeds, progress)])


def _best(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    shares = []
    for seed in seeds:
        progress(f"best provider, seed {seed}")
        endpoints = [Endpoint(name="best", quality=0.9), Endpoint(name="next", quality=0.8)]
        world = World(endpoints, requests=1_000, seed=seed)
        played = play(make_router(world), world)
        shares.append(played.share("best", 500))
    return [
        in_most("the best of two has nine tenths of the later half", [s >= 0.9 for s in shares], share=0.95),
        reported("its mean share", float(np.mean(shares))),
    ]


def _budget(seeds: Sequence[int], progress: Progress) -> list[Figure]:
    used = []
    for seed in seeds:
        progress(f"budget per request, seed {seed}")
        small = Prices(input_usd_per_mtok=0.1, output_usd_per_mtok=0.4)
        endpoints = [
            Endpoint(name="small", quality=0.7, prices=small),
            Endpoint(name="large", quality=0.9, prices=small.scaled(30.0)),
        ]
        world = World(endpoints, requests=1_500, seed=seed, tasks=("chat", "sql"))
        budget = Budget(usd_per_request=float(world.mean_costs().mean()))
        played = play(make_router(world, budget=budget), world, client=Honest(judged=0.3, seed=seed))
        used.append(float(played.cost_usd.mean()) / (budget.usd_per_request or 1.0))
    return [within("share of a budget per request that is spent", used, low=0.95, high=1.02)]
