"""Every model that learns passes every check of `check_model`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.failure import FailureBelief, failure_rates
from fairlead.optimizer.models.latency import BUCKET, LatencyBelief
from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.models.recent import RecentValues
from fairlead.optimizer.models.statistics import quantise
from tests.contracts.check_model import CHECKS, Case, Observation

NAMES = ("a", "b")


def linear(*, is_scaled: bool) -> Case:
    def create() -> LinearBelief:
        blocks = (Block("context", 2, isotropic=False),)
        belief = LinearBelief(blocks, prior_mean=0.5, prior_variance=0.1, is_scaled=is_scaled)
        belief.set_providers(NAMES)
        belief.changes["a"] = 100
        return belief

    def add(belief: LinearBelief, observation: Observation, sign: int) -> None:
        name, row, target, seq = observation
        belief.add(name, row, target, seq=seq, sign=sign)

    def predict(belief: LinearBelief) -> Any:
        belief.refit()
        return belief.predict(np.array([[1.0, 0.3, -0.2]]))

    return Case(
        create,
        lambda rng, i: (NAMES[i % 2], quantise(rng.normal(size=2)), float(rng.random()), i),
        add,
        predict,
    )


CASES: Final = {
    "quality": linear(is_scaled=False),
    "cost": linear(is_scaled=True),
    "latency": Case(
        LatencyBelief,
        lambda rng, i: (float(rng.lognormal()), i * BUCKET // 40),
        lambda belief, observation, sign: belief.add(*observation, sign=sign),
        lambda belief: (belief.mean_s(), belief.sd_s(), belief.quantile_s(), belief.most_s()),
    ),
    "recent": Case(
        RecentValues,
        lambda rng, i: (i // 5, float(rng.lognormal())),
        lambda recent, observation, sign: (recent.add if sign > 0 else recent.remove)(*observation),
        lambda recent: recent.in_a_row(2.0),
    ),
    "failure": Case(
        FailureBelief,
        lambda rng, i: (i, bool(rng.random() < (0.9 if 60 < i < 90 else 0.2)), float(rng.random())),
        lambda belief, observation, sign: (belief.add if sign > 0 else belief.remove)(*observation),
        lambda belief: (*failure_rates([belief.calls(210)])[:, 0], *belief.circuit[1:]),
    ),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", CASES)
def test_models(name: str, check: Callable[[Case], None]) -> None:
    check(CASES[name])
