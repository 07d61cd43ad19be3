"""Estimators that reweight the logged rewards: no model of the reward is needed.

All assume that the logged propensities are right and positive wherever the target policy may choose, and that
a decision's reward does not depend on other decisions. w is the importance weight, r the reward.
"""

from __future__ import annotations

from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.weights import clip, sub_gaussian


def on_policy(decisions: LoggedBatch) -> Terms:
    """(1/n) Σ r: what the logging policy earned. The incumbent's value; the target is not looked at."""
    return Terms(plain=decisions.reward)


def ips(decisions: LoggedBatch) -> Terms:
    """(1/n) Σ w r: inverse propensity scoring (Horvitz and Thompson 1952). Unbiased; as variable as w is."""
    return Terms(plain=decisions.weight * decisions.reward)


def clipped_ips(decisions: LoggedBatch, *, lam: float) -> Terms:
    """(1/n) Σ min(w, λ) r: biased towards 0 by what the clipped weights stood for."""
    return Terms(plain=clip(decisions.weight, lam) * decisions.reward)


def sub_gaussian_ips(decisions: LoggedBatch, *, lam: float) -> Terms:
    """(1/n) Σ w r / (1 − λ + λ w): IPS with a tail so light that exponential bounds hold (λ in [0, 1])."""
    return Terms(plain=sub_gaussian(decisions.weight, lam) * decisions.reward)


def snips(decisions: LoggedBatch) -> Terms:
    """Σ w r / Σ w: self-normalised IPS (Swaminathan and Joachims 2015).

    Bias of order 1/n; never leaves the range of the rewards, and shifts with them.
    """
    return Terms(weighted=decisions.weight * decisions.reward, weight=decisions.weight)
