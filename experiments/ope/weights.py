"""Tame importance weights: a little bias for much less variance. Each is elementwise over w, shape (n,).

λ = ∞ (for `sub_gaussian`, λ = 0) leaves the weights as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fairlead.experiments.ope.validation import Vector
from fairlead.optimizer.errors import finite

Tame = Callable[[Vector, float], Vector]
_REMEDY = "give a number of at least 0, or infinity for weights as they are"


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
