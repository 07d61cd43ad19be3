"""The supervised reference: on outcomes whose best policy is known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.experiments.baselines.frontier import best_fixed_mix, oracle, provider_means
from fairlead.experiments.baselines.supervised import supervised_reference

Matrix = NDArray[np.float64]
BUDGETS = (0.001, 0.002, 0.0055, 0.02)


def two_kinds(n: int = 400) -> tuple[Matrix, Matrix, Matrix]:
    """Two kinds of prompt, told apart by one-hot features, each solved by one of two cheap providers.

    A third provider is dear and mediocre at both.
    """
    kind = np.arange(n) % 2
    quality = np.column_stack([1.0 * (kind == 0), 1.0 * (kind == 1), np.full(n, 0.6)])
    cost = np.tile([0.001, 0.001, 0.01], (n, 1))
    return np.eye(2)[kind], quality, cost


def test_features_that_tell_all_reach_the_oracle() -> None:
    features, quality, cost = two_kinds()
    reference = supervised_reference(features, quality, cost, budgets=BUDGETS)
    for point in reference.points:
        assert point.mean_quality == pytest.approx(1.0)
        assert point.mean_cost_usd == pytest.approx(0.001)
    assert reference.points[0].lift == pytest.approx(0.5, abs=0.06)
    assert reference.mean_lift == pytest.approx(np.mean([point.lift for point in reference.points]))
    assert reference.penalty in (1.0, 10.0, 100.0, 1000.0)
    assert reference.cost_model in ("mean", "ridge")


def test_without_context_it_is_the_fixed_mix() -> None:
    """Where all prompts move at the same price, only a mixture can spend what is between two providers."""
    rng = np.random.default_rng(0)
    quality = np.array([0.3, 0.5, 0.8]) + rng.normal(0, 0.01, (300, 3))
    cost = np.tile([0.001, 0.003, 0.01], (300, 1))
    budgets = np.geomspace(0.001, 0.02, 6)
    for features in (np.empty((300, 0)), np.ones((300, 2))):
        reference = supervised_reference(features, quality, cost, budgets=budgets)
        for point in reference.points:
            assert point.lift == pytest.approx(0.0, abs=1e-9)
            assert point.mean_cost_usd == pytest.approx(min(point.budget_usd, 0.01))


def test_spend_keeps_the_budget_and_quality_stays_below_the_oracle() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(600, 4))
    quality = 1.0 / (1.0 + np.exp(-(features @ rng.normal(size=(4, 3)) + [-1.0, 0.0, 1.0])))
    cost = np.array([0.001, 0.004, 0.02]) * np.exp(0.5 * features[:, :1] + rng.normal(0, 0.3, (600, 3)))
    scored = np.random.default_rng(0).permutation(600)[300:]
    above = oracle(quality[scored], cost[scored])
    below = best_fixed_mix(*provider_means(quality[scored], cost[scored]))
    reference = supervised_reference(features, quality, cost, budgets=[0.002, 0.005, 0.02], seeds=[0])
    for point in reference.points:
        spent = point.mean_cost_usd
        assert spent <= point.budget_usd * (1 + 1e-9)
        assert point.lift == pytest.approx(point.mean_quality - below.quality_at(spent))
        assert below.quality_at(spent) + 0.02 < point.mean_quality < above.quality_at(spent)


def test_missing_cells_are_never_chosen() -> None:
    """The best provider is missing wherever it would fail, and one prompt has only the dear one."""
    features, quality, cost = two_kinds()
    hidden = quality == 0.0
    hidden[7] = [True, True, False]
    quality[hidden] = cost[hidden] = np.nan
    reference = supervised_reference(features, quality, cost, budgets=[0.02], seeds=range(3))
    assert np.isfinite(reference.points[0].mean_quality)
    assert reference.points[0].mean_quality <= 1.0
    assert reference.points[0].mean_quality >= 1.0 - 0.4 / 200


def test_the_same_seeds_give_the_same_numbers_and_one_seed_no_error() -> None:
    features, quality, cost = two_kinds(60)
    first, second = (supervised_reference(features, quality, cost, budgets=BUDGETS) for _ in range(2))
    assert first == second
    single = supervised_reference(features, quality, cost, budgets=BUDGETS, seeds=[4])
    assert math.isnan(single.mean_lift_se)
    assert math.isnan(single.points[0].quality_se)


def test_bad_input_is_explained() -> None:
    features, quality, cost = two_kinds(20)
    with pytest.raises(ValueError, match="do not fit"):
        supervised_reference(features[1:], quality, cost, budgets=BUDGETS)
    with pytest.raises(ValueError, match="NaN or infinity"):
        supervised_reference(features * np.nan, quality, cost, budgets=BUDGETS)
    quality[:, 1] = cost[:, 1] = np.nan
    with pytest.raises(ValueError, match="provider 1 has no outcome"):
        supervised_reference(features, quality, cost, budgets=BUDGETS)
