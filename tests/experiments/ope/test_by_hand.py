"""Four decisions whose every number was worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.experiments.ope import estimators
from fairlead.experiments.ope.intervals import asymptotic
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments, difference
from fairlead.experiments.ope.rejection import replay

# Weights 2, 0, 1, 1/2; predictions for the choice .5, .5, .2, .8; under the target .6, .4, .2, .5.
DECISIONS = LoggedBatch(
    reward=[1.0, 0.5, 0.0, 1.0],
    action=[0, 1, 0, 1],
    propensity=[0.5, 0.5, 0.5, 0.8],
    target=[[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.6, 0.4]],
    q_hat=[[0.5, 0.9], [0.4, 0.5], [0.2, 0.2], [0.3, 0.8]],
)


def test_the_columns_that_everything_is_made_of() -> None:
    np.testing.assert_allclose(DECISIONS.weight, [2.0, 0.0, 1.0, 0.5])
    np.testing.assert_allclose(DECISIONS.q_logged, [0.5, 0.5, 0.2, 0.8])
    np.testing.assert_allclose(DECISIONS.q_target, [0.5, 0.4, 0.2, 0.5])


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (estimators.on_policy(DECISIONS), 2.5 / 4),
        (estimators.ips(DECISIONS), (2.0 + 0.5) / 4),
        (estimators.clipped_ips(DECISIONS, lam=1.0), (1.0 + 0.5) / 4),
        (estimators.snips(DECISIONS), 2.5 / 3.5),
        # λ = .5: 2 / 1.5, 0, 1, .5 / .75
        (estimators.sub_gaussian_ips(DECISIONS, lam=0.5), (2.0 / 1.5 + 0.5 / 0.75) / 4),
        (estimators.sub_gaussian_ips(DECISIONS, lam=1.0), (1.0 + 1.0) / 4),
        (estimators.dm(DECISIONS), 1.6 / 4),
        # residuals .5, 0, −.2, .2
        (estimators.dr(DECISIONS), (1.6 + 1.0 - 0.2 + 0.1) / 4),
        (estimators.clipped_dr(DECISIONS, lam=1.0), (1.6 + 0.5 - 0.2 + 0.1) / 4),
        (estimators.switch_dr(DECISIONS, lam=1.0), (1.6 - 0.2 + 0.1) / 4),
        # λ = 2: 4 / 6, 0, 2 / 3, 1 / 2.25
        (estimators.shrunk_dr(DECISIONS, lam=2.0), (1.6 + 2 / 3 * 0.5 - 2 / 3 * 0.2 + 0.2 / 2.25) / 4),
        (estimators.shrunk_dr(DECISIONS, lam=0.0), 1.6 / 4),
        (estimators.sub_gaussian_dr(DECISIONS, lam=0.5), (1.6 + 2 / 3 - 0.2 + 0.2 * 2 / 3) / 4),
        (estimators.sndr(DECISIONS), 1.6 / 4 + 0.9 / 3.5),
        # likeliest: 0, 0, 0 (the first of a tie), 0; chosen 0, 1, 0, 1
        (replay(DECISIONS), 0.5),
    ],
)
def test_each_estimate(terms: object, expected: float) -> None:
    assert terms.value == pytest.approx(expected, abs=1e-15)  # type: ignore[attr-defined]
    assert Moments.of(terms).value() == pytest.approx(expected, abs=1e-15)  # type: ignore[arg-type]


def test_the_standard_error_of_a_mean_and_of_a_ratio() -> None:
    moments = Moments.of({"ips": estimators.ips(DECISIONS), "snips": estimators.snips(DECISIONS)})
    assert moments.standard_error("ips") == pytest.approx(np.std([2.0, 0.0, 0.0, 0.5], ddof=1) / 2.0)
    v = 2.5 / 3.5
    deviations = np.array([2 * (1 - v), 0.0, 0.0 - v, 0.5 * (1 - v)]) / 0.875
    assert moments.standard_error("snips") == pytest.approx(np.std(deviations, ddof=1) / 2.0)


def test_the_interval_of_four_decisions_takes_student_s_quantile() -> None:
    estimate = asymptotic(Moments.of(estimators.on_policy(DECISIONS)))
    assert estimate.half_width == pytest.approx(3.182446 * estimate.standard_error, rel=1e-6)


def test_what_two_policies_share_cancels_in_their_difference() -> None:
    moments = Moments.of({"ips": estimators.ips(DECISIONS), "logged": estimators.on_policy(DECISIONS)})
    paired = asymptotic(moments, difference("ips", "logged"))
    gains = np.array([2.0, 0.0, 0.0, 0.5]) - np.array([1.0, 0.5, 0.0, 1.0])
    assert paired.value == pytest.approx(gains.mean())
    assert paired.standard_error == pytest.approx(np.std(gains, ddof=1) / 2.0)
    assert asymptotic(moments, difference("logged", "logged")).half_width == 0.0


def test_one_decision_has_a_value_and_no_interval() -> None:
    single = LoggedBatch(reward=[0.3], action=[0], propensity=[1.0], target=[[1.0]], q_hat=[[0.2]])
    for terms in (estimators.ips(single), estimators.snips(single), estimators.sndr(single)):
        estimate = asymptotic(Moments.of(terms))
        assert estimate.value == pytest.approx(0.3)
        assert (estimate.low, estimate.high) == (-math.inf, math.inf)
