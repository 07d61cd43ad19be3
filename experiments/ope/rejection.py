"""Replay by rejection: keep the logged decisions that a policy would have made itself (Li et al. 2011).

*Unbiased offline evaluation of contextual-bandit-based news article recommendation algorithms* replays logs
of uniform choices. A policy that learns sees only the kept events, which are then distributed as if it had
served.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from fairlead.experiments.ope.logged import SMALLEST_PROPENSITY, LoggedBatch
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Integers, Vector, check, places, same_length, vector
from fairlead.optimizer.errors import InvalidInput, finite


def replay(decisions: LoggedBatch) -> Terms:
    """Mean reward where the logged choice is the target's likeliest provider (the first, in a tie).

    Right only where the logging policy was uniform; otherwise it is what SNIPS would be with its weights left
    out. A stochastic target is judged as if it always made its likeliest choice.
    """
    kept = (decisions.target.argmax(axis=1) == decisions.action).astype(np.float64)
    return Terms(weighted=kept * decisions.reward, weight=kept)


class LearningPolicy(Protocol):
    """A policy that learns as it goes; `row` is the decision's place in the log."""

    def probabilities(self, row: int) -> Vector:
        """Its probability of every provider for the context of this row, shape (k,)."""
        ...

    def learn(self, row: int, action: int, reward: float) -> None:
        """Take in the outcome of a decision that counts as its own."""
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
    / min(propensity), the smallest number that no weight of any policy exceeds. Kept events are distributed
    as the policy's own, whatever the logging policy was (rejection sampling; Mandel et al. 2016). Uniform
    logs and deterministic policies give Li et al.'s rule: keep what agrees. About n / M decisions are kept,
    so a log with small propensities leaves few.
    """
    reward, propensity, draws = (
        vector(name, column)
        for name, column in (("reward", reward), ("propensity", propensity), ("draws", draws))
    )
    columns = {
        "reward": reward,
        "propensity": propensity,
        "draws": draws,
        "action": places("action", action, 2**31),
    }
    same_length(columns)
    check("reward", reward, np.isfinite(reward), "not a finite number", "leave such decisions out")
    possible = (propensity >= SMALLEST_PROPENSITY) & (propensity <= 1.0)
    check("propensity", propensity, possible, "not a probability above 0", "log the one that was drawn with")
    check("draws", draws, (draws >= 0.0) & (draws < 1.0), "outside [0, 1)", "draw uniform numbers")
    limit = 1.0 / float(propensity.min()) if largest_weight is None else largest_weight
    limit = finite("largest_weight", limit, low=1.0, remedy="give the largest that a weight can be")
    kept = np.zeros(len(reward))
    for row, column in enumerate(np.asarray(action).tolist()):
        chances = policy.probabilities(row)
        if not column < len(chances):
            raise InvalidInput(
                f"action of decision {row} is {column}, but the policy knows {len(chances)} providers"
            )
        weight = float(chances[column]) / float(propensity[row])
        if not 0.0 <= weight <= limit * (1.0 + 1e-9):
            raise InvalidInput(
                f"the weight of decision {row} is {weight:g}, outside [0, {limit:g}]: "
                "give a larger largest_weight"
            )
        if draws[row] * limit < weight:
            kept[row] = 1.0
            policy.learn(row, column, float(reward[row]))
    return Terms(weighted=kept * reward, weight=kept)
