from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairlead.optimizer.features import CallerEmbedding
from fairlead.optimizer.types import Context

finite = st.floats(allow_nan=False, allow_infinity=False)


def scaled(embedding: Any) -> Any:
    width = len(embedding)
    return CallerEmbedding(width=width).transform([Context(embedding=embedding)])[0]


@given(arrays(np.float64, 16, elements=finite).filter(np.any))
def test_norm_is_root_of_width(embedding: Any) -> None:
    assert math.sqrt(np.square(scaled(embedding)).sum()) == pytest.approx(4.0)


@given(
    # Large enough that multiplying by the factor here does not itself round to zero.
    arrays(np.float64, 16, elements=st.floats(-1e3, 1e3)).filter(lambda a: np.abs(a).max() > 1e-100),
    st.floats(1e-3, 1e3),
)
def test_only_the_direction_counts(embedding: Any, factor: float) -> None:
    np.testing.assert_allclose(scaled(embedding * factor), scaled(embedding), atol=1e-9)


def test_missing_and_zero_embeddings_give_zeros() -> None:
    rows = CallerEmbedding(width=3).transform([Context(), Context(embedding=np.zeros(3))])
    assert not rows.any()


def test_single_large_coordinate_is_cut() -> None:
    assert scaled(np.eye(100)[0]).max() == 8.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, np.uint8])
def test_other_number_types(dtype: Any) -> None:
    np.testing.assert_allclose(scaled(np.array([3, 4], dtype=dtype)), np.sqrt(2) * np.array([0.6, 0.8]))


@pytest.mark.parametrize("shape", [(2,), (4,), (1, 3), ()])
def test_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"shape \(.*\), but this route learned on \(3,\): send one flat vector"
    ):
        CallerEmbedding(width=3).transform([Context(embedding=np.ones(shape))])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match=rf"embedding is {bad} at position 1, .*: send finite numbers"):
        CallerEmbedding(width=3).transform([Context(embedding=np.array([1.0, bad, 2.0]))])


@pytest.mark.parametrize("dtype", [np.complex128, np.str_, object, bool])
def test_not_real_numbers(dtype: Any) -> None:
    with pytest.raises(ValueError, match="cannot be scaled: send real numbers"):
        CallerEmbedding(width=3).transform([Context(embedding=np.zeros(3, dtype=dtype))])
