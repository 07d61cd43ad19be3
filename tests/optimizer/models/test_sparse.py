import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.posterior import Mixture, Sums
from fairlead.optimizer.models.reduction import Reduction
from fairlead.optimizer.models.sparse import fit_sparse

BLOCKS = (Block("a", 5, isotropic=False), Block("b", 7, isotropic=True), Block("c", 2, isotropic=False))


def sums_with_idle_coordinates(counts, seed=0):
    """Return sums of so many observations; coordinates 3, 4 and all of the last block never vary."""
    rng, parts = np.random.default_rng(seed), []
    for i, n in enumerate(counts):
        x = np.column_stack([np.ones(n), rng.normal(size=(n, 14))])
        x[:, 3], x[:, 4], x[:, 13:] = 0.0, 2.5, 1.0
        y = 0.5 + 0.2 * x[:, 6] * (i - 1) + 0.1 * rng.normal(size=n)
        parts.append((x.T @ x, x.T @ y, y @ y, float(n)))
    return Sums(*(np.array(each) for each in zip(*parts, strict=True)))


@pytest.mark.parametrize("counts", [(0, 3, 40, 200), (1, 1), (0, 500)])
def test_it_is_the_fit_without_what_says_nothing(counts):
    sums = sums_with_idle_coordinates(counts)
    whole = Mixture(BLOCKS, prior_mean=0.5, prior_variance=0.1).fit(sums)
    sparse = fit_sparse(Mixture(BLOCKS, prior_mean=0.5, prior_variance=0.1, is_sparse=True), sums)
    np.testing.assert_allclose(sparse.mean, whole.mean, atol=1e-6)
    np.testing.assert_allclose(sparse.cov, whole.cov, rtol=0.01, atol=1e-3 * np.abs(whole.cov).max())
    np.testing.assert_allclose(sparse.noise, whole.noise, rtol=1e-6)
    np.testing.assert_allclose(sparse.weights, whole.weights, atol=1e-4)
    np.testing.assert_allclose(sparse.centre, whole.centre, atol=1e-12)


def test_reduced_sums_are_those_of_reduced_contexts():
    rng = np.random.default_rng(0)
    blocks = (BLOCKS[0], Block("wide", 100, isotropic=True), BLOCKS[2], Block("other", 70, isotropic=False))
    rows = np.column_stack([np.ones(500), rng.normal(size=(500, 177)) * rng.random(177)])
    gram = np.array([rows[:200].T @ rows[:200], rows[200:].T @ rows[200:]])
    sums = Sums(gram, gram[:, 1], np.ones(2), np.array([200.0, 300.0]))
    reduction = Reduction(blocks)
    basis = reduction.basis(gram.sum(axis=0), 500.0)
    reduced = reduction.apply(basis, sums)
    np.testing.assert_allclose(reduced.gram, basis @ gram @ basis.T, atol=1e-9)
    np.testing.assert_allclose(reduced.moment, gram[:, 1] @ basis.T, atol=1e-9)
