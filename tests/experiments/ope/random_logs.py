"""Small random logs for the tests of this folder."""

from __future__ import annotations

import numpy as np

from fairlead.experiments.ope.logged import LoggedBatch


def random_batch(n: int, k: int, *, seed: int, floor: float = 0.05, model: bool = True) -> LoggedBatch:
    """n decisions among k providers; every propensity is at least floor / k, rewards are in [0, 1]."""
    rng = np.random.default_rng(seed)
    logging = (1.0 - floor) * rng.dirichlet(np.full(k, 0.5), n) + floor / k
    action = (rng.random((n, 1)) > logging.cumsum(axis=1)).sum(axis=1).clip(max=k - 1)
    mean = rng.random((n, k))
    return LoggedBatch(
        reward=(rng.random(n) < mean[np.arange(n), action]).astype(np.float64),
        action=action,
        propensity=logging[np.arange(n), action],
        target=rng.dirichlet(np.full(k, 0.5), n),
        q_hat=np.clip(mean + 0.2 * rng.standard_normal((n, k)), 0.0, 1.0) if model else None,
    )
