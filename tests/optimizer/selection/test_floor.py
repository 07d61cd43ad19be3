"""The priced floor never spends more than its share of the budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.selection.floor import priced_floor


@given(st.lists(st.floats(0, 10) | st.just(np.nan), min_size=1, max_size=8), st.floats(0, 5), st.floats(0, 1))
def test_extra_spending_and_sum_are_bounded(costs: list[float], budget: float, share: float) -> None:
    cost = np.array(costs)
    floor = priced_floor(cost, budget, share=share)
    assert (floor >= 0).all() and floor.sum() <= share + 1e-12
    assert (floor[np.isnan(cost)] == 0).all()
    known = ~np.isnan(cost)
    if known.any():
        assert (floor[known] * (cost[known] - cost[known].min())).sum() <= share * budget + 1e-9


def test_by_hand() -> None:
    cost = np.array([0.01, 5.01, np.nan, 0.01])
    eligible = np.array([True, True, True, False])
    floor = priced_floor(cost, 0.01, share=0.03, eligible=eligible)
    assert floor == pytest.approx([0.01, 0.01 * 0.01 / 5, 0, 0])
    assert priced_floor(cost, None, share=0.03, eligible=eligible) == pytest.approx(floor)


def test_refuses_nonsense() -> None:
    with pytest.raises(InvalidInput, match="share"):
        priced_floor(np.ones(2), 1.0, share=2)
    with pytest.raises(InvalidInput, match="budget_usd"):
        priced_floor(np.ones(2), np.nan, share=0.1)
