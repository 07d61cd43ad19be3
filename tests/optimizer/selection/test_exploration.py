import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.selection.exploration import ENOUGH_FEEDBACK, Newcomers, priced_floor
from fairlead.optimizer.selection.pacer import TOLERANCE

NAMES = ("old", "other", "new")
COST = np.array([1e-3, 2e-3, 1e-3])
CHANCES = np.array([0.6, 0.3, 0.1])


def added(share=0.1, after=NAMES) -> Newcomers:
    newcomers = Newcomers(share=share)
    newcomers.configure(("old", "other"), after, share=share)
    return newcomers


def with_quotas(newcomers, chances=CHANCES, *, names=NAMES, cost=COST, counts=(), ruled_out=(), target=None):
    newcomers.graduate(dict(counts))
    return newcomers.with_quotas(
        chances, names=names, cost_usd=cost, ineligible=dict(ruled_out), target_usd=target
    )


@pytest.mark.parametrize("wanted", [0.0, 0.1, 0.9])
def test_a_newcomer_gets_its_quota_whatever_the_policy_thinks_of_it(wanted):
    chances = np.array([(1 - wanted) * 2 / 3, (1 - wanted) / 3, wanted])
    shares = with_quotas(added(), chances)
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1])
    assert chances[2] == wanted


def test_newcomers_share_one_quota():
    names = (*NAMES, "newer")
    shares = with_quotas(added(after=names), np.full(4, 0.25), names=names, cost=np.full(4, 1e-3))
    np.testing.assert_allclose(shares, [0.45, 0.45, 0.05, 0.05])


def test_a_dear_newcomer_takes_no_more_than_its_share_of_what_the_others_leave():
    cost = np.array([1e-3, 2e-3, 0.5])
    shares = with_quotas(added(), cost=cost, target=1.5e-3)
    assert shares[2] * (0.5 - 1e-3) == pytest.approx(0.1 * 0.5e-3)
    assert shares.sum() == pytest.approx(1.0)
    # Where they leave nothing, it is a share of the tolerance.
    shares = with_quotas(added(), cost=cost, target=1e-3)
    assert shares[2] * (0.5 - 1e-3) == pytest.approx(0.1 * TOLERANCE * 1e-3)


def test_a_newcomer_that_costs_no_more_than_the_others_has_its_whole_quota_at_any_budget():
    assert with_quotas(added(), target=1e-6)[2] == pytest.approx(0.1)


def test_a_cheap_newcomer_is_still_capped_in_requests():
    assert with_quotas(added(), cost=np.array([1e-3, 2e-3, 1e-9]), target=1.0)[2] == pytest.approx(0.1)


def test_known_after_enough_feedback_and_the_policy_decides():
    almost = with_quotas(added(), counts={"new": ENOUGH_FEEDBACK - 1})
    assert almost[2] == pytest.approx(0.1)
    chances = np.array([0.1, 0.0, 0.9])
    np.testing.assert_array_equal(with_quotas(added(), chances, counts={"new": ENOUGH_FEEDBACK}), chances)


def test_one_that_is_ruled_out_gets_nothing():
    chances = np.array([0.7, 0.3, 0.0])
    np.testing.assert_array_equal(
        with_quotas(added(), chances, ruled_out={"new": "is marked unhealthy"}), chances
    )


def test_where_only_newcomers_may_serve_the_policy_decides():
    chances = np.array([0.0, 0.0, 1.0])
    out = {"old": "is denied by 'o*'", "other": "is denied by 'o*'"}
    np.testing.assert_array_equal(with_quotas(added(), chances, ruled_out=out), chances)


def test_who_leaves_is_forgotten_and_who_stays_is_not_new():
    newcomers = added()
    assert newcomers.names == {"new"}
    newcomers.configure(NAMES, ("old", "new"), share=0.1)
    assert newcomers.names == {"new"}
    newcomers.configure(("old", "new"), ("old", "other"), share=0.1)
    assert "new" not in newcomers.names


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8), st.floats(0, 5), st.floats(0, 1))
def test_extra_spending_and_sum_are_bounded(costs: list[float], budget: float, share: float) -> None:
    cost = np.array(costs)
    floor = priced_floor(cost, budget, share=share)
    assert (floor >= 0).all() and floor.sum() <= share + 1e-12
    assert (floor * (cost - cost.min())).sum() <= share * budget + 1e-9


def test_the_floor_by_hand() -> None:
    floor = priced_floor(np.array([0.01, 5.01, 0.015]), 0.01, share=0.03)
    assert floor == pytest.approx([0.01, 0.01 * 0.01 / 5, 0.01])


def test_a_floor_of_nonsense_is_refused() -> None:
    with pytest.raises(InvalidInput, match="share"):
        priced_floor(np.ones(2), 1.0, share=2)
    with pytest.raises(InvalidInput, match="spare_usd"):
        priced_floor(np.ones(2), np.nan, share=0.1)
