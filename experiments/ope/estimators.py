"""Every estimator, by a function and by the name that reports use.

r is the reward, w the importance weight. Estimators without a model assume that the logged propensities are
right, that they are positive for every choice that the target policy may make, and that a decision's reward
does not depend on other decisions. DR corrects a model q̂ of the reward by weighted residuals r − q̂: it is
right in expectation if either the propensities or the model are, and a fair model buys a shorter interval.
E q̂ is the model's prediction under the target policy; `q_hat` must be cross-fitted, or the intervals are too
short.

`clip`, `switch`, `shrink` and `sub_gaussian` tame weights of shape (n,): a little bias for much less
variance. λ = ∞ (for `sub_gaussian`, λ = 0) leaves the weights as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np

from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.rejection import replay
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Vector
from fairlead.optimizer.errors import finite

Estimator = Callable[[LoggedBatch], Terms]
Tame = Callable[[Vector, float], Vector]

# Fixed defaults, so that a report does not depend on a tuning run; `tuning` chooses from the log instead. A
# weight of 10 lets one decision speak for ten; .1 bends only weights that are far above that.
DEFAULT_LAMBDA: Final = 10.0
DEFAULT_SUB_GAUSSIAN_LAMBDA: Final = 0.1

_REMEDY: Final = "give a number of at least 0, or infinity for weights as they are"


def clip(weight: Vector, lam: float) -> Vector:
    """min(w, λ) (Ionides 2008, *Truncated importance sampling*)."""
    return np.minimum(weight, _threshold(lam))


def switch(weight: Vector, lam: float) -> Vector:
    """w if w ≤ λ, else 0 (Wang, Agarwal and Dudík 2017, *Optimal and adaptive off-policy evaluation*)."""
    return np.where(weight <= _threshold(lam), weight, 0.0)


def shrink(weight: Vector, lam: float) -> Vector:
    """λ w / (w² + λ) (Su, Dimakopoulou, Krishnamurthy and Dudík 2020, *Doubly robust OPE with shrinkage*)."""
    lam = _threshold(lam)
    if math.isinf(lam):
        return weight
    # Written so that neither λ w nor 0 / 0 arises: at λ = 0 every weight is 0, and DR is DM.
    return np.zeros_like(weight) if lam == 0.0 else weight / (1.0 + weight * (weight / lam))


def sub_gaussian(weight: Vector, lam: float) -> Vector:
    """w / (1 − λ + λ w), λ in [0, 1] (Metelli, Russo and Restelli 2021).

    *Subgaussian and differentiable importance sampling for off-policy evaluation and learning*.
    """
    lam = finite("lambda", lam, low=0.0, high=1.0, remedy="give a number from 0 to 1")
    if lam == 1.0:
        return np.where(weight > 0.0, 1.0, 0.0)
    return weight / (1.0 - lam + lam * weight)


def _threshold(lam: float) -> float:
    return math.inf if lam == math.inf else finite("lambda", lam, low=0.0, remedy=_REMEDY)


def on_policy(batch: LoggedBatch) -> Terms:
    """(1/n) Σ r: what the logging policy earned. The incumbent's value; the target is not looked at.

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8], target=[[1, 0], [0, 1]])
    >>> on_policy(batch).value
    0.7
    """
    return Terms(plain=batch.reward)


def ips(batch: LoggedBatch) -> Terms:
    """(1/n) Σ w r: inverse propensity scoring (Horvitz and Thompson 1952). Unbiased; as variable as w is.

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8], target=[[1, 0], [0, 1]])
    >>> ips(batch).value
    1.25
    """
    return Terms(plain=batch.weight * batch.reward)


def clipped_ips(batch: LoggedBatch, *, lam: float) -> Terms:
    """(1/n) Σ min(w, λ) r: biased towards 0 by what the clipped weights stood for (Ionides 2008).

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8], target=[[1, 0], [0, 1]])
    >>> clipped_ips(batch, lam=1.0).value
    0.7
    """
    return Terms(plain=clip(batch.weight, lam) * batch.reward)


def sub_gaussian_ips(batch: LoggedBatch, *, lam: float) -> Terms:
    """(1/n) Σ w r / (1 − λ + λ w), λ in [0, 1]: IPS with a tail so light that exponential bounds hold.

    Metelli, Russo and Restelli (2021, *Subgaussian and differentiable importance sampling*).

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8], target=[[1, 0], [0, 1]])
    >>> round(sub_gaussian_ips(batch, lam=0.5).value, 3)
    0.889
    """
    return Terms(plain=sub_gaussian(batch.weight, lam) * batch.reward)


def snips(batch: LoggedBatch) -> Terms:
    """Σ w r / Σ w: self-normalised IPS (Swaminathan and Joachims 2015).

    Bias of order 1/n; never leaves the range of the rewards, and shifts with them.

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8], target=[[1, 0], [0, 1]])
    >>> round(snips(batch).value, 3)
    0.769
    """
    return Terms(weighted=batch.weight * batch.reward, weight=batch.weight)


def correct(batch: LoggedBatch, weight: Vector) -> Terms:
    """(1/n) Σ [E q̂ + ŵ (r − q̂)] for weights ŵ, shape (n,)."""
    return Terms(plain=batch.q_target + weight * (batch.reward - batch.q_logged))


def dm(batch: LoggedBatch) -> Terms:
    """(1/n) Σ E q̂: the direct method. As biased as the model is wrong, and its interval does not know it.

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8],
    ...                     target=[[1, 0], [0.6, 0.4]], q_hat=[[0.9, 0.2], [0.6, 0.3]])
    >>> round(dm(batch).value, 3)
    0.69
    """
    return Terms(plain=batch.q_target)


def dr(batch: LoggedBatch) -> Terms:
    """(1/n) Σ [E q̂ + w (r − q̂)]: doubly robust (Dudík, Langford and Li 2011).

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8],
    ...                     target=[[1, 0], [0.6, 0.4]], q_hat=[[0.9, 0.2], [0.6, 0.3]])
    >>> round(dr(batch).value, 3)
    0.815
    """
    return correct(batch, batch.weight)


def clipped_dr(batch: LoggedBatch, *, lam: float) -> Terms:
    """DR with weights min(w, λ) (Su et al. 2020, the pessimistic shrinkage).

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8],
    ...                     target=[[1, 0], [0.6, 0.4]], q_hat=[[0.9, 0.2], [0.6, 0.3]])
    >>> round(clipped_dr(batch, lam=1.0).value, 3)
    0.765
    """
    return correct(batch, clip(batch.weight, lam))


def switch_dr(batch: LoggedBatch, *, lam: float) -> Terms:
    """DR if w ≤ λ, the model alone if it is larger (Wang, Agarwal and Dudík 2017).

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8],
    ...                     target=[[1, 0], [0.6, 0.4]], q_hat=[[0.9, 0.2], [0.6, 0.3]])
    >>> round(switch_dr(batch, lam=1.0).value, 3)
    0.715
    """
    return correct(batch, switch(batch.weight, lam))


def shrunk_dr(batch: LoggedBatch, *, lam: float) -> Terms:
    """DR with optimistic shrinkage, weights λ w / (w² + λ) (Su et al. 2020).

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8],
    ...                     target=[[1, 0], [0.6, 0.4]], q_hat=[[0.9, 0.2], [0.6, 0.3]])
    >>> round(shrunk_dr(batch, lam=1.0).value, 3)
    0.73
    """
    return correct(batch, shrink(batch.weight, lam))


def sub_gaussian_dr(batch: LoggedBatch, *, lam: float) -> Terms:
    """DR with weights w / (1 − λ + λ w), λ in [0, 1] (Metelli, Russo and Restelli 2021).

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8],
    ...                     target=[[1, 0], [0.6, 0.4]], q_hat=[[0.9, 0.2], [0.6, 0.3]])
    >>> round(sub_gaussian_dr(batch, lam=0.5).value, 3)
    0.79
    """
    return correct(batch, sub_gaussian(batch.weight, lam))


def sndr(batch: LoggedBatch) -> Terms:
    """(1/n) Σ E q̂ + Σ w (r − q̂) / Σ w: self-normalised DR.

    Thomas and Brunskill (2016), the per-decision case.

    >>> batch = LoggedBatch(reward=[1, 0.4], action=[0, 1], propensity=[0.5, 0.8],
    ...                     target=[[1, 0], [0.6, 0.4]], q_hat=[[0.9, 0.2], [0.6, 0.3]])
    >>> round(sndr(batch).value, 3)
    0.79
    """
    residual = batch.reward - batch.q_logged
    return Terms(plain=batch.q_target, weighted=batch.weight * residual, weight=batch.weight)


ESTIMATORS: Final[Mapping[str, Estimator]] = {
    "on-policy": on_policy,
    "ips": ips,
    "clipped-ips": partial(clipped_ips, lam=DEFAULT_LAMBDA),
    "snips": snips,
    "sub-gaussian-ips": partial(sub_gaussian_ips, lam=DEFAULT_SUB_GAUSSIAN_LAMBDA),
    "replay": replay,
    "dm": dm,
    "dr": dr,
    "clipped-dr": partial(clipped_dr, lam=DEFAULT_LAMBDA),
    "sndr": sndr,
    "switch-dr": partial(switch_dr, lam=DEFAULT_LAMBDA),
    "shrunk-dr": partial(shrunk_dr, lam=DEFAULT_LAMBDA),
    "sub-gaussian-dr": partial(sub_gaussian_dr, lam=DEFAULT_SUB_GAUSSIAN_LAMBDA),
}
