import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard as matrix

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.features.sketch import SKETCH_WIDTH, Sketch, hadamard
from fairlead.optimizer.types.arrays import BOUND

NARROW = Block("task", 8, isotropic=False)


def wide(width) -> Block:
    return Block("embedding", width, isotropic=True)


@pytest.mark.parametrize("size", [1, 2, 8, 256])
def test_the_transform_is_the_product_with_the_matrix_of_hadamard(size):
    x = np.random.default_rng(0).normal(size=size)
    expected = matrix(size) @ x
    hadamard(x)
    np.testing.assert_allclose(x, expected, atol=1e-9)


def test_blocks_up_to_the_width_of_a_sketch_stay_bit_for_bit():
    sketch = Sketch([NARROW, wide(SKETCH_WIDTH)])
    x = np.random.default_rng(0).normal(size=sketch.width)
    assert sketch.apply(x) is x
    assert sketch.version("encoder-1") == "encoder-1"


def test_narrow_blocks_beside_a_wide_one_stay_bit_for_bit():
    sketch = Sketch([NARROW, wide(700), Block("surface", 3, isotropic=False)])
    x = np.random.default_rng(0).normal(size=711)
    sketched = sketch.apply(x)
    assert [block.width for block in sketch.blocks] == [8, SKETCH_WIDTH, 3]
    np.testing.assert_array_equal(sketched[:8], x[:8])
    np.testing.assert_array_equal(sketched[-3:], x[-3:])
    assert sketch.version("encoder-1") != "encoder-1"


@pytest.mark.parametrize("width", [256, 768, 1536, 3072])
def test_size_and_angles_survive(width):
    rng = np.random.default_rng(width)
    sketch = Sketch([wide(width)])
    x, y = rng.normal(size=(2, width))
    y = 0.6 * x + 0.8 * y
    a, b = sketch.apply(x), sketch.apply(y)
    assert np.square(a).mean() == pytest.approx(np.square(x).mean(), rel=0.3)
    assert a @ b / np.sqrt((a @ a) * (b @ b)) == pytest.approx(0.6, abs=0.15)


def test_vectors_of_one_sign_or_of_one_coordinate_are_spread_over_the_sketch():
    sketch = Sketch([wide(1536)])
    one = np.zeros(1536)
    one[7] = BOUND
    for x in (np.ones(1536), one):
        sketched = sketch.apply(x)
        assert np.square(sketched).mean() == pytest.approx(np.square(x).mean(), rel=0.3)
        assert np.abs(sketched).max() < 5 * np.sqrt(np.square(x).mean())


def test_it_is_the_same_in_every_release():
    """What was logged stays comparable with what is asked: change it, and raise the version."""
    x = np.linspace(-1, 1, 1536)
    digest = hashlib.blake2b(Sketch([wide(1536)]).apply(x).round(9).tobytes(), digest_size=8).hexdigest()
    assert digest == "8c5b5f9571bce585"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=300, max_size=300))
def test_any_finite_vector_gives_coordinates_within_the_bound(values):
    sketched = Sketch([wide(300)]).apply(np.array(values))
    assert np.abs(sketched).max() <= BOUND


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_hidden(bad):
    x = np.zeros(300)
    x[5] = bad
    assert not np.isfinite(Sketch([wide(300)]).apply(x)).all()


def test_features_that_are_sketched_already_pass():
    sketch = Sketch([NARROW, wide(700)])
    logged = sketch.apply(np.ones(708))
    assert sketch.apply(logged) is logged


def test_sums_of_vectors_become_sums_of_their_sketches():
    sketch = Sketch([NARROW, wide(700), Block("surface", 3, isotropic=False)])
    vectors = np.random.default_rng(0).normal(size=(2, 5, 711))
    mapped = sketch.map(vectors)
    np.testing.assert_array_equal(mapped[1, 4], sketch.apply(vectors[1, 4]))
    np.testing.assert_allclose(sketch.map(vectors.sum(axis=1)), mapped.sum(axis=1), atol=1e-9)
