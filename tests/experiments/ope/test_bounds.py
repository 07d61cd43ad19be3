"""Bounds and sequences: what they are on paper, and that bounds hold where their range does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.experiments.ope.estimators import ips, snips
from fairlead.experiments.ope.intervals import asymptotic_sequence, empirical_bernstein
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
    with pytest.raises(InvalidInput, match="self-normalised"):
        empirical_bernstein(weighted, low=0.0, high=2.0)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_levels_are_checked(level: float) -> None:
    with pytest.raises(InvalidInput, match="level"):
        empirical_bernstein(mean_of(0.0, 1.0), low=0.0, high=1.0, level=level)


def test_one_decision_bounds_nothing() -> None:
    estimate = empirical_bernstein(mean_of(0.5), low=0.0, high=1.0)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_bounds_hold_far_more_often_than_they_promise() -> None:
    held = 0
    for seed in range(200):
        log = random_batch(300, 2, seed=seed, floor=0.5)
        truth = 0.5  # mean rewards are uniform and independent of both policies
        estimate = empirical_bernstein(Moments.of(ips(log)), low=0.0, high=4.0)
        held += estimate.low <= truth <= estimate.high
    assert held >= 198


def test_a_sequence_is_wider_than_the_normal_interval_and_not_twice() -> None:
    log = random_batch(5_000, 3, seed=0)
    moments = Moments.of({"ips": ips(log), "snips": snips(log)})
    estimate = asymptotic_sequence(moments, "snips")
    assert 1.96 < estimate.half_width / estimate.standard_error < 3.5
