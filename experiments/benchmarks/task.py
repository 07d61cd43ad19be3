"""The synthetic task on which contextual-bandit libraries are compared, and plain bandits to beat.

Contexts look like text embeddings: topics in a latent space, mapped linearly to `d` − 1 dimensions of unit
norm and a bias. A provider's quality is a sigmoid of its skill, a linear and a tanh part of the latent
vector and the request's difficulty; it is observed through a Beta distribution of concentration 4. Costs
are spaced logarithmically. The reward is quality − 0.3 · cost, scaled to [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.experiments.simulation.scenario import Matrix

_LATENT: Final = 24
_TOPICS: Final = 16
_HIDDEN: Final = 32
_COST_WEIGHT: Final = 0.3
_CONCENTRATION: Final = 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Contexts (n, d), the mean reward of every provider and the one that would be observed, (n, k)."""

    features: Matrix
    mean: Matrix
    observed: Matrix

    def score(self, chosen: list[int]) -> float:
        """Share of the way from chance (0) to the oracle (1), on noise-free means."""
        mean = self.mean[: len(chosen)]
        earned = mean[np.arange(len(chosen)), chosen].mean()
        chance, best = mean.mean(), mean.max(axis=1).mean()
        return float((earned - chance) / (best - chance))


def make_task(*, providers: int, width: int, rounds: int, seed: int) -> Task:
    """Draw a task of `rounds` requests, `providers` and `width` features including the bias."""
    rng = np.random.default_rng([seed, providers, width])
    centres = 1.2 * rng.standard_normal((_TOPICS, _LATENT))
    topics = rng.choice(_TOPICS, size=rounds, p=rng.dirichlet(np.full(_TOPICS, 2.0)))
    latent = centres[topics] + 0.8 * rng.standard_normal((rounds, _LATENT))
    spectrum = 1.0 / np.sqrt(1.0 + np.arange(_LATENT))  # decays, as that of embeddings does
    embedding = latent @ (spectrum[:, None] * rng.standard_normal((_LATENT, width - 1)))
    embedding += 0.05 * rng.standard_normal((rounds, width - 1)) + 0.5 * rng.standard_normal(width - 1)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    cost = np.geomspace(0.01, 1.0, providers)
    skill = 0.45 * (np.log10(cost) + 2.0) + 0.25 * rng.standard_normal(providers)
    direct = rng.standard_normal((providers, _LATENT)) * spectrum
    inner = rng.standard_normal((_LATENT, _HIDDEN)) / np.sqrt(_LATENT)
    outer = rng.standard_normal((providers, _HIDDEN)) / np.sqrt(_HIDDEN)
    difficulty = latent @ (rng.standard_normal(_LATENT) * spectrum)
    logit = skill + 0.8 * latent @ direct.T + 1.2 * np.tanh(1.5 * latent @ inner) @ outer.T
    quality = 0.02 + 0.96 / (1.0 + np.exp(0.7 * difficulty[:, None] - logit))
    seen = rng.beta(_CONCENTRATION * quality, _CONCENTRATION * (1.0 - quality))
    penalty = _COST_WEIGHT * (1.0 - cost)  # a constant more than − cost, so that the reward is in [0, 1]
    return Task(
        features=np.hstack([embedding, np.ones((rounds, 1))]),
        mean=(quality + penalty) / (1.0 + _COST_WEIGHT),
        observed=(seen + penalty) / (1.0 + _COST_WEIGHT),
    )


class PlainBandit:
    """One ridge regression per provider with a bonus (LinUCB) or, given a generator, a draw (Thompson)."""

    def __init__(
        self, *, providers: int, width: int, alpha: float, ridge: float, rng: np.random.Generator | None
    ) -> None:
        self._shape = (providers, width)
        self._inverse = np.repeat(np.eye(width)[None] / ridge, providers, axis=0)
        self._flat = self._inverse.reshape(providers * width, width)
        self._weights = np.zeros(self._shape)
        self._alpha = alpha
        self._rng = rng

    def choose(self, x: Matrix) -> int:
        """Choose the provider of the highest score for features x."""
        width = np.sqrt((self._flat @ x).reshape(self._shape) @ x)
        luck = 1.0 if self._rng is None else self._rng.standard_normal(self._shape[0])
        return int((self._weights @ x + self._alpha * width * luck).argmax())

    def learn(self, x: Matrix, chosen: int, reward: float) -> None:
        """Recursive least squares (Sherman and Morrison) for the chosen provider."""
        inverse = self._inverse[chosen]
        turned = inverse @ x
        gain = turned / (1.0 + float(turned @ x))
        self._weights[chosen] += (reward - float(self._weights[chosen] @ x)) * gain
        inverse -= np.outer(gain, turned)
