"""What must hold of every log, whatever its numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.experiments.ope.estimators import (
    clipped_dr,
    clipped_ips,
    dm,
    dr,
    ips,
    on_policy,
    shrunk_dr,
    sndr,
    snips,
    sub_gaussian_dr,
    sub_gaussian_ips,
    switch_dr,
)
from fairlead.experiments.ope.intervals import asymptotic
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments, merge
from fairlead.experiments.ope.terms import Terms
from tests.experiments.ope.random_logs import random_batch

some_logs = st.builds(
    random_batch,
    st.integers(1, 60),
    st.integers(1, 6),
    seed=st.integers(0, 2**32),
    floor=st.floats(0.01, 1.0),
)


@given(some_logs, st.floats(0.0, 50.0))
def test_with_predictions_of_nothing_dr_is_ips(log: LoggedBatch, lam: float) -> None:
    log = replace(log, q_hat=np.zeros_like(log.target))
    np.testing.assert_array_equal(dr(log).plain, ips(log).plain)
    np.testing.assert_array_equal(clipped_dr(log, lam=lam).plain, clipped_ips(log, lam=lam).plain)
    assert sndr(log).value == snips(log).value


@given(some_logs)
def test_with_a_perfect_model_dr_is_dm(log: LoggedBatch) -> None:
    q_hat = log.q_hat.copy()
    q_hat[np.arange(len(log)), log.action] = log.reward
    log = replace(log, q_hat=q_hat)
    for estimator in (dr, sndr, lambda d: switch_dr(d, lam=2.0), lambda d: shrunk_dr(d, lam=2.0)):
        assert estimator(log).value == pytest.approx(dm(log).value, abs=1e-12)


@given(some_logs, st.floats(-100.0, 100.0))
def test_snips_and_sndr_shift_with_the_rewards(log: LoggedBatch, shift: float) -> None:
    moved = replace(log, reward=log.reward + shift, q_hat=log.q_hat + shift)
    for estimator in (snips, sndr, dr):
        assert estimator(moved).value == pytest.approx(estimator(log).value + shift, abs=1e-9)


@given(some_logs)
def test_snips_stays_within_the_rewards(log: LoggedBatch) -> None:
    assert log.reward.min() - 1e-12 <= snips(log).value <= log.reward.max() + 1e-12


@given(some_logs)
def test_the_logging_policy_s_own_weights_are_one(log: LoggedBatch) -> None:
    """A log of one provider per row, each certain: every estimator then gives the mean reward."""
    target = np.zeros_like(log.target)
    target[np.arange(len(log)), log.action] = 1.0
    own = replace(log, target=target, propensity=np.ones(len(log)))
    for estimator in (ips, snips, dr, sndr, lambda d: sub_gaussian_ips(d, lam=0.3)):
        assert estimator(own).value == pytest.approx(on_policy(own).value, abs=1e-12)


@given(some_logs)
def test_unlimited_lambdas_give_the_plain_estimators(log: LoggedBatch) -> None:
    assert clipped_ips(log, lam=np.inf).value == ips(log).value
    for tamed in (clipped_dr(log, lam=np.inf), switch_dr(log, lam=np.inf), shrunk_dr(log, lam=np.inf)):
        np.testing.assert_array_equal(tamed.plain, dr(log).plain)
    np.testing.assert_allclose(sub_gaussian_dr(log, lam=0.0).plain, dr(log).plain)


@settings(deadline=None)
@given(st.integers(2, 400), st.integers(1, 5), st.floats(0.0, 1e6), st.integers(0, 2**32))
def test_merged_parts_are_the_whole(n: int, parts: int, offset: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = [offset + rng.standard_normal(n), rng.standard_normal(n), 1.0 + rng.random(n)]
    whole = Moments.of(Terms(plain=columns[0], weighted=columns[1], weight=columns[2]))
    cuts = np.sort(rng.integers(1, n, size=parts - 1))
    pieces = zip(*(np.split(column, cuts) for column in columns), strict=True)
    merged = merge(Moments.of(Terms(plain=a, weighted=b, weight=c)) for a, b, c in pieces if len(a))
    assert merged.n == whole.n == n
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13, atol=1e-15 * max(offset, 1.0))
    # A spread of 1 around an offset of a million is still known to twelve digits less those of the offset.
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-8 * n)
    np.testing.assert_array_equal(merged.low, whole.low)
    np.testing.assert_array_equal(merged.high, whole.high)
    assert asymptotic(merged).standard_error == pytest.approx(asymptotic(whole).standard_error, rel=1e-7)


def test_blocks_of_moments_are_the_whole_too() -> None:
    log = random_batch(40_000, 3, seed=5)  # more than two blocks
    moments = Moments.of({"ips": ips(log), "snips": snips(log)})
    rows = np.column_stack([log.weight * log.reward, log.weight])
    assert moments.mean[0] == pytest.approx(rows[:, 0].mean(), rel=1e-13)
    np.testing.assert_allclose(moments.scatter[4:6, 4:6] / (len(log) - 1), np.cov(rows.T), rtol=1e-11)
