from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimizer.features import Attributes, TaskLabel
from fairlead.optimizer.types import Context, FloatArray


def attributes(width: int = 32, **declared: Any) -> FloatArray:
    row: FloatArray = Attributes(width=width).transform([Context(attributes=declared)])[0]
    return row


def column(coordinates: FloatArray) -> int:
    """Of the only coordinate in use."""
    assert np.count_nonzero(coordinates) == 1
    return int(np.flatnonzero(coordinates)[0])


@given(st.text(st.characters(categories=None)), st.integers(1, 64))
def test_task_is_one_hot(task: str, width: int) -> None:
    coordinates = TaskLabel(width=width).transform([Context(task=task)])[0]
    assert sorted(coordinates)[-1] == 1.0
    assert np.count_nonzero(coordinates) == 1


def test_places_are_pinned() -> None:
    """A log written by one release is read by the next, so labels must stay where they are."""
    tasks = TaskLabel().transform([Context(task=task) for task in ("chat", "Chat", "summary", "東京")])
    assert [column(row) for row in tasks] == [0, 17, 18, 31]
    assert column(attributes(tier="gold")) == 30
    assert column(attributes(tools=3)) == 17


def test_labels_spread_evenly() -> None:
    rows = TaskLabel(width=16).transform([Context(task=f"task {i}") for i in range(8_000)])
    counts = rows.sum(axis=0)
    # Chi-squared with 15 degrees of freedom; its 99.9 % point is 37.7.
    assert np.square(counts - 500).sum() / 500 < 37.7


def test_kinds_of_value_are_kept_apart() -> None:
    rows = [attributes(4_096, flag=value) for value in (True, False, "True", "False", 1)]
    assert len({column(row) for row in rows}) == 5


def test_key_and_value_are_kept_apart() -> None:
    first = Attributes(width=4_096).transform([Context(attributes={"a": "bc"})])
    second = Attributes(width=4_096).transform([Context(attributes={"ab": "c"})])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("value", "size"), [(0, 0.0), (1, 0.29), (10, 1.0), (-1_000, -2.53), (10**6, 4.84)])
def test_numbers_keep_their_order(value: float, size: float) -> None:
    first = attributes(n=1)
    coordinate = attributes(n=value)[column(first)] * np.sign(first[column(first)])
    assert coordinate == pytest.approx(size, abs=0.01)
    assert coordinate == pytest.approx(math.asinh(value) / 3)


def test_numpy_values_count_as_their_own_kind() -> None:
    assert np.array_equal(attributes(n=np.float32(2)), attributes(n=2.0))
    assert np.array_equal(attributes(n=np.int64(2)), attributes(n=2))
    assert np.array_equal(attributes(n=np.bool_(True)), attributes(n=True))


@given(st.dictionaries(st.text(max_size=3), st.floats(-1e6, 1e6), min_size=2, max_size=8), st.randoms())
def test_order_of_declaration_does_not_matter(declared: dict[str, float], random: Any) -> None:
    shuffled = list(declared.items())
    random.shuffle(shuffled)
    rows = Attributes(width=1).transform([Context(attributes=declared), Context(attributes=dict(shuffled))])
    assert rows[0].tobytes() == rows[1].tobytes()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, None, [1], {"a": 1}])
def test_value_without_a_place(value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"attribute 'depth' is .* not a finite number.*: leave the attribute out"
    ):
        attributes(depth=value)


def test_message_about_a_large_value_is_short() -> None:
    with pytest.raises(ValueError) as error:
        attributes(depth=["x" * 1_000_000])
    assert len(str(error.value)) < 300
