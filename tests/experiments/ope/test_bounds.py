"""Finite-sample bounds: what they are on paper, and that they hold where their range does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.experiments.ope.bounds import (
    bernstein_lower,
    bernstein_ratio,
    empirical_bernstein,
    hoeffding_lower,
    student_lower,
)
from fairlead.experiments.ope.importance import ips, snips
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.terms import Terms
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.ope.logs import random_batch


def mean_of(*values: float) -> Moments:
    return Moments.of(Terms(plain=np.array(values)))


def test_the_formulas() -> None:
    moments = mean_of(0.0, 0.2, 0.4, 0.6, 0.8)
    log = math.log(1.0 / 0.05)
    assert hoeffding_lower(moments, delta=0.05) == pytest.approx(0.4 - 0.8 * math.sqrt(log / 10.0))
    assert hoeffding_lower(moments, delta=0.05, largest=1.0) == pytest.approx(0.4 - math.sqrt(log / 10.0))
    log = math.log(2.0 / 0.05)
    reach = math.sqrt(2.0 * 0.1 * log / 5.0) + 7.0 * 0.8 * log / 12.0  # the sample variance is .1
    assert bernstein_lower(moments, delta=0.05) == pytest.approx(0.4 - reach)
    assert student_lower(moments, delta=0.05) == pytest.approx(
        0.4 - 2.131847 * math.sqrt(0.1 / 5.0), rel=1e-6
    )


def test_two_sides_share_the_error() -> None:
    rng = np.random.default_rng(0)
    moments = Moments.of(Terms(plain=rng.random(5_000)))
    found = empirical_bernstein(moments, low=0.0, high=1.0, level=0.95)
    assert found.value - found.low == pytest.approx(
        found.value - bernstein_lower(moments, delta=0.025, largest=1.0)
    )


def test_the_interval_stays_within_the_range() -> None:
    found = empirical_bernstein(mean_of(0.1, 0.9, 0.5), low=0.0, high=1.0)
    assert (found.low, found.high) == (0.0, 1.0)


def test_ranges_that_the_terms_leave_are_refused() -> None:
    moments = mean_of(0.5, 2.0)
    with pytest.raises(InvalidInput, match=r"outside \[0, 1\]"):
        empirical_bernstein(moments, low=0.0, high=1.0)
    with pytest.raises(InvalidInput, match="a term is 2"):
        hoeffding_lower(moments, delta=0.05, largest=1.0)
    weighted = Moments.of(Terms(weighted=np.array([1.0, 0.0]), weight=np.array([2.0, 1.0])))
    with pytest.raises(InvalidInput, match="a weight is 2"):
        bernstein_ratio(weighted, largest_weight=1.5)
    with pytest.raises(InvalidInput, match="self-normalised"):
        empirical_bernstein(weighted, low=0.0, high=2.0)


def test_the_ratio_s_bound_is_for_snips_of_rewards_in_the_unit_interval() -> None:
    ones = np.ones(3)
    for terms, message in (
        (Terms(plain=ones, weighted=ones, weight=ones), "SNIPS alone"),
        (Terms(plain=ones), "SNIPS alone"),
        (Terms(weighted=-ones, weight=ones), "leave"),
        (Terms(weighted=3.0 * ones, weight=ones), "leave"),
    ):
        with pytest.raises(InvalidInput, match=message):
            bernstein_ratio(Moments.of(terms), largest_weight=2.0)


@pytest.mark.parametrize("delta", [0.0, -0.1, 1.5, math.nan])
def test_error_probabilities_are_checked(delta: float) -> None:
    with pytest.raises(InvalidInput, match="delta"):
        hoeffding_lower(mean_of(0.0, 1.0), delta=delta)


def test_one_decision_bounds_nothing() -> None:
    one = mean_of(0.5)
    assert student_lower(one, delta=0.05) == bernstein_lower(one, delta=0.05) == -math.inf
    found = empirical_bernstein(one, low=0.0, high=1.0)
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_ratio_s_interval_ends_where_the_bound_of_the_residuals_touches_zero() -> None:
    log = random_batch(4_000, 3, seed=0)
    limit = 60.0
    found = bernstein_ratio(Moments.of(snips(log)), largest_weight=limit)
    assert 0.0 < found.low < found.value < found.high < 1.0
    for end, inward in ((found.low, 1e-6), (found.high, -1e-6)):
        for v, excluded in ((end - inward, True), (end + inward, False)):
            residual = Moments.of(Terms(plain=log.weight * (log.reward - v)))
            around = empirical_bernstein(residual, low=-limit * v, high=limit * (1.0 - v))
            assert (around.low > 0.0 or around.high < 0.0) == excluded


def test_bounds_hold_far_more_often_than_they_promise() -> None:
    held = 0
    for seed in range(200):
        log = random_batch(300, 2, seed=seed, floor=0.5)
        truth = 0.5  # mean rewards are uniform and independent of both policies
        found = empirical_bernstein(Moments.of(ips(log)), low=0.0, high=4.0)
        ratio = bernstein_ratio(Moments.of(snips(log)), largest_weight=4.0)
        held += (found.low <= truth <= found.high) and (ratio.low <= truth <= ratio.high)
    assert held >= 198
