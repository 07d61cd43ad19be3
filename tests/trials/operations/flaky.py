"""A best provider that fails 2 % of its calls keeps its traffic; 30 % of failures are priced as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.trials.operations.play import make_router, play
from tests.trials.operations.result import Figure, Progress, Result, at_least, at_most, reported, result_of
from tests.trials.operations.world import Endpoint, Moment, World


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play 12,000 requests with and without failures, and 3,000 at 30 % of them, for each seed."""
    return result_of([*_kept(seeds, progress, 12_000), *_worth(seeds, progress, 3_000)])


def run_short(seeds: Sequence[int], progress: Progress) -> Result:
    """Play fewer requests."""
    return result_of([*_kept(seeds, progress, 1_500), *_worth(seeds, progress, 1_500)])


def _kept(seeds: Sequence[int], progress: Progress, requests: int) -> list[Figure]:
    kept = []
    for seed in seeds:
        shares = []
        for failure in (0.02, 0.0):
            progress(f"failures of {failure:g}, seed {seed}")
            best = Endpoint(name="best", quality=0.85, failure=failure)
            world = World([best, Endpoint(name="next", quality=0.8)], requests=requests, seed=seed)
            shares.append(play(make_router(world), world).share("best"))
        kept.append(shares[0] / max(shares[1], 1e-9))
    return [
        at_least("share that 2 % of failures leave, of that without (median)", float(np.median(kept)), 0.8),
        reported("the same, mean over seeds", float(np.mean(kept))),
    ]


def _worth(seeds: Sequence[int], progress: Progress, requests: int) -> list[Figure]:
    errors = []
    for seed in seeds:
        progress(f"30 % of failures, seed {seed}")
        flaky = Endpoint(name="flaky", quality=0.9, failure=0.3)
        world = World([flaky, Endpoint(name="rival", quality=0.55)], requests=requests, seed=seed)
        router = make_router(world)
        play(router, world)
        last = Moment(request=requests - 1, at_s=float(requests))
        decision = router.decide(world.context(requests - 1), decision_id="after", draw=0.5, at_s=last.at_s)
        errors.append(abs(decision.candidates[0].expected.quality - flaky.worth(last, None)))
    mean_error = float(np.mean(errors))
    return [at_most("error of the expected quality at 30 % of failures (mean)", mean_error, 0.05)]
