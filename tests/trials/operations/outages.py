"""The best provider fails for 100 or 1,500 requests: its share goes, and comes back as soon as it is well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.trials.operations.play import make_router, play
from tests.trials.operations.result import Figure, Progress, Result, at_most, in_most, reported, result_of
from tests.trials.operations.world import Endpoint, World, between

START = 1_000
"""The request at which the outage begins."""

AFTER = 400


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play both lengths for each seed."""
    return result_of(figure for length in (100, 1_500) for figure in _outage(seeds, progress, length))


def run_short(seeds: Sequence[int], progress: Progress) -> Result:
    """Play the short outage alone."""
    return result_of(_outage(seeds, progress, 100))


def _outage(seeds: Sequence[int], progress: Progress, length: int) -> list[Figure]:
    noticed, failed, back = [], [], []
    for seed in seeds:
        progress(f"outage of {length} requests, seed {seed}")
        end = START + length
        outage = between(START, end, inside=1.0, outside=0.0)
        endpoints = [Endpoint(name="best", quality=0.9, failure=outage), Endpoint(name="next", quality=0.8)]
        world = World(endpoints, requests=end + AFTER, seed=seed)
        played = play(make_router(world), world)
        share = played.probabilities[:, 0]
        noticed.append(_first(share[START:end] < 0.05))
        failed.append(int(played.failed[START : START + noticed[-1]].sum()))
        back.append(_first(share[end:] >= share[START - 200 : START].mean() / 2))
    name = f"outage of {length}"
    return [
        at_most(f"{name}: requests until its share is below .05 (median)", float(np.median(noticed)), 20),
        at_most(f"{name}: failed calls until then (median)", float(np.median(failed)), 10),
        in_most(f"{name}: half of its share back within 150", [n <= 150 for n in back], share=0.95),
        reported(f"{name}: requests until that (median)", float(np.median(back))),
    ]


def _first(mask: np.ndarray) -> int:
    """Return the index of the first that is true; the length if there is none."""
    return int(mask.argmax()) if mask.any() else len(mask)
