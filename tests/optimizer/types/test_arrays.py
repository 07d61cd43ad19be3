import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimizer.types.arrays import from_texts, joined, part, texts


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_texts_come_back_as_they_were(values):
    assert from_texts(texts(values)) == values


def test_parts_are_put_together_and_taken_apart():
    left, right = {"a": np.ones(2), "deep/b": np.zeros(1)}, {"a": np.arange(3)}
    state = joined(left=left, right=right)
    assert set(state) == {"left/a", "left/deep/b", "right/a"}
    assert set(part(state, "left")) == set(left)
    np.testing.assert_array_equal(part(state, "right")["a"], np.arange(3))
    assert part(state, "none") == {}
