"""The best fixed mix and the oracle: against their definitions, and against a general linear programme."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from fairlead.experiments.baselines.frontier import (
    best_fixed_mix,
    budget_grid,
    oracle,
    oracle_at,
    provider_means,
)
from fairlead.experiments.tables.outcome_table import read_outcome_table
from tests.paths import SHARED_DATA

Matrix = NDArray[np.float64]

qualities = st.integers(0, 20).map(lambda i: i / 20)  # coarse, so that ties and collinear points come up
costs = st.integers(1, 40).map(lambda i: i / 1000)
provider_lists = st.lists(st.tuples(costs, qualities), min_size=1, max_size=7)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Matrix, Matrix]:
    """Quality and cost of up to 6 prompts at up to 4 providers, with missing cells."""
    n, k = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    quality = np.array(draw(st.lists(qualities, min_size=n * k, max_size=n * k))).reshape(n, k)
    cost = np.array(draw(st.lists(costs, min_size=n * k, max_size=n * k))).reshape(n, k)
    for i in range(n):
        for j in draw(st.sets(st.integers(0, k - 1), max_size=k - 1)):
            quality[i, j] = cost[i, j] = np.nan
    return quality, cost


@given(provider_lists, st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_no_mixture_beats_the_hull(points: list[tuple[float, float]], weights: list[float]) -> None:
    cost, quality = np.array(points).T
    hull = best_fixed_mix(cost, quality)
    shares = np.array(weights[: len(points)]) + 1e-9
    shares /= shares.sum()
    assert hull.quality_at(float(shares @ cost)) >= shares @ quality - 1e-9
    assert (hull.quality_at(cost) >= quality - 1e-12).all()


@given(provider_lists)
def test_the_hull_is_increasing_and_concave(points: list[tuple[float, float]]) -> None:
    cost, quality = np.array(points).T
    hull = best_fixed_mix(cost, quality)
    slopes = np.diff(hull.quality) / np.diff(hull.cost_usd)
    assert (np.diff(hull.cost_usd) > 0).all()
    assert (slopes > 0).all()
    assert (np.diff(slopes) <= 1e-9).all()
    grid = np.linspace(0.0, 0.05, 200)
    assert (np.diff(hull.quality_at(grid)) >= 0).all()
    assert hull.quality_at(0.0) == quality[cost == cost.min()].max()
    assert hull.quality_at(1.0) == quality.max()


@given(provider_lists, st.floats(0.0, 0.05))
def test_the_mixture_behind_the_hull_earns_what_it_says(
    points: list[tuple[float, float]], spend: float
) -> None:
    cost, quality = np.array(points).T
    hull = best_fixed_mix(cost, quality)
    clipped = float(np.clip(spend, hull.cost_usd[0], hull.cost_usd[-1]))
    position = float(np.interp(clipped, hull.cost_usd, np.arange(len(hull.cost_usd))))
    corner, share = int(position), position % 1.0
    shares = {hull.providers[corner]: 1.0 - share}
    if share > 0.0:
        shares[hull.providers[corner + 1]] = share
    assert sum(quality[j] * w for j, w in shares.items()) == pytest.approx(hull.quality_at(spend))
    assert sum(cost[j] * w for j, w in shares.items()) == pytest.approx(clipped)


def test_a_dominated_provider_gets_no_traffic() -> None:
    """The second is worse than a mixture of the first and the last, the third than any of them."""
    assert best_fixed_mix([1.0, 2.0, 3.0, 4.0], [0.2, 0.3, 0.1, 0.8]).providers == (0, 3)
    assert best_fixed_mix([1.0, 1.0, 2.0], [0.2, 0.4, 0.4]).providers == (1,)


def test_a_hull_by_hand() -> None:
    hull = best_fixed_mix([2.0, 1.0, 4.0], [0.6, 0.4, 0.7])
    assert hull.providers == (1, 0, 2)
    np.testing.assert_allclose(
        hull.quality_at(np.array([0.5, 1.0, 1.5, 3.0, 9.0])), [0.4, 0.4, 0.5, 0.65, 0.7]
    )


@settings(deadline=None)
@given(tables(), st.floats(0.0, 0.045))
def test_the_oracle_solves_the_linear_programme(table: tuple[Matrix, Matrix], budget: float) -> None:
    quality, cost = table
    n, k = quality.shape
    present = ~np.isnan(quality)
    budget = max(budget, float(np.nanmin(cost, axis=1).mean()))  # less cannot be spent
    solution = linprog(
        -np.where(present, quality, 0.0).ravel() / n,
        A_ub=[np.where(present, cost, 0.0).ravel() / n],
        b_ub=[budget + 1e-12],
        A_eq=np.kron(np.eye(n), np.ones(k)),
        b_eq=np.ones(n),
        bounds=[(0, 1 if there else 0) for there in present.ravel()],
    )
    assert oracle_at(quality, cost, budget) == pytest.approx(-solution.fun, abs=1e-6)


@given(tables())
def test_the_oracle_is_concave_and_above_every_fixed_mix(table: tuple[Matrix, Matrix]) -> None:
    quality, cost = table
    frontier = oracle(quality, cost)
    grid = np.linspace(0.0, 0.045, 100)
    values = frontier.quality_at(grid)
    assert (np.diff(values) >= -1e-12).all()
    inside = values[grid >= frontier.cost_usd[0]]
    assert (np.diff(inside, 2) <= 1e-9).all()
    if not np.isnan(quality).any():  # else the means are over different prompts
        hull = best_fixed_mix(*provider_means(quality, cost))
        assert (
            values[grid >= hull.cost_usd[0]] >= hull.quality_at(grid)[grid >= hull.cost_usd[0]] - 1e-9
        ).all()


def test_means_are_over_the_prompts_a_provider_has() -> None:
    quality = np.array([[0.0, 1.0], [1.0, np.nan]])
    cost = np.array([[1.0, 5.0], [3.0, np.nan]])
    mean_cost, mean_quality = provider_means(quality, cost)
    assert mean_cost.tolist() == [2.0, 5.0]
    assert mean_quality.tolist() == [0.5, 1.0]


def test_the_budget_grid_runs_from_the_cheapest_to_twice_the_best() -> None:
    np.testing.assert_allclose(budget_grid([4.0, 1.0, 9.0], [0.9, 0.1, 0.5], count=4), [1.0, 2.0, 4.0, 8.0])


def test_bad_input_is_explained() -> None:
    with pytest.raises(ValueError, match="do not pair up"):
        best_fixed_mix([1.0], [0.5, 0.6])
    with pytest.raises(ValueError, match="must be finite"):
        best_fixed_mix([1.0, 2.0], [0.5, float("nan")])
    with pytest.raises(ValueError, match="prompt 1 has no outcome"):
        oracle(np.array([[0.5], [np.nan]]), np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="provider 0 has no outcome"):
        provider_means(np.array([[np.nan]]), np.array([[np.nan]]))
    with pytest.raises(ValueError, match="no geometric grid starts"):
        budget_grid([0.0, 1.0], [0.5, 0.6])


def test_the_published_values_of_paretobandit() -> None:
    """The oracle and the fixed mix on the test split at seven budgets, as published with the table."""
    path = SHARED_DATA / "outcomes" / "paretobandit.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not there: set FAIRLEAD_DATA to the folder of the real tables")
    table = read_outcome_table(path, providers=["meta-llama/*", "mistralai/*", "google/gemini-2.5-pro"])
    val, test = table.splits == "val", table.splits == "test"
    mean_cost, _ = provider_means(table.quality[val], table.cost_usd[val])
    budgets = np.geomspace(mean_cost.min(), mean_cost.max(), 7)
    published = [0.7986, 0.8756, 0.9308, 0.9457, 0.9560, 0.9633, 0.9633]
    reference = oracle(table.quality[test], table.cost_usd[test]).quality_at(budgets)
    np.testing.assert_allclose(reference, published, atol=3e-4)
    hull = best_fixed_mix(*provider_means(table.quality[test], table.cost_usd[test]))
    np.testing.assert_allclose(hull.quality, [0.793, 0.923, 0.932], atol=6e-4)
