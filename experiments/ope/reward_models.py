"""Reward models for DM and DR, cross-fitted: no decision is predicted by a model that has seen its reward.

Cross-fitting is what lets DR keep its interval whatever the model (Chernozhukov et al. 2018, *Double/debiased
machine learning*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np

from fairlead.experiments.baselines.ridge import ridge
from fairlead.experiments.ope.validation import (
    Integers,
    Matrix,
    Vector,
    check,
    columns,
    matrix,
    same_length,
    vector,
)
from fairlead.optimizer.errors import InvalidInput

FOLDS: Final = 5
# A provider with fewer training decisions is predicted by the mean of all: a fit would be its noise.
FEWEST_DECISIONS: Final = 20
_PENALTY: Final = 1.0
# A model that only knows the past starts from nothing, so it is drawn harder to the mean: by 30 decisions.
_PAST_PENALTY: Final = 30.0
_PAST_PRIOR: Final = 3.0
_GROWTH: Final = 1.3
_FAR: Final = 4.0  # standard deviations, beyond which a feature is cut

Kind = Literal["ridge", "boosting", "mean"]


class _Regressor(Protocol):
    def predict(self, features: Matrix) -> Vector: ...


@dataclass(frozen=True)
class _Training:
    """The decisions that a model learns from: features (n, d), reward (n,) and action (n,)."""

    features: Matrix
    reward: Vector
    action: Integers
    providers: int


def random_folds(count: int, *, seed: int, folds: int = FOLDS) -> Integers:
    """Folds of equal size for `count` decisions, shape (count,).

    >>> np.bincount(random_folds(10, seed=0)).tolist()
    [2, 2, 2, 2, 2]
    """
    if folds < 2:
        raise InvalidInput(f"folds is {folds}: a model that has not seen a decision takes at least 2")
    return np.random.default_rng(seed).permutation(np.arange(count) % folds)


def cross_fit(
    kind: Kind, *, features: Matrix, reward: Vector, action: Integers, providers: int, folds: Integers
) -> Matrix:
    """Predict the reward of every provider for every decision by models of the other folds.

    `features` (n, d) are known before the choice. `ridge` fits one ridge regression per provider (penalty 1
    on standardised features), `boosting` one gradient boosting of trees with the provider as a category
    (scikit-learn), `mean` the mean reward of each provider. Predictions, shape (n, providers), are kept
    within the range of the rewards that the model saw.

    >>> q_hat = cross_fit(
    ...     "mean", features=np.zeros((80, 1)), reward=np.tile([1.0, 0.2], 40), action=np.tile([0, 1], 40),
    ...     providers=2, folds=np.arange(80) // 40,
    ... )
    >>> q_hat[0].round(3).tolist()
    [1.0, 0.2]
    """
    features, reward = matrix("features", features), vector("reward", reward)
    action, folds = columns("action", action, providers), columns("folds", folds, 2**31)
    same_length({"reward": reward, "features": features, "action": action, "folds": folds})
    remedy = "leave such decisions out"
    check(reward, np.isfinite(reward), name="reward", rule="not a finite number", remedy=remedy)
    total = features @ np.ones(features.shape[1])
    rule = "a row that is not finite"
    check(total, np.isfinite(total), name="features", rule=rule, remedy="fill it, or leave it out")
    predict = {"ridge": _predict_ridge, "boosting": _predict_boosting, "mean": _predict_mean}.get(kind)
    if predict is None:
        raise InvalidInput(f"there is no reward model {kind!r}: choose ridge, boosting or mean")
    names = np.unique(folds)
    if len(names) < 2:
        raise InvalidInput(
            f"{len(names)} fold holds every decision, so none is left to learn from: give at least 2 folds"
        )
    predicted = np.empty((len(reward), providers))
    for name in names.tolist():
        test = folds == name
        training = _Training(features[~test], reward[~test], action[~test], providers)
        fold = predict(training, features[test])
        predicted[test] = np.clip(fold, training.reward.min(), training.reward.max())
    return predicted


def predict_from_past(
    *,
    features: Matrix,
    reward: Vector,
    action: Integers,
    providers: int,
    low: float,
    high: float,
    earlier: Integers | None = None,
) -> Matrix:
    """Predict the reward of every provider for every decision by what came before it, shape (n, providers).

    `earlier` (n,), which never falls, is how many decisions came before each, by default all above it.

    A ridge regression per provider, fitted again whenever the past has grown by `_GROWTH`; a provider with
    fewer than 20 decisions is predicted by its mean, drawn to that of all. Predictions are kept within
    [`low`, `high`]. A confidence sequence on a log of a policy that learns needs such a model: one that has
    seen later decisions knows what their rewards made the policy do.
    """
    features, reward = matrix("features", features), vector("reward", reward)
    action = columns("action", action, providers)
    same_length({"reward": reward, "features": features, "action": action})
    n, middle = len(reward), 0.5 * (low + high)
    predicted = np.empty((n, providers))
    start = 0
    while start < n:
        stop = min(max(start + FEWEST_DECISIONS, int(_GROWTH * start)), n)
        end = start if earlier is None else int(earlier[start])
        past = _Training(features[:end], reward[:end], action[:end], providers)
        predicted[start:stop] = np.clip(_from_past(past, features[start:stop], middle), low, high)
        start = stop
    return predicted


def _from_past(past: _Training, features: Matrix, middle: float) -> Matrix:
    count = np.bincount(past.action, minlength=past.providers)
    total = np.bincount(past.action, weights=past.reward, minlength=past.providers)
    overall = (2.0 * middle + total.sum()) / (2.0 + count.sum())
    levels = (_PAST_PRIOR * overall + total) / (_PAST_PRIOR + count)
    predicted = np.tile(levels, (len(features), 1))
    if (count < FEWEST_DECISIONS).all():
        return predicted
    centre, spread = past.features.mean(axis=0), past.features.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    seen, new = (np.clip((x - centre) / spread, -_FAR, _FAR) for x in (past.features, features))
    for j in np.flatnonzero(count >= FEWEST_DECISIONS).tolist():
        chosen = past.action == j
        x, y = seen[chosen], past.reward[chosen]
        mean = x.mean(axis=0)
        predicted[:, j] += (new - mean) @ ridge(x - mean, y - y.mean(), penalty=_PAST_PENALTY)
    return predicted


def _predict_mean(training: _Training, features: Matrix) -> Matrix:
    action, providers = training.action, training.providers
    count = np.bincount(action, minlength=providers)
    total = np.bincount(action, weights=training.reward, minlength=providers)
    means = np.where(count >= FEWEST_DECISIONS, total / np.maximum(count, 1), training.reward.mean())
    return np.tile(means, (len(features), 1))


def _predict_ridge(training: _Training, features: Matrix) -> Matrix:
    centre, spread = training.features.mean(axis=0), training.features.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    seen, new = (training.features - centre) / spread, (features - centre) / spread
    predicted = _predict_mean(training, features)
    for j in range(training.providers):
        chosen = training.action == j
        if chosen.sum() >= FEWEST_DECISIONS:
            x, y = seen[chosen], training.reward[chosen]
            middle, level = x.mean(axis=0), y.mean()
            predicted[:, j] = level + (new - middle) @ ridge(x - middle, y - level, penalty=_PENALTY)
    return predicted


def _predict_boosting(training: _Training, features: Matrix) -> Matrix:
    from sklearn.ensemble import HistGradientBoostingRegressor

    action, providers = training.action, training.providers
    # Categories beyond 255 do not fit the trees' bins; the provider is then a number like any other.
    model: _Regressor = HistGradientBoostingRegressor(
        categorical_features=[0] if providers <= 255 else None, early_stopping=False, random_state=0
    ).fit(np.column_stack([action, training.features]), training.reward)
    predicted = np.empty((len(features), providers))
    for j in range(providers):
        predicted[:, j] = model.predict(np.column_stack([np.full(len(features), float(j)), features]))
    unseen = np.bincount(action, minlength=providers) == 0
    predicted[:, unseen] = training.reward.mean()
    return predicted
