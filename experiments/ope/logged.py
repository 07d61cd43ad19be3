"""The columns of a log that every estimator reads, checked once, and what is computed from them once."""

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
    matrix,
    places,
    same_length,
    vector,
)
from fairlead.optimizer.errors import InvalidInput

# Below this a probability is rounding, not a choice; one such weight would drown every other decision.
SMALLEST_PROPENSITY: Final = 1e-12
# Squares of weighted rewards must stay far from overflow.
LARGEST_REWARD: Final = 1e12
_SUM_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class LoggedBatch:
    """n logged decisions among k providers, as columns that are never changed.

    `reward` (n,) is what the chosen provider earned: quality, USD, seconds, or a utility of them. `action`
    (n,) is its column, 0 to k − 1, and `propensity` (n,), in (0, 1], the logging policy's probability of it.
    `target` (n, k) holds the target policy's probabilities, each row summing to 1, and `q_hat` (n, k), where
    given, a model's prediction of the reward at every provider, made without sight of the decision's own
    reward (`reward_models`). Anything else raises `InvalidInput` and names the first row that is wrong.
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
            "action": places("action", self.action, target.shape[1]),
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
        check("reward", self.reward, small, "not a number of size up to 1e12", "leave such decisions out")
        possible = (self.propensity >= SMALLEST_PROPENSITY) & (self.propensity <= 1.0)
        rule = f"not a probability from {SMALLEST_PROPENSITY:g} to 1"
        check("propensity", self.propensity, possible, rule, "log the one that the choice was drawn with")
        # NaN and infinity make the sum of their row wrong.
        total = self.target @ np.ones(self.target.shape[1])
        fine = np.abs(total - 1.0) <= _SUM_TOLERANCE
        check("target", total, fine, "the sum of a row and not 1", "give probabilities of all candidates")
        if self.target.min() < 0.0:
            low = self.target.min(axis=1)
            check("target", low, low >= 0.0, "less than 0", "give probabilities")
        if self.q_hat is None:
            return
        if self.q_hat.shape != self.target.shape:
            raise InvalidInput(
                f"q_hat has shape {self.q_hat.shape} and target {self.target.shape}: "
                "predict for every provider"
            )
        largest = np.abs(self.q_hat).max(axis=1)
        fine = largest <= LARGEST_REWARD
        check("q_hat", largest, fine, "not a number of size up to 1e12", "fit the reward model anew")

    def __len__(self) -> int:
        """The number of decisions."""
        return len(self.reward)

    @cached_property
    def weight(self) -> Vector:
        """Importance weight w = π(a | x) / p of the logged choice, shape (n,); its expectation is 1."""
        found: Vector = self.target[np.arange(len(self)), self.action] / self.propensity
        return found

    @cached_property
    def q_logged(self) -> Vector:
        """Predicted reward of the logged choice, shape (n,)."""
        found: Vector = self._predicted[np.arange(len(self)), self.action]
        return found

    @cached_property
    def q_target(self) -> Vector:
        """Predicted reward under the target policy, Σ_a π(a | x) q̂(x, a), shape (n,)."""
        found: Vector = np.einsum("ij,ij->i", self.target, self._predicted)
        return found

    @property
    def _predicted(self) -> Matrix:
        if self.q_hat is None:
            raise InvalidInput(
                "q_hat is missing, which DM and DR need: fit a reward model, or use IPS, SNIPS"
            )
        return self.q_hat
