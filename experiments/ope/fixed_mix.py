"""The best fixed mix, estimated off-policy: what mixing always-one-provider policies would earn at a spend.

The log holds one outcome per request, so each provider's mean cost and quality are SNIPS estimates from the
decisions that it served; the mix is their upper hull (`baselines.best_fixed_mix`). The hull takes the best of
noisy numbers, so it lies a little too high, and lifts a little too low, if providers were seldom chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.experiments.baselines.frontier import Hull, best_fixed_mix
from fairlead.experiments.ope.bootstrap import Resamples, percentile_of
from fairlead.experiments.ope.intervals import LEVEL, Estimate
from fairlead.experiments.ope.logged import SMALLEST_PROPENSITY
from fairlead.experiments.ope.moments import columns_of
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Integers, Matrix, Vector, columns, same_length, vector
from fairlead.optimizer.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedMix:
    """The estimated hull and a policy's lift over it at the policy's own spend.

    `providers` are the columns that were chosen at least once; the hull's corners are among them.

    >>> from fairlead.experiments.ope.bootstrap import resample
    >>> action, half = np.tile([0, 1], 50), np.full(100, 0.5)
    >>> quality, cost = np.tile([0.6, 0.8], 50), np.tile([1e-4, 3e-4], 50)
    >>> estimates = {"quality": Terms(plain=quality), "cost": Terms(plain=cost)}
    >>> for name, reward in (("quality", quality), ("cost", cost)):
    ...     terms = fixed_terms(reward=reward, action=action, propensity=half, providers=2)
    ...     estimates |= {f"{name} of {j}": policy for j, policy in enumerate(terms)}
    >>> mix = estimate_fixed_mix(
    ...     resample(estimates, seed=0), quality="quality", cost_usd="cost",
    ...     fixed_quality=["quality of 0", "quality of 1"], fixed_cost_usd=["cost of 0", "cost of 1"],
    ... )
    >>> mix.hull.quality.round(3).tolist(), round(abs(mix.lift.value), 3)
    ([0.6, 0.8], 0.0)
    """

    hull: Hull
    lift: Estimate
    providers: tuple[int, ...]


def fixed_terms(*, reward: Vector, action: Integers, propensity: Vector, providers: int) -> list[Terms]:
    """SNIPS terms of always choosing provider 0, 1, …, for one reward column (quality or USD), (n,) each.

    The weight is 1 / propensity if the provider was chosen, else 0.

    >>> terms = fixed_terms(reward=[1.0, 0.2, 0.6], action=[0, 1, 0], propensity=[0.5] * 3, providers=2)
    >>> [round(policy.value, 3) for policy in terms]
    [0.8, 0.2]
    """
    reward, propensity = vector("reward", reward), vector("propensity", propensity)
    action = columns("action", action, providers)
    same_length({"reward": reward, "propensity": propensity, "action": action})
    if not ((propensity >= SMALLEST_PROPENSITY) & (propensity <= 1.0)).all():
        raise InvalidInput(
            "a propensity is no probability above 0: log the one that the choice was drawn with"
        )
    weights = (np.where(action == j, 1.0 / propensity, 0.0) for j in range(providers))
    return [Terms(weighted=weight * reward, weight=weight) for weight in weights]


def estimate_fixed_mix(
    resamples: Resamples,
    *,
    quality: str,
    cost_usd: str,
    fixed_quality: Sequence[str],
    fixed_cost_usd: Sequence[str],
    level: float = LEVEL,
) -> FixedMix:
    """Estimate the hull and the lift of one policy, with a percentile interval.

    Every resample has a hull of its own. `quality` and `cost_usd` name the policy's estimates among
    the resampled ones, `fixed_quality` and `fixed_cost_usd` those of every provider's fixed policy, in the
    order of the providers. `FixedMix` has an example.
    """
    if len(fixed_quality) != len(fixed_cost_usd) or not fixed_quality:
        raise InvalidInput(
            f"{len(fixed_quality)} fixed qualities and {len(fixed_cost_usd)} costs: "
            "give one of each per provider"
        )
    pairs = list(zip(fixed_quality, fixed_cost_usd, strict=True))
    weight = [resamples.total[columns_of(resamples.names, name)][-1] for name in fixed_quality]
    served = np.flatnonzero(np.array(weight) > 0.0).tolist()
    if not served:
        raise InvalidInput("no decision has a provider among the fixed policies: name those of the log")
    qualities, costs = ([pairs[j][side] for j in served] for side in (0, 1))
    hull = best_fixed_mix([resamples.value(c) for c in costs], [resamples.value(c) for c in qualities])
    lift = resamples.value(quality) - hull.quality_at(resamples.value(cost_usd))
    lifts = _lifts(
        resamples.values(quality),
        resamples.values(cost_usd),
        fixed_quality=np.column_stack([resamples.values(c) for c in qualities]),
        fixed_cost=np.column_stack([resamples.values(c) for c in costs]),
    )
    return FixedMix(
        hull=Hull(hull.cost_usd, hull.quality, tuple(served[corner] for corner in hull.providers)),
        lift=percentile_of(lifts, value=lift, n=resamples.n, level=level),
        providers=tuple(served),
    )


def _lifts(quality: Vector, spend: Vector, *, fixed_quality: Matrix, fixed_cost: Matrix) -> Vector:
    """Lift in every resample, shape (b,); a provider without a decision in it is left out of its hull."""
    lifts = np.full(len(quality), np.nan)
    measured = np.isfinite(fixed_quality) & np.isfinite(fixed_cost)
    for b in np.flatnonzero(measured.any(axis=1)).tolist():
        mix = best_fixed_mix(fixed_cost[b, measured[b]], fixed_quality[b, measured[b]])
        lifts[b] = quality[b] - mix.quality_at(float(spend[b]))
    return lifts
