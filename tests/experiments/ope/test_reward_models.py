"""Cross-fitted reward models: blind to a decision's own reward, to order, and within the range."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fairlead.experiments.ope.reward_models import cross_fit, random_folds
from fairlead.experiments.ope.validation import Integers, Matrix, Vector
from fairlead.optimizer.errors import InvalidInput


def linear_log(n: int, seed: int) -> tuple[Matrix, Vector, Integers]:
    """Three providers whose reward is linear in two features, each with its own coefficients."""
    rng = np.random.default_rng(seed)
    features, action = rng.standard_normal((n, 2)), rng.integers(3, size=n)
    slopes = np.array([[0.5, 0.0], [0.0, -0.5], [0.3, 0.3]])
    reward = 0.2 * action + (features * slopes[action]).sum(axis=1)
    return features, reward, action


@pytest.mark.parametrize(("kind", "error"), [("ridge", 0.02), ("boosting", 0.15)])
def test_models_recover_what_is_there(kind: str, error: float) -> None:
    features, reward, action = linear_log(900, seed=0)
    predicted = cross_fit(
        kind, features=features, reward=reward, action=action, providers=3, folds=random_folds(900, seed=0)
    )
    assert np.sqrt(np.mean((predicted[np.arange(900), action] - reward) ** 2)) < error
    assert np.sqrt(np.mean((predicted[:, 0] - 0.5 * features[:, 0]) ** 2)) < 2 * error


@pytest.mark.parametrize("kind", ["ridge", "boosting", "mean"])
def test_a_prediction_has_not_seen_its_own_reward(kind: str) -> None:
    features, reward, action = linear_log(300, seed=1)
    folds = random_folds(300, seed=1, folds=3)
    arguments = {"features": features, "action": action, "providers": 3, "folds": folds}
    before = cross_fit(kind, reward=reward, **arguments)
    changed = np.where(folds == 2, np.clip(reward + 0.5, reward.min(), reward.max()), reward)
    after = cross_fit(kind, reward=changed, **arguments)
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert not np.array_equal(before[folds != 2], after[folds != 2])


def test_equal_folds_give_equal_predictions_in_any_order() -> None:
    features, reward, action = linear_log(200, seed=2)
    folds = random_folds(200, seed=3)
    order = np.random.default_rng(0).permutation(200)
    predicted = cross_fit("mean", features=features, reward=reward, action=action, providers=3, folds=folds)
    moved = cross_fit(
        "mean",
        features=features[order],
        reward=reward[order],
        action=action[order],
        providers=3,
        folds=folds[order],
    )
    np.testing.assert_allclose(moved, predicted[order], rtol=1e-12)


def test_a_provider_seldom_seen_is_predicted_by_the_mean_of_all() -> None:
    features, reward, action = linear_log(200, seed=3)
    action = np.where(action == 2, 0, action)
    action[0] = 2
    for kind in ("ridge", "mean"):
        predicted = cross_fit(
            kind, features=features, reward=reward, action=action, providers=4, folds=np.arange(200) % 2
        )
        np.testing.assert_allclose(predicted[::2, 3], reward[1::2].mean())
    boosted = cross_fit(
        "boosting", features=features, reward=reward, action=action, providers=4, folds=np.arange(200) % 2
    )
    np.testing.assert_allclose(boosted[::2, 3], reward[1::2].mean())


def test_predictions_stay_within_the_rewards() -> None:
    features, reward, action = linear_log(120, seed=4)
    features[0] *= 1e6
    predicted = cross_fit(
        "ridge", features=features, reward=reward, action=action, providers=3, folds=np.arange(120) % 4
    )
    assert reward.min() <= predicted.min() and predicted.max() <= reward.max()


def test_constant_features_do_no_harm() -> None:
    _, reward, action = linear_log(120, seed=5)
    constant = cross_fit(
        "ridge",
        features=np.ones((120, 1)),
        reward=reward,
        action=action,
        providers=3,
        folds=np.arange(120) % 4,
    )
    assert np.isfinite(constant).all()


def test_folds_are_equal() -> None:
    assert np.bincount(random_folds(10, seed=0)).tolist() == [2] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": np.zeros(60, dtype=np.int64)}, "1 fold holds every decision"),
        ({"kind": "forest"}, "no reward model 'forest'"),
        ({"reward": np.where(np.arange(60) == 5, np.nan, 0.5)}, "reward of decision 5 is nan"),
        (
            {"features": np.where(np.arange(60)[:, None] == 4, np.inf, np.ones((60, 2)))},
            "features of decision 4",
        ),
        ({"action": np.full(60, 3)}, "action of decision 0 is 3"),
        ({"reward": np.ones(59)}, "has 60 rows"),
    ],
)
def test_bad_columns_are_refused(change: dict[str, object], message: str) -> None:
    features, reward, action = linear_log(60, seed=6)
    arguments: dict[str, object] = {
        "kind": "ridge",
        "features": features,
        "reward": reward,
        "action": action,
        "providers": 3,
        "folds": np.arange(60) % 3,
    }
    arguments |= change
    with pytest.raises(InvalidInput, match=message):
        cross_fit(arguments.pop("kind"), **arguments)
    with pytest.raises(InvalidInput, match="folds is 1"):
        random_folds(60, seed=0, folds=1)


def test_scikit_learn_is_imported_only_where_a_model_is_fitted() -> None:
    modules = "fairlead.experiments.ope.reward_models, fairlead.experiments.ope.estimators"
    code = f"import sys, {modules}; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
