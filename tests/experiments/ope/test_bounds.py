"""Finite-sample bounds: what they are on paper, and that they hold where their range does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.experiments.ope.bounds import (
    bernstein_ratio,
    empirical_bernstein,
)
from fairlead.experiments.ope.importance import ips, snips
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.terms import Terms
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.ope.random_logs import random_batch


def mean_of(*values: float) -> Moments:
    return Moments.of(Terms(plain=np.array(values)))


def test_the_formulas() -> None:
    log = math.log(2.0 / 0.05)  # each side takes half of the error of the whole
    moments = Moments.of(Terms(plain=np.tile([0.0, 0.2, 0.4, 0.6, 0.8], 100)))
    reach = math.sqrt(2.0 * (500 * 0.08 / 499) * log / 500.0) + 7.0 * 0.8 * log / (3.0 * 499.0)
    estimate = empirical_bernstein(moments, low=0.0, high=0.8, level=0.9)
    assert (estimate.low, estimate.high) == pytest.approx((0.4 - reach, 0.4 + reach))


def test_the_interval_stays_within_the_range() -> None:
    estimate = empirical_bernstein(mean_of(0.1, 0.9, 0.5), low=0.0, high=1.0)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_ranges_that_the_terms_leave_are_refused() -> None:
    moments = mean_of(0.5, 2.0)
    with pytest.raises(InvalidInput, match=r"outside \[0, 1\]"):
        empirical_bernstein(moments, low=0.0, high=1.0)
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


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_levels_are_checked(level: float) -> None:
    with pytest.raises(InvalidInput, match="level"):
        empirical_bernstein(mean_of(0.0, 1.0), low=0.0, high=1.0, level=level)


def test_one_decision_bounds_nothing() -> None:
    estimate = empirical_bernstein(mean_of(0.5), low=0.0, high=1.0)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_the_ratio_s_interval_ends_where_the_bound_of_the_residuals_touches_zero() -> None:
    log = random_batch(4_000, 3, seed=0)
    limit = 60.0
    estimate = bernstein_ratio(Moments.of(snips(log)), largest_weight=limit)
    assert 0.0 < estimate.low < estimate.value < estimate.high < 1.0
    for end, inward in ((estimate.low, 1e-6), (estimate.high, -1e-6)):
        for v, excluded in ((end - inward, True), (end + inward, False)):
            residual = Moments.of(Terms(plain=log.weight * (log.reward - v)))
            around = empirical_bernstein(residual, low=-limit * v, high=limit * (1.0 - v))
            assert (around.low > 0.0 or around.high < 0.0) == excluded


def test_bounds_hold_far_more_often_than_they_promise() -> None:
    held = 0
    for seed in range(200):
        log = random_batch(300, 2, seed=seed, floor=0.5)
        truth = 0.5  # mean rewards are uniform and independent of both policies
        estimate = empirical_bernstein(Moments.of(ips(log)), low=0.0, high=4.0)
        ratio = bernstein_ratio(Moments.of(snips(log)), largest_weight=4.0)
        held += (estimate.low <= truth <= estimate.high) and (ratio.low <= truth <= ratio.high)
    assert held >= 198
