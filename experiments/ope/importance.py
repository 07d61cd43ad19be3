"""Estimators that reweight the logged rewards: no model of the reward is needed.

All assume that the logged propensities are right, that they are positive for every choice that the target
policy may make, and that a decision's reward does not depend on other decisions. w is the importance weight,
r the reward.
"""

from __future__ import annotations

from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.weights import clip, sub_gaussian


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
