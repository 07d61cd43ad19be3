"""Integrated probabilities against a million draws, the closed form for two, and exact ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from fairlead.optimizer.policies.squarecb import SquareCB
from fairlead.optimizer.policies.thompson import Thompson


@pytest.mark.parametrize("k", [3, 5, 20])
@pytest.mark.parametrize("decades", [0, 3, 4])
def test_agrees_with_a_million_draws(k: int, decades: int) -> None:
    rng = np.random.default_rng(k + decades)
    spread = 10 ** rng.uniform(-decades, 0, k)
    utility = rng.normal(0, 1, k) * spread
    wins = sum(
        np.bincount((utility + spread * rng.standard_normal((100_000, k))).argmax(axis=1), minlength=k)
        for _ in range(10)
    )
    probabilities = Thompson().probabilities(utility[None], spread[None])[0]
    assert np.abs(probabilities - wins / 1e6).max() < 1.5e-3


@given(st.floats(-3, 3), st.floats(1e-4, 1), st.floats(1e-4, 1))
def test_two_providers_have_the_closed_form(gap: float, first: float, second: float) -> None:
    probabilities = Thompson().probabilities(np.array([[gap, 0.0]]), np.array([[first, second]]))[0]
    assert probabilities[0] == pytest.approx(ndtr(gap / np.hypot(first, second)), abs=1e-6)


@given(st.integers(1, 30), st.floats(0, 1), st.floats(-1, 1))
def test_equal_beliefs_share_equally(k: int, spread: float, utility: float) -> None:
    probabilities = Thompson().probabilities(np.full((1, k), utility), np.full((1, k), spread))
    assert np.abs(probabilities - 1 / k).max() < 1e-14


def test_certainty_is_greedy() -> None:
    probabilities = Thompson().probabilities(np.array([[0.1, 0.5, 0.5, 0.4]]), np.zeros((1, 4)))
    assert probabilities.tolist() == [[0, 0.5, 0.5, 0]]


def test_squarecb_by_hand() -> None:
    probabilities = SquareCB(gamma=10).probabilities(np.array([[0.5, 0.3, -np.inf, 0.0]]), np.zeros((1, 4)))[
        0
    ]
    assert probabilities == pytest.approx([1 - 1 / 5 - 1 / 8, 1 / 5, 0, 1 / 8])


@pytest.mark.parametrize("seed", range(40))
def test_the_integral_equals_a_dense_one(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 21))
    mean = rng.normal(size=k) * 10 ** rng.uniform(-3, -0.5)
    sd = 10 ** rng.uniform(-2.7, -1, size=k)
    at = np.linspace((mean - 8 * sd).max(), (mean + 8 * sd).max(), 100_001)
    z = (at - mean[:, None]) / sd[:, None]
    cdf = ndtr(z)
    others = np.prod(cdf, axis=0) / np.maximum(cdf, 1e-300)
    density = np.exp(-0.5 * z * z) / sd[:, None] / np.sqrt(2 * np.pi)
    expected = np.trapezoid(density * others, at, axis=1)
    probabilities = Thompson().probabilities(mean[None], sd[None])[0]
    np.testing.assert_allclose(probabilities, expected, atol=5e-5)
