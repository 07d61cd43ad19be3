"""Inverses of stacks of matrices, compiled and by LAPACK, are those of numpy, and say where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.optimizer.models import kernels
from fairlead.optimizer.models.kernels import invert, pool_information


def stack(rng: np.random.Generator, d: int) -> np.ndarray:
    """Shape (2, 3, d, d): well and badly conditioned, and one that is diagonal."""
    matrices = np.empty((2, 3, d, d))
    for index in np.ndindex(2, 3):
        rows = rng.standard_normal((2 * d, d)) * 10.0 ** rng.uniform(-2, 2, d)
        matrices[index] = rows.T @ rows + np.diag(10.0 ** rng.uniform(0, 4, d))
    matrices[1, 2] = np.diag(rng.uniform(1.0, 9.0, d))
    return matrices


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("d", [1, 2, 17, 97])
def test_inverse_and_log_determinant(compiled: bool, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "IS_COMPILED", compiled)
    matrices = stack(np.random.default_rng(d), d)
    inverse, log_determinant = invert(matrices)
    scale = np.sqrt(np.einsum("...ii,...jj->...ij", inverse, inverse) if d > 1 else inverse * inverse)
    wanted = np.linalg.inv(matrices)
    np.testing.assert_allclose(inverse / scale, wanted / scale, atol=1e-9)
    np.testing.assert_allclose(log_determinant, np.linalg.slogdet(matrices)[1], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(inverse, np.swapaxes(inverse, -1, -2))


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_not_positive_definite_is_refused(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "IS_COMPILED", compiled)
    for bad in ([[1.0, 2.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]):
        with pytest.raises(np.linalg.LinAlgError):
            invert(np.array([np.eye(2), bad]))


def test_what_all_providers_know_of_their_common_part() -> None:
    rng = np.random.default_rng(4)
    p, k, d = 2, 3, 5
    precision, noise = rng.uniform(1.0, 9.0, (p, d)), rng.uniform(0.1, 1.0, (p, k))
    rows = rng.standard_normal((p, k, 2 * d, d))
    inverse = np.linalg.inv(np.swapaxes(rows, -1, -2) @ rows + precision[:, None, :, None] * np.eye(d))
    moment = rng.standard_normal((k, d))
    information = np.zeros((p, d, d))
    pull = pool_information((precision, inverse, noise), moment, information)
    for i in range(p):
        diagonal = np.diag(precision[i])
        expected = sum((diagonal - diagonal @ inverse[i, j] @ diagonal) / noise[i, j] for j in range(k))
        pulled = sum(diagonal @ inverse[i, j] @ moment[j] / noise[i, j] for j in range(k))
        np.testing.assert_allclose(information[i], expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(pull[i], pulled, rtol=1e-10, atol=1e-12)
