"""Checks that every policy must pass; a new one joins by a line in `test_policies.POLICIES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.policies.fixed import Fixed
from fairlead.optimizer.policies.presets import policy_from_name


def predictions() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Utilities and spreads of many requests, ordinary and extreme ones, some providers ruled out."""
    rng = np.random.default_rng(0)
    for k in (2, 3, 5, 11, 20):
        utility = rng.normal(0.5, 0.3, (64, k))
        utility[rng.random((64, k)) < 0.2] = -np.inf
        utility[np.arange(64), rng.integers(k, size=64)] = 0.5
        yield utility, 10 ** rng.uniform(-4, 0, (64, k)) * (rng.random((64, k)) > 0.1)
    utility = np.array([[1e99, -1e99, 0.0], [-1e308, -1e308, -np.inf], [0.0, 0.0, 0.0], [5e-324, 0, 1.0]])
    for spread in (0.0, 1e-300, 1e-12, 1.0, 1e98):
        yield utility, np.full(utility.shape, spread)
    yield np.zeros((0, 3)), np.zeros((0, 3))


def check_probabilities_sum_to_one(policy: Policy) -> None:
    for utility, spread in predictions():
        probabilities = policy.probabilities(utility, spread)
        assert probabilities.shape == utility.shape
        assert (probabilities >= 0).all()
        assert np.abs(probabilities.sum(axis=1) - 1).max(initial=0.0) < 1e-12


def check_ineligible_providers_get_zero(policy: Policy) -> None:
    for utility, spread in predictions():
        assert (policy.probabilities(utility, spread)[utility == -np.inf] == 0).all()


def check_a_request_is_answered_alone_as_among_many(policy: Policy) -> None:
    for utility, spread in predictions():
        batch = policy.probabilities(utility, spread)
        rows = [policy.probabilities(utility[i : i + 1], spread[i : i + 1])[0] for i in range(len(utility))]
        assert np.array_equal(batch, np.array(rows).reshape(batch.shape))


def check_policy_is_pure(policy: Policy) -> None:
    for utility, spread in predictions():
        before = utility.copy(), spread.copy()
        first = policy.probabilities(utility, spread)
        assert np.array_equal(first, policy.probabilities(utility, spread))
        assert np.array_equal(utility, before[0]) and np.array_equal(spread, before[1])


def check_order_of_providers_does_not_matter(policy: Policy) -> None:
    if isinstance(policy, Fixed):
        return
    for utility, spread in list(predictions())[:5]:
        order = np.random.default_rng(1).permutation(utility.shape[1])
        moved = policy.probabilities(utility[:, order], spread[:, order])
        assert np.abs(moved - policy.probabilities(utility, spread)[:, order]).max() < 1e-6


def check_refuses_what_it_cannot_answer(policy: Policy) -> None:
    for n in (1, 3):
        zeros = np.zeros((n, 3))
        with pytest.raises(NoEligibleProvider, match="ruled out for request 0"):
            policy.probabilities(np.full((n, 3), -np.inf), zeros)
        for wrong in (np.nan, np.inf):
            with pytest.raises(InvalidInput, match="a utility is"):
                policy.probabilities(zeros + np.array([0, 0, wrong]), zeros)
        for wrong in (np.nan, np.inf, -1.0):
            with pytest.raises(InvalidInput, match="a spread is"):
                policy.probabilities(zeros, zeros + np.array([0, 0, wrong]))
        with pytest.raises(InvalidInput, match="shape"):
            policy.probabilities(zeros, np.zeros((n, 2)))


def check_name_makes_the_policy(policy: Policy) -> None:
    assert type(policy.takes_floor) is bool
    again = policy_from_name(policy.name, providers=["a", "b"])
    assert again.name == policy.name and type(again) is type(policy)


CHECKS: Final[tuple[Callable[[Policy], None], ...]] = (
    check_probabilities_sum_to_one,
    check_ineligible_providers_get_zero,
    check_a_request_is_answered_alone_as_among_many,
    check_policy_is_pure,
    check_order_of_providers_does_not_matter,
    check_refuses_what_it_cannot_answer,
    check_name_makes_the_policy,
)
