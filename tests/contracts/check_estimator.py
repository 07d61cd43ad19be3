"""Checks that every off-policy estimator must pass; a new one joins through the table `ESTIMATORS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import pytest

from fairlead.experiments.ope import LoggedBatch, Moments, merge, resample
from fairlead.experiments.ope.estimators import Estimator
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.ope.random_logs import random_batch

SEEDS: Final = range(25)


def check_certain_choices_earn_the_mean_reward(estimator: Estimator) -> None:
    """Both policies always choose what was chosen, and the model is perfect: there is nothing to correct."""
    for seed in SEEDS:
        batch = _batch(seed)
        target, rows = np.zeros_like(batch.target), np.arange(len(batch))
        target[rows, batch.action] = 1.0
        q_hat = batch.target.copy()
        q_hat[rows, batch.action] = batch.reward
        certain = replace(batch, target=target, propensity=np.ones(len(batch)), q_hat=q_hat)
        assert estimator(certain).value == pytest.approx(batch.reward.mean(), abs=1e-12)


def check_rewards_set_the_scale(estimator: Estimator) -> None:
    for seed in SEEDS:
        batch = _batch(seed)
        assert batch.q_hat is not None
        double = replace(batch, reward=2.0 * batch.reward, q_hat=2.0 * batch.q_hat)
        assert _value(estimator, double) == pytest.approx(2.0 * _value(estimator, batch), abs=1e-10)


def check_order_of_providers_does_not_matter(estimator: Estimator) -> None:
    for seed in SEEDS:
        batch = _batch(seed)
        assert batch.q_hat is not None
        order = np.random.default_rng(seed).permutation(batch.target.shape[1])
        moved = replace(
            batch,
            target=batch.target[:, order],
            q_hat=batch.q_hat[:, order],
            action=np.argsort(order)[batch.action],
        )
        assert _value(estimator, moved) == pytest.approx(_value(estimator, batch), abs=1e-10)


def check_parts_merge_to_the_whole(estimator: Estimator) -> None:
    for seed in SEEDS:
        batch = _batch(seed)
        whole = Moments.of(estimator(batch))
        cut = 1 + seed % (len(batch) - 1)
        merged = merge(
            Moments.of(estimator(_rows(batch, part))) for part in (slice(0, cut), slice(cut, None))
        )
        np.testing.assert_allclose(merged.mean, whole.mean, atol=1e-12)
        np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-9)


def check_value_is_finite_or_its_absence_explained(estimator: Estimator) -> None:
    for seed in SEEDS:
        batch = random_batch(1 + seed % 5, 1 + seed % 6, seed=seed)
        try:
            assert np.isfinite(Moments.of(estimator(batch)).value())
        except InvalidInput as error:
            assert "mean weight is 0" in str(error)


def check_columns_stay_as_they_are(estimator: Estimator) -> None:
    batch = random_batch(200, 4, seed=2)
    before = [column.copy() for column in (batch.reward, batch.propensity, batch.target, batch.q_hat)]
    terms = estimator(batch)
    Moments.of(terms)
    resample(terms, seed=0, resamples=100)
    for old, new in zip(before, (batch.reward, batch.propensity, batch.target, batch.q_hat), strict=True):
        np.testing.assert_array_equal(old, new)


CHECKS: Final[tuple[Callable[[Estimator], None], ...]] = (
    check_certain_choices_earn_the_mean_reward,
    check_rewards_set_the_scale,
    check_order_of_providers_does_not_matter,
    check_parts_merge_to_the_whole,
    check_value_is_finite_or_its_absence_explained,
    check_columns_stay_as_they_are,
)


def check_model_is_needed(estimator: Estimator, *, needed: bool) -> None:
    """Without predictions an estimator that takes a model says so, and any other gives its terms."""
    batch = random_batch(50, 3, seed=1, model=False)
    if not needed:
        estimator(batch)
        return
    with pytest.raises(InvalidInput, match="q_hat is missing"):
        estimator(batch)


def _batch(seed: int) -> LoggedBatch:
    return random_batch(20 + seed, 1 + seed % 6, seed=seed)


def _rows(batch: LoggedBatch, rows: slice) -> LoggedBatch:
    assert batch.q_hat is not None
    return LoggedBatch(
        reward=batch.reward[rows],
        action=batch.action[rows],
        propensity=batch.propensity[rows],
        target=batch.target[rows],
        q_hat=batch.q_hat[rows],
    )


def _value(estimator: Estimator, batch: LoggedBatch) -> float:
    """Return the value, or 0 if no decision has weight, which must be so for every variant of the batch."""
    try:
        return estimator(batch).value
    except InvalidInput:
        return 0.0
