"""The estimated best fixed mix against the true one of a world that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairlead.experiments.baselines.frontier import best_fixed_mix
from fairlead.experiments.ope.bootstrap import resample
from fairlead.experiments.ope.fixed_mix import estimate_fixed_mix, fixed_terms
from fairlead.experiments.ope.terms import Terms
from fairlead.optimizer.errors import InvalidInput

NAMES: dict[str, Any] = {
    "quality": "quality",
    "cost_usd": "cost",
    "fixed_quality": [f"quality:{j}" for j in range(4)],
    "fixed_cost_usd": [f"cost:{j}" for j in range(4)],
}
QUALITY, COST = np.array([0.5, 0.55, 0.8, 0.1]), np.array([1e-3, 4e-3, 5e-3, 2e-3])


def known_log(n: int, seed: int) -> dict[str, Terms]:
    """Terms of a policy that splits its requests between providers 0 and 2, and of every fixed policy."""
    rng = np.random.default_rng(seed)
    logging = np.array([0.4, 0.3, 0.3, 0.0])
    action = rng.choice(4, size=n, p=logging)
    propensity = logging[action]
    quality = (rng.random(n) < QUALITY[action]).astype(np.float64)
    cost = COST[action] * rng.uniform(0.5, 1.5, n)
    weight = np.array([0.5, 0.0, 0.5, 0.0])[action] / propensity
    estimates = {}
    for name, column in (("quality", quality), ("cost", cost)):
        estimates[name] = Terms(weighted=weight * column, weight=weight)
        fixed = fixed_terms(reward=column, action=action, propensity=propensity, providers=4)
        estimates |= {f"{name}:{j}": terms for j, terms in enumerate(fixed)}
    return estimates


def test_the_hull_is_that_of_the_means_and_a_mixture_lifts_nothing() -> None:
    mix = estimate_fixed_mix(resample(known_log(20_000, seed=0), seed=0, resamples=300), **NAMES)
    truth = best_fixed_mix(COST[:3], QUALITY[:3])
    assert mix.providers == (0, 1, 2)  # the fourth was never chosen
    assert mix.hull.providers == truth.providers == (0, 2)
    np.testing.assert_allclose(mix.hull.quality, truth.quality, atol=0.02)
    np.testing.assert_allclose(mix.hull.cost_usd, truth.cost_usd, rtol=0.02)
    assert mix.lift.low < 0.0 < mix.lift.high
    assert mix.lift.half_width < 0.03


def test_the_interval_of_the_lift_holds_the_truth() -> None:
    held = 0
    for seed in range(40):
        lift = estimate_fixed_mix(resample(known_log(2_000, seed), seed=seed, resamples=100), **NAMES).lift
        held += lift.low <= 0.0 <= lift.high
    assert held >= 34


def test_fixed_terms_are_means_of_what_the_provider_served() -> None:
    terms = fixed_terms(
        reward=np.array([1.0, 0.0, 0.4]),
        action=np.array([0, 0, 1]),
        propensity=np.array([0.5, 0.25, 0.9]),
        providers=2,
    )
    assert terms[0].value == pytest.approx(2.0 / 6.0)
    assert terms[1].value == pytest.approx(0.4)


def test_what_cannot_be_a_mix_is_refused() -> None:
    resamples = resample(known_log(50, seed=0), seed=0, resamples=100)
    with pytest.raises(InvalidInput, match="one of each per provider"):
        estimate_fixed_mix(resamples, **NAMES | {"fixed_cost_usd": NAMES["fixed_cost_usd"][:2]})
    with pytest.raises(InvalidInput, match="no decision has a provider"):
        estimate_fixed_mix(
            resamples, **NAMES | {"fixed_quality": ["quality:3"], "fixed_cost_usd": ["cost:3"]}
        )
    with pytest.raises(InvalidInput, match="no probability above 0"):
        fixed_terms(reward=np.ones(1), action=np.zeros(1, int), propensity=np.zeros(1), providers=1)
