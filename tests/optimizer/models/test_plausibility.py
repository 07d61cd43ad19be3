"""The range of plausible amounts: what most agree on, whatever a few say and in whatever order."""

import math
from bisect import insort

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.optimizer.models.plausibility import (
    ANYTHING,
    COUNTED,
    Limits,
    PlausibleRange,
    bin_of,
    likely_error,
    scale_of,
)

AS_EXPECTED = bin_of(1.0)


def range_of(bins, *, prior=0):
    plausible = PlausibleRange(prior=prior)
    for seq, bin_ in enumerate(bins):
        plausible.add(seq, bin_)
    return plausible


def test_nothing_is_implausible_before_anything_was_seen():
    assert PlausibleRange().limits == ANYTHING
    assert PlausibleRange(prior=4).limits == Limits(AS_EXPECTED - 5, AS_EXPECTED + 2, AS_EXPECTED + 5)


@pytest.mark.parametrize("outlier", [bin_of(1e6), bin_of(1e-6)])
def test_one_outlier_moves_nothing_however_few_others_there_are(outlier):
    for others in range(2, 700, 7):
        calm = range_of([AS_EXPECTED] * others)
        assert range_of([*[AS_EXPECTED] * others, outlier]).limits == calm.limits


def test_three_calls_correct_a_declared_expectation():
    assert range_of([bin_of(1e3)] * 2, prior=4).limits.high < bin_of(1e3)
    assert range_of([bin_of(1e3)] * 3, prior=4).limits.high > bin_of(1e3)


def test_a_change_is_confirmed_by_some_tens_of_calls_however_long_the_history():
    bins = [AS_EXPECTED] * 5_000
    for _ in range(24):
        assert range_of(bins).limits.high < bin_of(50.0)
        bins.append(bin_of(50.0))
    assert range_of(bins).limits.high >= bin_of(50.0)


def test_two_in_a_hundred_are_never_confirmed():
    rng = np.random.default_rng(0)
    plausible = PlausibleRange()
    for seq in range(20_000):
        plausible.add(seq, bin_of(1e4) if rng.random() < 0.02 else bin_of(rng.lognormal(0.0, 0.7)))
        assert seq < 100 or plausible.limits.high < bin_of(1e4)


def test_answers_of_two_lengths_are_both_plausible():
    rng = np.random.default_rng(0)
    plausible = range_of([bin_of(400.0 if rng.random() < 0.1 else 1.0) for _ in range(600)])
    assert plausible.limits.low <= bin_of(1.0) and plausible.limits.clip >= bin_of(400.0)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_range_is_that_of_the_latest_amounts_in_whatever_order_they_come(data):
    n = data.draw(st.sampled_from([5, 30, COUNTED, COUNTED + 100, 900]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1_000)))
    amounts = [(seq, int(rng.integers(-3, 9))) for seq in range(n)]
    late = {int(seq) for seq in rng.choice(n, size=min(n, 20), replace=False) if seq >= n - 500}
    plausible = PlausibleRange(prior=4)
    for seq, bin_ in amounts:
        plausible.add(seq, 40 if seq in late else bin_)
    for seq in sorted(late, reverse=True):
        plausible.remove(seq, 40)
        plausible.add(seq, amounts[seq][1])
    clean = range_of([bin_ for _, bin_ in amounts], prior=4)
    assert plausible.limits == clean.limits and plausible.typical_bin == clean.typical_bin
    counted: list[int] = []
    for _, bin_ in amounts[-COUNTED:]:
        insort(counted, bin_)
    for _ in range(4):
        insort(counted, AS_EXPECTED)
    k = min(3 + len(counted) // 24, (len(counted) + 1) // 2)
    median = counted[(len(counted) - 1) // 2]
    assert plausible.limits == Limits(counted[k - 1] - 5, counted[-k] + 2, counted[-k] + 5, median)
    again = PlausibleRange(prior=4)
    again.restore(plausible.state())
    assert again.limits == plausible.limits and again._sorted == plausible._sorted


def test_free_calls_are_the_least_of_all():
    assert bin_of(0.0) < bin_of(5e-324) < bin_of(1e-300) < bin_of(1.7e308)
    assert range_of([bin_of(0.0)] * 50).limits.low == bin_of(0.0)
    assert math.isfinite(ANYTHING.clip_ratio)


@pytest.mark.parametrize(
    ("quantity", "value", "expected", "text"),
    [
        ("cost", 0.1, 0.001, "cents for dollars"),
        ("cost", 1.1, 0.001, "a price per 1M tokens taken as per 1k"),
        ("cost", 900.0, 0.001, "millionths of a dollar for dollars"),
        ("latency", 1_300.0, 1.0, "ms for s"),
        ("latency", 2e6, 1.0, "µs for s"),
        ("latency", 0.02, 1.2, "minutes for seconds"),
        ("prices", 1_000.0, 1.0, "the list is per 1k tokens, and was declared as per 1M"),
        ("cost", 10.0, 0.001, ""),
        ("cost", 0.0, 0.001, ""),
        ("latency", 1.0, 0.0, ""),
    ],
)
def test_errors_of_unit_are_named(quantity, value, expected, text):
    assert likely_error(quantity, value=value, expected=expected) == text


def test_a_list_is_wrong_by_a_power_of_ten_or_not_at_all():
    for ratio in np.geomspace(1 / 40, 40):
        assert scale_of(bin_of(float(ratio))) == 1.0
    for power in (-6, -3, -2, 2, 3, 6):
        assert scale_of(bin_of(10.0**power)) == pytest.approx(10.0**power)
    assert scale_of(bin_of(0.0)) == 1.0


def test_calls_that_are_mostly_free_rule_out_none_that_cost_what_the_list_says():
    free = [bin_of(0.0)] * 500
    assert range_of([*free, AS_EXPECTED], prior=4).limits.high >= AS_EXPECTED
    assert range_of([*free, *[AS_EXPECTED] * 40]).limits.high >= AS_EXPECTED
    assert range_of([*free, AS_EXPECTED]).limits.high < AS_EXPECTED
