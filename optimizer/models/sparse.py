"""The fit of a mixture that leaves out coordinates which no request has moved yet.

Labels that were never sent, attributes that nobody uses, directions that are noise: such a coordinate says
nothing about any provider, so its weight keeps its prior, and the matrices need not hold it. Where features
are wide, that and leaving out the blocks that a member does not trust is most of the time of a fit. It
changes beliefs by less than 1e-7 of themselves; narrow features are fitted in full, so that they decide bit
for bit as they always did.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.models.posterior import Mixture, Posterior, Sums, common_precision, imagined_scale
from fairlead.optimizer.types.arrays import FloatArray

_UNVARYING: Final = 1e-12
"""Variance below which all requests had the same value."""


def fit_sparse(mixture: Mixture, sums: Sums, *, evidence: Sums | None = None) -> Posterior:
    """Compute what `Mixture.fit` does, up to rounding and what untrusted blocks would leak."""
    total = float(sums.count.sum())
    average = sums.gram[:, 0].sum(axis=0) / max(total, 1.0)
    second = np.einsum("kii->i", sums.gram) / max(total, 1.0)
    varies = second - average * average > _UNVARYING
    varies[0] = True
    inside = np.flatnonzero(varies)
    fitted = mixture.among(inside).fit(
        _among(sums, inside), evidence=None if evidence is None else _among(evidence, inside)
    )
    k, size = sums.moment.shape
    mean, cov = np.zeros((k, size)), np.zeros((k, size, size))
    mean[:, inside] = fitted.mean
    cov[:, inside[:, None], inside] = fitted.cov
    outside = np.flatnonzero(~varies)
    own = (
        _prior_variance(mixture, fitted, mixture.level(sums)[1])[:, outside]
        / imagined_scale(np.zeros(1), total) ** 2
    )
    # As a coordinate relative to the value that all requests had.
    centre = average[outside]
    cov[:, outside, outside] = own
    cov[:, 0, outside] = cov[:, outside, 0] = -own * centre
    cov[:, 0, 0] += own @ (centre * centre)
    average[0] = 1.0
    return replace(fitted, mean=mean, cov=cov, centre=average)


def _among(sums: Sums, inside: NDArray[np.int64]) -> Sums:
    return Sums(
        np.ascontiguousarray(sums.gram[:, inside[:, None], inside]),
        np.ascontiguousarray(sums.moment[:, inside]),
        sums.square,
        sums.count,
    )


def _prior_variance(mixture: Mixture, fitted: Posterior, spread: float) -> FloatArray:
    """Prior variance of each provider's standardised weights under the fitted members, shape (k, d)."""
    alone, pooled = fitted.weights.reshape(2, -1)
    own = (alone + pooled) @ (1.0 / mixture.precision)
    shared = pooled @ (1.0 / common_precision(mixture.precision, spread))
    variance: FloatArray = fitted.noise[:, None] * own + shared
    return variance
