"""Trust in evidence from before a route's own traffic, earned by how well it foretells that traffic.

Evidence enters as a power prior (Ibrahim and Chen, *Power prior distributions for regression models*,
2000): its likelihood to the power w, so that n rows of it count as w·n of the route's own. The mixture is
fitted with all of it (w = 1), with a tenth, a hundredth and none, each half as likely beforehand as the one
before. Each weighs as much as the route's own observations were likely under it,
m(live | w) = Z(live + w evidence) / Z(w evidence), where Z is the marginal likelihood of all members
together. Evidence that misleads makes the first answers unlikely, and fades by itself; without a single
observation of the route's own, nothing speaks for or against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fairlead.optimizer.models.posterior import Posterior, Sums
from fairlead.optimizer.types.arrays import FloatArray

POWERS: Final = {1.0: 0.5, 0.1: 0.25, 0.01: 0.125, 0.0: 0.125}
"""How much one row of evidence may count, in observations of the route's own, and how likely beforehand."""

_LEAST_WEIGHT: Final = 1e-3


def added(live: Sums, evidence: Sequence[Sums], powers: Sequence[float]) -> Sums:
    """Return the sums of observations and of evidence, each source to its power."""
    gram, moment, square, count = live.gram, live.moment, live.square, live.count
    for sums, power in zip(evidence, powers, strict=True):
        if power:
            gram, moment = gram + power * sums.gram, moment + power * sums.moment
            square, count = square + power * sums.square, count + power * sums.count
    return Sums(gram, moment, square, count)


def powers_of(sources: int) -> tuple[FloatArray, FloatArray]:
    """List how far the sources may be trusted, (c, s), and how likely each is beforehand, (c,).

    Several are trusted all alike, or each fully or not at all while the others are not, or are.
    """
    alike = [(power,) * sources for power in POWERS]
    odd: list[tuple[float, ...]] = []
    if sources > 1:
        for chosen in range(sources):
            odd.append(tuple(float(i == chosen) for i in range(sources)))
            odd.append(tuple(float(i != chosen) for i in range(sources)))
    odd = sorted(set(odd), reverse=True)
    likely = [*POWERS.values(), *(1.0 / len(odd) for _ in odd)]
    return np.array([*alike, *odd]).reshape(-1, sources), np.array(likely) / sum(likely)


def fit_trusting(fit: Callable[..., Posterior], live: Sums, evidence: Sequence[Sums]) -> Posterior:
    """Compute the posterior of what a route observed, given evidence as far as it has earned trust.

    ``fit`` computes that of some sums, with the likelihood of those that are no evidence (`Mixture.fit`).
    """
    rows, likely = powers_of(len(evidence))
    nothing = Sums(*(np.zeros_like(array) for array in vars(live).values()))
    fitted = []
    for powers in rows.tolist():
        weighed = added(nothing, evidence, powers)
        fitted.append(fit(added(live, evidence, powers), evidence=weighed))
    likelihood = np.array([each.log_likelihood for each in fitted])
    weights = likely * np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    kept = np.where(weights > _LEAST_WEIGHT, weights, 0.0)
    kept /= kept.sum()
    return replace(collapsed(fitted, kept), trust=weights)


def collapsed(posteriors: Sequence[Posterior], weights: FloatArray) -> Posterior:
    """Return one Gaussian per provider with mean and covariance of the mixture of these."""
    if weights.max() == 1.0:
        return posteriors[int(weights.argmax())]
    mean = np.einsum("c,ckd->kd", weights, np.array([each.mean for each in posteriors]))
    cov = np.zeros_like(posteriors[0].cov)
    for weight, each in zip(weights.tolist(), posteriors, strict=True):
        if weight:
            off = each.mean - mean
            cov += weight * (each.cov + off[:, :, None] * off[:, None, :])
    noise, members, centre = (
        np.einsum("c,c...->...", weights, np.array([getattr(each, name) for each in posteriors]))
        for name in ("noise", "weights", "centre")
    )
    return replace(posteriors[0], mean=mean, cov=cov, noise=noise, weights=members, centre=centre)
