"""Ridge regression in closed form, for reward models, the supervised reference and benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]


def ridge(features: _Array, target: _Array, *, penalty: float) -> _Array:
    """Weights that minimise |y − X w|² + penalty |w|², shape (d,) or (d, k) as the target is (n,) or (n, k).

    All of them are penalised: centre features and target to leave the intercept out of it.

    >>> ridge(np.array([[-1.0], [1.0]]), np.array([-0.3, 0.3]), penalty=1.0).round(3).tolist()
    [0.2]
    """
    gram: _Array = features.T @ features + penalty * np.eye(features.shape[1])
    return np.asarray(np.linalg.solve(gram, features.T @ target), dtype=np.float64)
