"""Replay by rejection: keep the logged decisions that a policy would have made itself (Li et al. 2011).

*Unbiased offline evaluation of contextual-bandit-based news article recommendation algorithms* replays logs
of uniform choices. A policy that learns sees only the kept decisions, which are then distributed as if it had
served.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from fairlead.experiments.ope.logged import SMALLEST_PROPENSITY, LoggedBatch
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Integers, Vector, check, columns, same_length, vector
from fairlead.optimizer.errors import InvalidInput, finite


def replay(batch: LoggedBatch) -> Terms:
    """Mean reward over the decisions whose logged choice is the target's likeliest.

    Right only if the logging policy was uniform; otherwise it is what SNIPS would be with its weights left
    out. A stochastic target is judged as if it always made its likeliest choice.

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.5], target=[[1, 0], [1, 0]])
    >>> replay(batch).value
    1.0
    """
    kept = (batch.target.argmax(axis=1) == batch.action).astype(np.float64)
    return Terms(weighted=kept * batch.reward, weight=kept)


class LearningPolicy(Protocol):
    """A policy that learns as it goes; `row` is the decision's position in the log."""

    def probabilities(self, row: int) -> Vector:
        """Return the probability of every provider for the context of this row, shape (k,)."""
        ...

    def learn(self, row: int, action: int, reward: float) -> None:
        """Learn the outcome of a decision that counts as the policy's own."""
        ...


def replay_learning(
    policy: LearningPolicy,
    *,
    reward: Vector,
    action: Integers,
    propensity: Vector,
    draws: Vector,
    largest_weight: float | None = None,
) -> Terms:
    """Play a policy that learns through a log; the terms are those of the mean reward of what was kept.

    `draws` (n,) are uniform in [0, 1), one per decision. A decision is kept with probability w / M, where w
    is the policy's probability of the logged choice over `propensity` and M is `largest_weight`, by default 1
    / min(propensity), the smallest number that no weight of any policy exceeds. Kept decisions are
    distributed as the policy's own, whatever the logging policy was (rejection sampling; Mandel et al. 2016);
    about n / M are kept. Uniform logs and deterministic policies give Li et al.'s rule: keep what agrees.

    >>> class First:
    ...     probabilities = lambda self, row: np.array([1.0, 0.0])
    ...     learn = lambda self, row, action, reward: print(f"learned {reward} in row {row}")
    >>> replay_learning(First(), reward=[1, 0.2], action=[0, 1], propensity=[0.5, 0.5], draws=[0, 0]).value
    learned 1.0 in row 0
    1.0
    """
    reward, propensity = vector("reward", reward), vector("propensity", propensity)
    action, draws = columns("action", action, 2**31), vector("draws", draws)
    same_length({"reward": reward, "propensity": propensity, "draws": draws, "action": action})
    _check(reward, propensity, draws)
    limit = 1.0 / float(propensity.min()) if largest_weight is None else largest_weight
    limit = finite("largest_weight", limit, low=1.0, remedy="give the largest that a weight can be")
    kept = np.zeros(len(reward))
    for row, column in enumerate(action.tolist()):
        weight = _probability(policy, row, column) / float(propensity[row])
        if not 0.0 <= weight <= limit * (1.0 + 1e-9):
            problem = f"the weight of decision {row} is {weight:g}, outside [0, {limit:g}]"
            raise InvalidInput(f"{problem}: give a larger largest_weight")
        if draws[row] * limit < weight:
            kept[row] = 1.0
            policy.learn(row, column, float(reward[row]))
    return Terms(weighted=kept * reward, weight=kept)


def _probability(policy: LearningPolicy, row: int, column: int) -> float:
    probabilities = policy.probabilities(row)
    if not column < len(probabilities):
        raise InvalidInput(
            f"action of decision {row} is {column}, but the policy knows {len(probabilities)} providers"
        )
    return float(probabilities[column])


def _check(reward: Vector, propensity: Vector, draws: Vector) -> None:
    remedy = "leave such decisions out"
    check(reward, np.isfinite(reward), name="reward", rule="not a finite number", remedy=remedy)
    possible = (propensity >= SMALLEST_PROPENSITY) & (propensity <= 1.0)
    remedy = "log the one that was drawn with"
    check(propensity, possible, name="propensity", rule="not a probability above 0", remedy=remedy)
    uniform = (draws >= 0.0) & (draws < 1.0)
    check(draws, uniform, name="draws", rule="outside [0, 1)", remedy="draw uniform numbers")
