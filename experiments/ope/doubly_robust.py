"""Estimators that use a model q̂ of the reward, alone or corrected by weighted residuals.

DR is right in expectation if either the propensities or the model are; its variance is that of the residuals
r − q̂, so a fair model of the reward buys a shorter interval. E q̂ is the model's prediction under the target
policy, w the importance weight. `q_hat` must be cross-fitted, or the intervals are too short.
"""

from __future__ import annotations

from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Vector
from fairlead.experiments.ope.weights import clip, shrink, sub_gaussian, switch


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
