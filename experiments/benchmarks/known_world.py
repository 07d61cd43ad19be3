"""Logs drawn from a full-information outcome table, so that every target policy's true value is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.experiments.baselines.ridge import ridge
from fairlead.experiments.ope.validation import Integers, Matrix, Vector
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.features.surface import SurfaceFeatures
from fairlead.optimizer.types import Context

TARGETS: Final = ("uniform", "greedy", "best fixed")
_SEEN: Final = 300  # prompts from which the logging policy's own, mediocre model was learned
_KNOWN: Final = 1_500  # prompts from which the greedy target's model was learned
_EXPLORE: Final = 0.2
_TEMPERATURE: Final = 0.1
_PENALTY: Final = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """N prompts at k providers: quality and the logging policy's probabilities (N, k), features (N, d).

    `targets` are policies (N, k) by name, and `early_model` (N, k) predicts quality from other prompts'
    outcomes, as a model would that was there before the log.
    """

    quality: Matrix
    features: Matrix
    logging: Matrix
    targets: dict[str, Matrix]
    early_model: Matrix

    def value(self, target: str) -> float:
        """Compute the expected quality of a target policy over the prompts: the truth."""
        return float((self.targets[target] * self.quality).sum(axis=1).mean())

    @property
    def largest_weight(self) -> float:
        """The bound on the weights of every policy: 1 over the smallest logging probability."""
        return 1.0 / float(self.logging.min())


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnLog:
    """Independent decisions (n,): the row of the prompt, the provider chosen, its propensity and reward."""

    row: Integers
    action: Integers
    propensity: Vector
    reward: Vector


def make_world(table: OutcomeTable, *, seed: int = 0) -> World:
    """Make a world of the prompts that every provider served.

    The logging policy mixes a softmax of a model learned from 300 prompts with 20 % uniform exploration. The
    targets: uniform; the best by a model learned from 1,500 prompts; always the provider of the highest mean.
    """
    complete = np.flatnonzero(table.available.all(axis=1))
    quality = table.quality[complete]
    texts = [Context(text=table.prompts[i]) for i in complete.tolist()]
    tasks = [table.tasks[i] for i in complete.tolist()]
    features = np.hstack([SurfaceFeatures().transform(texts), _one_hot(tasks)])
    features = features[:, features.std(axis=0) > 0.0]
    order = np.random.default_rng(seed).permutation(len(quality))
    weak = _predict(features, quality, order[:_SEEN])
    strong = _predict(features, quality, order[-_KNOWN:])
    k = quality.shape[1]
    chances = np.exp((weak - weak.max(axis=1, keepdims=True)) / _TEMPERATURE)
    chances /= chances.sum(axis=1, keepdims=True)
    targets = {
        "uniform": np.full_like(quality, 1.0 / k),
        "greedy": np.eye(k)[strong.argmax(axis=1)],
        "best fixed": np.tile(np.eye(k)[quality.mean(axis=0).argmax()], (len(quality), 1)),
    }
    return World(
        quality=quality,
        features=features,
        logging=(1.0 - _EXPLORE) * chances + _EXPLORE / k,
        targets=targets,
        early_model=np.clip(weak, 0.0, 1.0),
    )


def draw_log(world: World, *, decisions: int, seed: int) -> DrawnLog:
    """Draw prompts with replacement, and a provider for each from the logging policy."""
    rng = np.random.default_rng(seed)
    row = rng.integers(len(world.quality), size=decisions)
    chances = world.logging[row]
    passed = np.cumsum(chances, axis=1) <= rng.random(decisions)[:, None]
    action = np.minimum(passed.sum(axis=1), chances.shape[1] - 1)
    return DrawnLog(
        row=row,
        action=action,
        propensity=chances[np.arange(decisions), action],
        reward=world.quality[row, action],
    )


def _one_hot(labels: Sequence[str]) -> Matrix:
    names = sorted(set(labels))
    column = {name: j for j, name in enumerate(names)}
    return np.eye(len(names))[[column[label] for label in labels]]


def _predict(features: Matrix, quality: Matrix, rows: Integers) -> Matrix:
    """Ridge regressions on the known prompts' outcomes, for all prompts, shape (N, k)."""
    design = np.hstack([features, np.ones((len(features), 1))])
    return design @ ridge(design[rows], quality[rows], penalty=_PENALTY)
