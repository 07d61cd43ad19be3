"""Replay by rejection: Li et al.'s rule on uniform logs, rejection sampling on others, learning policies."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.experiments.ope.rejection import replay_learning
from fairlead.experiments.ope.validation import Vector
from fairlead.optimizer.errors import InvalidInput


class Fixed:
    """Always the same distribution; remembers what it learned."""

    def __init__(self, *chances: float) -> None:
        self._chances = np.array(chances)
        self.learned: list[tuple[int, int, float]] = []

    def probabilities(self, row: int) -> Vector:
        return self._chances

    def learn(self, row: int, action: int, reward: float) -> None:
        self.learned.append((row, action, reward))


class FollowTheLeader:
    """Takes the provider of the best mean reward so far in 80 %, else any; untried ones first."""

    def __init__(self, providers: int) -> None:
        self._total, self._count = np.zeros(providers), np.zeros(providers)

    def probabilities(self, row: int) -> Vector:
        mean = np.where(self._count > 0.0, self._total / np.maximum(self._count, 1.0), np.inf)
        probabilities: Vector = 0.8 * np.eye(len(mean))[mean.argmax()] + 0.2 / len(mean)
        return probabilities

    def learn(self, row: int, action: int, reward: float) -> None:
        self._total[action] += reward
        self._count[action] += 1.0


def test_a_uniform_log_keeps_exactly_what_agrees() -> None:
    policy = Fixed(0.0, 1.0)
    terms = replay_learning(
        policy,
        reward=np.array([0.1, 0.2, 0.3, 0.4]),
        action=np.array([1, 0, 1, 0]),
        propensity=np.full(4, 0.5),
        draws=np.full(4, 0.999),
    )
    assert policy.learned == [(0, 1, 0.1), (2, 1, 0.3)]
    assert terms.value == pytest.approx(0.2)


def test_a_skewed_log_is_thinned_to_the_policy_s_own_distribution() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    action = (rng.random(n) < 0.8).astype(np.int64)
    terms = replay_learning(
        Fixed(0.6, 0.4),
        reward=action.astype(np.float64),
        action=action,
        propensity=np.array([0.2, 0.8])[action],
        draws=rng.random(n),
    )
    assert terms.weight is not None
    assert terms.value == pytest.approx(0.4, abs=0.02)
    assert terms.weight.mean() == pytest.approx(0.2, abs=0.01)  # 1 / M, M = 1 / .2


def test_a_learning_policy_is_replayed_as_if_it_had_served() -> None:
    rng = np.random.default_rng(1)
    quality = np.array([0.2, 0.9, 0.5])
    logged = rng.integers(3, size=9_000)
    rewards = (rng.random((9_000, 3)) < quality).astype(np.float64)
    terms = replay_learning(
        FollowTheLeader(3),
        reward=rewards[np.arange(9_000), logged],
        action=logged,
        propensity=np.full(9_000, 1.0 / 3.0),
        draws=rng.random(9_000),
    )
    served, live = [], FollowTheLeader(3)
    for row in range(3_000):
        action = int(rng.choice(3, p=live.probabilities(row)))
        served.append(float(rng.random() < quality[action]))
        live.learn(row, action, served[-1])
    assert terms.value == pytest.approx(float(np.mean(served)), abs=0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propensity": np.array([0.5, 0.0])}, "propensity of decision 1 is 0"),
        ({"draws": np.array([0.5, 1.0])}, "draws of decision 1"),
        ({"action": np.array([0, 2])}, "action of decision 1 is 2"),
        ({"reward": np.array([0.5, np.nan])}, "reward of decision 1 is nan"),
        ({"largest_weight": 1.5}, "the weight of decision 0 is 2"),
        ({"draws": np.array([0.5])}, "draws has 1 rows"),
    ],
)
def test_bad_columns_are_refused(change: dict[str, object], message: str) -> None:
    columns: dict[str, object] = {
        "reward": np.array([1.0, 0.0]),
        "action": np.array([0, 1]),
        "propensity": np.array([0.5, 0.5]),
        "draws": np.array([0.1, 0.1]),
    }
    with pytest.raises(InvalidInput, match=message):
        replay_learning(Fixed(1.0, 0.0), **(columns | change))
