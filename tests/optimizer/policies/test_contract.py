"""What every policy must do; a new policy is one entry in POLICIES."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.policies.fixed import Fixed
from fairlead.optimizer.policies.presets import policy_from_name

NAMES = ["thompson", "squarecb", "squarecb:0", "epsilon-greedy:0.05", "uniform", "greedy", "linucb:2"]
POLICIES: list[Policy] = [*map(policy_from_name, NAMES), Fixed(index=1)]


def beliefs(k: int, n: int = 64, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    utility = rng.normal(0.5, 0.3, (n, k))
    utility[rng.random((n, k)) < 0.2] = -np.inf
    utility[np.arange(n), rng.integers(k, size=n)] = 0.5
    return utility, 10 ** rng.uniform(-4, 0, (n, k)) * (rng.random((n, k)) > 0.1)


def check_sums_to_one(policy: Policy, utility: np.ndarray, spread: np.ndarray) -> None:
    found = policy.probabilities(utility, spread)
    assert found.shape == utility.shape
    assert (found >= 0).all()
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-12


def check_ineligible_zero(policy: Policy, utility: np.ndarray, spread: np.ndarray) -> None:
    assert (policy.probabilities(utility, spread)[utility == -np.inf] == 0).all()


def check_batch_equals_single(policy: Policy, utility: np.ndarray, spread: np.ndarray) -> None:
    batch = policy.probabilities(utility, spread)
    rows = [policy.probabilities(utility[i : i + 1], spread[i : i + 1])[0] for i in range(len(utility))]
    assert np.array_equal(batch, np.array(rows))


def check_pure(policy: Policy, utility: np.ndarray, spread: np.ndarray) -> None:
    before = utility.copy(), spread.copy()
    first = policy.probabilities(utility, spread)
    assert np.array_equal(first, policy.probabilities(utility, spread))
    assert np.array_equal(utility, before[0]) and np.array_equal(spread, before[1])


def check_permutation_equivariant(policy: Policy, utility: np.ndarray, spread: np.ndarray) -> None:
    seq = np.random.default_rng(1).permutation(utility.shape[1])
    moved = policy.probabilities(utility[:, seq], spread[:, seq])
    assert np.abs(moved - policy.probabilities(utility, spread)[:, seq]).max() < 1e-6


CHECKS = [check_sums_to_one, check_ineligible_zero, check_batch_equals_single, check_pure]


@pytest.mark.parametrize("k", [2, 3, 5, 11, 20])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_contract(policy: Policy, k: int) -> None:
    for check in CHECKS:
        check(policy, *beliefs(k))
    if not isinstance(policy, Fixed):
        check_permutation_equivariant(policy, *beliefs(k))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_extreme_values(policy: Policy) -> None:
    utility = np.array([[1e99, -1e99, 0.0], [-1e308, -1e308, -np.inf], [0.0, 0.0, 0.0], [5e-324, 0, 1.0]])
    for spread in (0.0, 1e-300, 1e-12, 1.0, 1e98):
        for check in CHECKS:
            check(policy, utility, np.full(utility.shape, spread))
    assert policy.probabilities(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_refuses_what_it_cannot_answer(policy: Policy, n: int) -> None:
    fine = np.zeros((n, 3))
    with pytest.raises(NoEligibleProvider, match="ruled out for request 0"):
        policy.probabilities(np.full((n, 3), -np.inf), fine)
    for wrong in (np.nan, np.inf):
        with pytest.raises(InvalidInput, match="a utility is"):
            policy.probabilities(fine + np.array([0, 0, wrong]), fine)
    for wrong in (np.nan, np.inf, -1.0):
        with pytest.raises(InvalidInput, match="a spread is"):
            policy.probabilities(fine, fine + np.array([0, 0, wrong]))
    with pytest.raises(InvalidInput, match="shape"):
        policy.probabilities(fine, np.zeros((n, 2)))


def test_names_round_trip_and_are_listed_in_the_error() -> None:
    for policy in POLICIES[:-1]:
        assert policy_from_name(policy.name).name == policy.name
    assert policy_from_name("default").name == "thompson"
    assert policy_from_name("fixed:b", providers=["a", "b"]).name == "fixed:b"
    for name, told in {
        "best": "squarecb",
        "fixed:c": "'a'",
        "linucb:x": "number",
        "uniform:1": "greedy",
    }.items():
        with pytest.raises(InvalidInput, match=told):
            policy_from_name(name, providers=["a", "b"])
