"""Estimators that use a model q̂ of the reward, alone or corrected by weighted residuals.

DR is right in expectation where either the propensities or the model are; its variance is that of the
residuals r − q̂, so a fair model of the reward buys a shorter interval. E q̂ is the model's prediction under
the target policy, w the importance weight. `q_hat` must be cross-fitted, or the intervals are too short.
"""

from __future__ import annotations

from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Vector
from fairlead.experiments.ope.weights import clip, shrink, sub_gaussian, switch


def corrected(decisions: LoggedBatch, weight: Vector) -> Terms:
    """(1/n) Σ [E q̂ + ŵ (r − q̂)] for weights ŵ, shape (n,)."""
    return Terms(plain=decisions.q_target + weight * (decisions.reward - decisions.q_logged))


def dm(decisions: LoggedBatch) -> Terms:
    """(1/n) Σ E q̂: the direct method. As biased as the model is wrong, and its interval does not know it."""
    return Terms(plain=decisions.q_target)


def dr(decisions: LoggedBatch) -> Terms:
    """(1/n) Σ [E q̂ + w (r − q̂)]: doubly robust (Dudík, Langford and Li 2011)."""
    return corrected(decisions, decisions.weight)


def clipped_dr(decisions: LoggedBatch, *, lam: float) -> Terms:
    """DR with weights min(w, λ) (Su et al. 2020, the pessimistic shrinkage)."""
    return corrected(decisions, clip(decisions.weight, lam))


def switch_dr(decisions: LoggedBatch, *, lam: float) -> Terms:
    """DR where w ≤ λ, the model alone where it is larger (Wang, Agarwal and Dudík 2017)."""
    return corrected(decisions, switch(decisions.weight, lam))


def shrunk_dr(decisions: LoggedBatch, *, lam: float) -> Terms:
    """DR with optimistic shrinkage, weights λ w / (w² + λ) (Su et al. 2020)."""
    return corrected(decisions, shrink(decisions.weight, lam))


def sub_gaussian_dr(decisions: LoggedBatch, *, lam: float) -> Terms:
    """DR with weights w / (1 − λ + λ w), λ in [0, 1] (Metelli, Russo and Restelli 2021)."""
    return corrected(decisions, sub_gaussian(decisions.weight, lam))


def sndr(decisions: LoggedBatch) -> Terms:
    """(1/n) Σ E q̂ + Σ w (r − q̂) / Σ w: self-normalised DR (Thomas and Brunskill 2016, per-decision
    case).
    """
    residual = decisions.reward - decisions.q_logged
    return Terms(plain=decisions.q_target, weighted=decisions.weight * residual, weight=decisions.weight)
