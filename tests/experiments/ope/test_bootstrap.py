"""The bootstrap: renormalised, seeded, mergeable, and as wide as the spread of fresh logs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.experiments.ope import bootstrap
from fairlead.experiments.ope.bootstrap import Resamples, percentile, resample
from fairlead.experiments.ope.estimators import ips, snips
from fairlead.experiments.ope.intervals import asymptotic
from fairlead.experiments.ope.moments import Moments, difference, merge
from fairlead.experiments.ope.terms import Terms
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.ope.random_logs import random_batch


def test_counts_have_the_moments_of_a_poisson_count() -> None:
    counts = bootstrap._COUNTS
    assert len(counts) == 256
    assert counts.mean() == 1.0
    assert counts.var() == 1.0
    assert ((counts - 1.0) ** 3).mean() == pytest.approx(1.0, abs=0.02)


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    terms = snips(random_batch(500, 3, seed=0))
    first, again, other = (resample(terms, seed=seed, resamples=200) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.sums, again.sums)
    assert not np.array_equal(first.sums, other.sums)


def test_every_resample_is_divided_by_its_own_weights() -> None:
    """With equal rewards a renormalised estimate cannot vary; one divided by the log's mean weight does."""
    log = random_batch(400, 4, seed=1)
    equal = Terms(weighted=0.7 * log.weight, weight=log.weight)
    estimate = percentile(resample(equal, seed=0, resamples=200))
    assert estimate.low == pytest.approx(0.7) and estimate.high == pytest.approx(0.7)


def test_the_sums_are_those_of_the_counts_that_were_drawn() -> None:
    n = 300  # more than two blocks
    ones = resample(Terms(plain=np.ones(n)), seed=3, resamples=100)
    np.testing.assert_array_equal(ones.sums[:, 0], ones.counts)
    parts = [np.where(np.arange(n) % 3 == j, 2.0, 0.0) for j in range(3)]
    resamples = resample({f"{j}": Terms(plain=part) for j, part in enumerate(parts)}, seed=3, resamples=100)
    np.testing.assert_array_equal(resamples.sums[:, [0, 3, 6]].sum(axis=1), 2.0 * ones.counts)
    assert ones.counts.mean() == pytest.approx(n, rel=0.02)
    assert ones.counts.std(ddof=1) == pytest.approx(math.sqrt(n), rel=0.3)


def test_spread_over_resamples_is_the_delta_method_s() -> None:
    log = random_batch(5_000, 4, seed=2)
    terms = {"ips": ips(log), "snips": snips(log)}
    resamples, moments = resample(terms, seed=0), Moments.of(terms)
    for contrast in ("ips", "snips", difference("ips", "snips")):
        estimate, expected = percentile(resamples, contrast), asymptotic(moments, contrast)
        assert estimate.value == pytest.approx(expected.value, rel=1e-12)
        assert estimate.standard_error == pytest.approx(expected.standard_error, rel=0.06)
        assert estimate.half_width == pytest.approx(expected.half_width, rel=0.1)


def test_partitions_are_resampled_apart_and_added() -> None:
    log = random_batch(3_000, 3, seed=4)
    columns = (log.weight * log.reward, log.weight)
    cuts = [1_000, 1_001]
    parts = [
        resample(Terms(weighted=a, weight=b), seed=5, partition=i)
        for i, (a, b) in enumerate(zip(*(np.split(column, cuts) for column in columns), strict=True))
    ]
    estimate = percentile(merge(parts))
    whole = percentile(resample(snips(log), seed=5))
    assert estimate.n == 3_000
    assert estimate.value == pytest.approx(whole.value, rel=1e-12)
    assert estimate.half_width == pytest.approx(whole.half_width, rel=0.15)
    assert not np.array_equal(parts[0].counts, parts[2].counts)


def test_resamples_without_weight_open_the_interval() -> None:
    weight = np.zeros(40)
    weight[0] = 1.0  # absent from 37 % of the resamples
    estimate = percentile(resample(Terms(weighted=weight * 0.5, weight=weight), seed=0, resamples=400))
    assert (estimate.value, estimate.low, estimate.high) == (0.5, -math.inf, math.inf)
    assert math.isnan(estimate.standard_error)


def test_one_decision_has_no_interval() -> None:
    estimate = percentile(resample(Terms(plain=np.array([0.4])), seed=0, resamples=100))
    assert (estimate.value, estimate.low, estimate.high) == (0.4, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 0, "resamples": 99}, "resamples is 99"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 0, "partition": -1}, "partition -1"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        resample(Terms(plain=np.ones(3)), **arguments)


def test_what_does_not_belong_together_does_not_merge() -> None:
    few = resample(Terms(plain=np.ones(3)), seed=0, resamples=100)
    many = resample(Terms(plain=np.ones(3)), seed=0, resamples=200)
    with pytest.raises(InvalidInput, match="do not merge"):
        few.merge(many)
    with pytest.raises(InvalidInput, match="0 parts"):
        merge([])
    assert isinstance(few.merge(few), Resamples)
