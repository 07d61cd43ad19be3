"""Tuning on logs where it is known which hyper-parameter is right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.experiments.ope.estimators import Tame, clip, ips, shrink, switch
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.tuning import slope
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.ope.random_logs import random_batch


@pytest.mark.parametrize("tame", [clip, switch, shrink])
def test_weights_of_one_need_no_taming(tame: Tame) -> None:
    """Where no weight exceeds the smallest candidate, clipping and switching change nothing."""
    n = 2_000
    rng = np.random.default_rng(0)
    log = LoggedBatch(
        reward=rng.random(n),
        action=rng.integers(2, size=n),
        propensity=np.full(n, 0.5),
        target=np.full((n, 2), 0.5),
        q_hat=np.full((n, 2), 0.5),
    )
    tuned = slope(log, tame, model=True)
    if tame is not shrink:
        assert tuned.terms.value == pytest.approx(log.reward.mean(), abs=1e-12)
    assert tuned.lam in (1.0, 2.0, 5.0, 10.0, 50.0, 100.0, math.inf)


def test_slope_takes_the_narrowest_of_what_agrees() -> None:
    """A perfect model leaves no residual: every λ gives the same value, and none need be given up."""
    log = random_batch(1_000, 4, seed=0)
    q_hat = log.q_hat.copy()
    q_hat[np.arange(len(log)), log.action] = log.reward
    log = LoggedBatch(
        reward=log.reward, action=log.action, propensity=log.propensity, target=log.target, q_hat=q_hat
    )
    assert slope(log, clip, model=True).terms.value == pytest.approx(log.q_target.mean(), abs=1e-12)


def test_slope_gives_up_what_contradicts_wider_intervals() -> None:
    """Clipping at almost nothing gives a narrow interval far below the other, which must not be believed."""
    log = random_batch(5_000, 3, seed=1)
    tuned = slope(log, clip, model=False, candidates=(1e-6, math.inf))
    assert tuned.lam == math.inf
    assert tuned.terms.value == ips(log).value


def test_one_candidate_is_chosen_and_none_is_refused() -> None:
    log = random_batch(50, 3, seed=2)
    assert slope(log, clip, model=False, candidates=(7.0,)).lam == 7.0
    with pytest.raises(InvalidInput, match="0 candidates"):
        slope(log, clip, model=False, candidates=())
    with pytest.raises(InvalidInput, match="lambda is -1"):
        slope(log, clip, model=False, candidates=(-1.0,))


def test_one_decision_leaves_the_weights_alone() -> None:
    single = LoggedBatch(reward=[1.0], action=[0], propensity=[0.1], target=[[1.0, 0.0]])
    tuned = slope(single, clip, model=False)
    assert (tuned.lam, tuned.terms.value) == (math.inf, 10.0)
