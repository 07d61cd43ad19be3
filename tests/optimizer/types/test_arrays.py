import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimizer.types.arrays import from_texts, joined, part, texts


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_texts_come_back_as_they_were(values):
    assert from_texts(texts(values)) == values


def test_parts_are_put_together_and_taken_apart():
    one, other = {"a": np.ones(2), "deep/b": np.zeros(1)}, {"a": np.arange(3)}
    state = joined(one=one, other=other)
    assert set(state) == {"one/a", "one/deep/b", "other/a"}
    assert set(part(state, "one")) == set(one)
    np.testing.assert_array_equal(part(state, "other")["a"], np.arange(3))
    assert part(state, "none") == {}
