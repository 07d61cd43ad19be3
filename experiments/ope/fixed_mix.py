"""The best fixed mix, estimated off-policy: what mixing always-one-provider policies would earn at a spend.

The log holds one outcome per request, so each provider's mean cost and quality are SNIPS estimates from the
decisions that it served; the mix is their upper hull (`baselines.best_fixed_mix`). The hull takes the best of
noisy numbers, so it lies a little too high and lifts a little too low where providers were seldom chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.experiments.baselines.frontier import Hull, best_fixed_mix
from fairlead.experiments.ope.bootstrap import Resamples, percentile_of
from fairlead.experiments.ope.intervals import LEVEL, Estimate
from fairlead.experiments.ope.logged import SMALLEST_PROPENSITY
from fairlead.experiments.ope.moments import WIDTH
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Integers, Matrix, Vector, places, same_length, vector
from fairlead.optimizer.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedMix:
    """The estimated hull and a policy's lift over it at the policy's own spend.

    `providers` are the columns that were chosen at least once; the hull's corners are among them.
    """

    hull: Hull
    lift: Estimate
    providers: tuple[int, ...]


def fixed_terms(*, reward: Vector, action: Integers, propensity: Vector, providers: int) -> list[Terms]:
    """SNIPS terms of always choosing provider 0, 1, ...: one reward column (quality or USD), (n,) each.

    The weight is 1 / propensity where the provider was chosen, else 0.
    """
    reward, propensity = vector("reward", reward), vector("propensity", propensity)
    action = places("action", action, providers)
    same_length({"reward": reward, "propensity": propensity, "action": action})
    if not ((propensity >= SMALLEST_PROPENSITY) & (propensity <= 1.0)).all():
        raise InvalidInput(
            "a propensity is no probability above 0: log the one that the choice was drawn with"
        )
    weights = (np.where(action == j, 1.0 / propensity, 0.0) for j in range(providers))
    return [Terms(weighted=weight * reward, weight=weight) for weight in weights]


def fixed_mix(
    resamples: Resamples,
    *,
    quality: int,
    cost_usd: int,
    fixed_quality: Sequence[int],
    fixed_cost_usd: Sequence[int],
    level: float = LEVEL,
) -> FixedMix:
    """The hull and the lift of one policy, with a percentile interval in which the hull is drawn anew each
    time.

    Places among the resampled estimates: the policy's quality and cost, and those of every provider's fixed
    policy in the order of the providers.
    """
    if len(fixed_quality) != len(fixed_cost_usd) or not fixed_quality:
        raise InvalidInput(
            f"{len(fixed_quality)} fixed qualities and {len(fixed_cost_usd)} costs: "
            "give one of each per provider"
        )
    pairs = list(zip(fixed_quality, fixed_cost_usd, strict=True))
    known = [j for j, (place, _) in enumerate(pairs) if resamples.total[WIDTH * place + WIDTH - 1] > 0.0]
    if not known:
        raise InvalidInput("no decision has a provider among the fixed policies: name those of the log")
    qualities, costs = ([{pairs[j][side]: 1.0} for j in known] for side in (0, 1))
    hull = best_fixed_mix([resamples.value(c) for c in costs], [resamples.value(c) for c in qualities])
    lift = resamples.value({quality: 1.0}) - hull.quality_at(resamples.value({cost_usd: 1.0}))
    lifts = _lifts(
        resamples.values({quality: 1.0}),
        resamples.values({cost_usd: 1.0}),
        np.column_stack([resamples.values(c) for c in qualities]),
        np.column_stack([resamples.values(c) for c in costs]),
    )
    return FixedMix(
        hull=Hull(hull.cost_usd, hull.quality, tuple(known[corner] for corner in hull.providers)),
        lift=percentile_of(lifts, value=lift, n=resamples.n, level=level),
        providers=tuple(known),
    )


def _lifts(quality: Vector, spend: Vector, fixed_quality: Matrix, fixed_cost: Matrix) -> Vector:
    """Lift in every resample, shape (b,); a provider without a decision there is left out of its hull."""
    lifts = np.full(len(quality), np.nan)
    seen = np.isfinite(fixed_quality) & np.isfinite(fixed_cost)
    for b in np.flatnonzero(seen.any(axis=1)).tolist():
        mix = best_fixed_mix(fixed_cost[b, seen[b]], fixed_quality[b, seen[b]])
        lifts[b] = quality[b] - mix.quality_at(float(spend[b]))
    return lifts
