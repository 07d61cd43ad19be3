"""Sums by group."""

from __future__ import annotations

import numpy as np

from fairlead.experiments.ope.validation import Integers, Vector


def sum_by(group: Integers, values: Vector, groups: int) -> Vector:
    """Sum values (n,) by the group (n,) of each, from 0 on; shape (groups,).

    >>> sum_by(np.array([0, 1, 0]), np.array([0.5, 1.0, 0.25]), 3).tolist()
    [0.75, 1.0, 0.0]
    """
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)
