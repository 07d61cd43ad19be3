"""The columns of a log that every estimator reads, checked once, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from fairlead.experiments.ope.validation import (
    Integers,
    Matrix,
    Vector,
    check,
    columns,
    matrix,
    same_length,
    vector,
)
from fairlead.optimizer.errors import InvalidInput

# Below this a probability is rounding, not a choice; one such weight would drown every other decision.
SMALLEST_PROPENSITY: Final = 1e-12
# Squares of weighted rewards must stay far from overflow.
LARGEST_REWARD: Final = 1e12
_SUM_TOLERANCE: Final = 1e-6
_RANGE: Final = "not a number of size up to 1e12"


@dataclass(frozen=True, kw_only=True, eq=False)
class LoggedBatch:
    """n logged decisions among k providers, as columns that are never changed.

    `reward` (n,) is what the chosen provider earned: quality, USD, seconds, or a utility of them. `action`
    (n,) is its column, 0 to k − 1, and `propensity` (n,), in (0, 1], the logging policy's probability of it.
    `target` (n, k) holds the target policy's probabilities, each row summing to 1. The optional `q_hat`
    (n, k) is a model's prediction of the reward at every provider, made without sight of the decision's own
    reward (`cross_fit`). Anything else raises `InvalidInput`, which names the first row that is wrong.

    >>> batch = LoggedBatch(
    ...     reward=[1.0, 0.0], action=[0, 1], propensity=[0.5, 0.8], target=[[0.5, 0.5], [0.6, 0.4]]
    ... )
    >>> len(batch), batch.weight.tolist()
    (2, [1.0, 0.5])
    """

    reward: Vector
    action: Integers
    propensity: Vector
    target: Matrix
    q_hat: Matrix | None = None

    def __post_init__(self) -> None:
        target = matrix("target", self.target)
        checked = {
            "reward": vector("reward", self.reward),
            "action": columns("action", self.action, target.shape[1]),
            "propensity": vector("propensity", self.propensity),
            "target": target,
            "q_hat": None if self.q_hat is None else matrix("q_hat", self.q_hat),
        }
        same_length(checked)
        for name, column in checked.items():
            object.__setattr__(self, name, column)
        self._check()

    def _check(self) -> None:
        small = np.abs(self.reward) <= LARGEST_REWARD  # false for NaN too
        check(self.reward, small, name="reward", rule=_RANGE, remedy="leave such decisions out")
        possible = (self.propensity >= SMALLEST_PROPENSITY) & (self.propensity <= 1.0)
        rule = f"not a probability from {SMALLEST_PROPENSITY:g} to 1"
        remedy = "log the one that the choice was drawn with"
        check(self.propensity, possible, name="propensity", rule=rule, remedy=remedy)
        # NaN and infinity make the sum of their row wrong.
        total = self.target @ np.ones(self.target.shape[1])
        fine = np.abs(total - 1.0) <= _SUM_TOLERANCE
        remedy = "give probabilities of all candidates"
        check(total, fine, name="target", rule="the sum of a row and not 1", remedy=remedy)
        if self.target.min() < 0.0:
            low = self.target.min(axis=1)
            check(low, low >= 0.0, name="target", rule="less than 0", remedy="give probabilities")
        if self.q_hat is None:
            return
        if self.q_hat.shape != self.target.shape:
            raise InvalidInput(
                f"q_hat has shape {self.q_hat.shape} and target {self.target.shape}: "
                "predict for every provider"
            )
        largest = np.abs(self.q_hat).max(axis=1)
        fine = largest <= LARGEST_REWARD
        check(largest, fine, name="q_hat", rule=_RANGE, remedy="fit the reward model again")

    def __len__(self) -> int:
        """Return the number of decisions."""
        return len(self.reward)

    @cached_property
    def weight(self) -> Vector:
        """Importance weight w = π(a | x) / p of the logged choice, shape (n,); its expectation is 1."""
        weight: Vector = self.target[np.arange(len(self)), self.action] / self.propensity
        return weight

    @cached_property
    def q_logged(self) -> Vector:
        """Predicted reward of the logged choice, shape (n,)."""
        predicted: Vector = self._predicted[np.arange(len(self)), self.action]
        return predicted

    @cached_property
    def q_target(self) -> Vector:
        """Predicted reward under the target policy, Σ_a π(a | x) q̂(x, a), shape (n,)."""
        expected: Vector = np.einsum("ij,ij->i", self.target, self._predicted)
        return expected

    @property
    def _predicted(self) -> Matrix:
        if self.q_hat is None:
            raise InvalidInput(
                "q_hat is missing, which DM and DR need: fit a reward model, or use IPS, SNIPS"
            )
        return self.q_hat
