"""Reward models for DM and DR, cross-fitted: no decision is predicted by a model that has seen its reward.

scikit-learn is imported where a model is fitted: it costs over a second. Cross-fitting is what lets DR keep
its interval whatever the model (Chernozhukov et al. 2018, *Double/debiased machine learning*).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import numpy as np

from fairlead.experiments.ope.validation import (
    Integers,
    Matrix,
    Vector,
    check,
    matrix,
    places,
    same_length,
    vector,
)
from fairlead.optimizer.errors import InvalidInput, require

FOLDS: Final = 5
# A provider with fewer training decisions is predicted by the mean of all: a fit would be its noise.
FEWEST_DECISIONS: Final = 20
_PENALTY: Final = 1.0

Kind = Literal["ridge", "boosting", "mean"]


class _Regressor(Protocol):
    def predict(self, features: Matrix) -> Vector: ...


def fold_by_id(decision_ids: Sequence[str], *, folds: int = FOLDS) -> Integers:
    """The fold of every decision, shape (n,), from a hash of its id: whatever the order or the partition."""
    _check_folds(folds)
    digests = (hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in decision_ids)
    return np.array([int.from_bytes(digest, "big") % folds for digest in digests], dtype=np.int64)


def random_folds(count: int, *, seed: int, folds: int = FOLDS) -> Integers:
    """Folds of equal size for `count` decisions, shape (count,)."""
    _check_folds(folds)
    return np.random.default_rng(seed).permutation(np.arange(count) % folds)


def cross_fit(
    kind: Kind, *, features: Matrix, reward: Vector, action: Integers, providers: int, folds: Integers
) -> Matrix:
    """Predicted reward of every provider for every decision, shape (n, providers), by models of other folds.

    `features` (n, d) are known before the choice. `ridge` fits one ridge regression per provider (penalty 1
    on standardised features), `boosting` one gradient boosting of trees with the provider as a category,
    `mean` the mean reward of each provider. Predictions are kept within the range of the rewards that the
    model saw.
    """
    features, reward = matrix("features", features), vector("reward", reward)
    action = places("action", action, providers)
    folds = places("folds", folds, 2**31)
    same_length({"reward": reward, "features": features, "action": action, "folds": folds})
    check("reward", reward, np.isfinite(reward), "not a finite number", "leave such decisions out")
    total = features @ np.ones(features.shape[1])
    check("features", total, np.isfinite(total), "a row that is not finite", "fill it, or leave it out")
    predict = {"ridge": _ridge, "boosting": _boosting, "mean": _mean}.get(kind)
    if predict is None:
        raise InvalidInput(f"there is no reward model {kind!r}: choose ridge, boosting or mean")
    names = np.unique(folds)
    if len(names) < 2:
        raise InvalidInput(
            f"{len(names)} fold holds every decision, so none is left to learn from: give at least 2 folds"
        )
    found = np.empty((len(reward), providers))
    for name in names.tolist():
        test = folds == name
        train = ~test
        predicted = predict(features[train], reward[train], action[train], features[test], providers)
        found[test] = np.clip(predicted, reward[train].min(), reward[train].max())
    return found


def _mean(features: Matrix, reward: Vector, action: Integers, new: Matrix, providers: int) -> Matrix:
    count = np.bincount(action, minlength=providers)
    total = np.bincount(action, weights=reward, minlength=providers)
    means = np.where(count >= FEWEST_DECISIONS, total / np.maximum(count, 1), reward.mean())
    return np.tile(means, (len(new), 1))


def _ridge(features: Matrix, reward: Vector, action: Integers, new: Matrix, providers: int) -> Matrix:
    require("sklearn", purpose="the reward model ridge")
    from sklearn.linear_model import Ridge

    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    features, new = (features - centre) / spread, (new - centre) / spread
    found = _mean(features, reward, action, new, providers)
    for j in range(providers):
        chosen = action == j
        if chosen.sum() >= FEWEST_DECISIONS:
            found[:, j] = Ridge(alpha=_PENALTY).fit(features[chosen], reward[chosen]).predict(new)
    return found


def _boosting(features: Matrix, reward: Vector, action: Integers, new: Matrix, providers: int) -> Matrix:
    require("sklearn", purpose="the reward model boosting")
    from sklearn.ensemble import HistGradientBoostingRegressor

    # Categories beyond 255 do not fit the trees' bins; the provider is then a number like any other.
    model: _Regressor = HistGradientBoostingRegressor(
        categorical_features=[0] if providers <= 255 else None, early_stopping=False, random_state=0
    ).fit(np.column_stack([action, features]), reward)
    found = np.empty((len(new), providers))
    for j in range(providers):
        found[:, j] = model.predict(np.column_stack([np.full(len(new), float(j)), new]))
    unknown = np.bincount(action, minlength=providers) == 0
    found[:, unknown] = reward.mean()
    return found


def _check_folds(folds: int) -> None:
    if folds < 2:
        raise InvalidInput(f"folds is {folds}: a model that has not seen a decision takes at least 2")
