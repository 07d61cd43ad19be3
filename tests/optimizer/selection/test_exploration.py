import numpy as np
import pytest

from fairlead.optimizer.selection.exploration import ENOUGH_FEEDBACK, Newcomers

NAMES = ("old", "other", "new")
COST = np.array([1e-3, 2e-3, 1e-3])
CHANCES = np.array([0.6, 0.3, 0.1])


def added(share=0.1, after=NAMES) -> Newcomers:
    found = Newcomers(share=share)
    found.configure(("old", "other"), after, share=share)
    return found


def capped(found, chances=CHANCES, *, names=NAMES, cost=COST, counts=(), ruled_out=(), target=None):
    found.learned(dict(counts))
    return found.capped(chances, names, cost, dict(ruled_out), target)


@pytest.mark.parametrize("wanted", [0.0, 0.1, 0.9])
def test_a_newcomer_gets_its_quota_whatever_the_policy_thinks_of_it(wanted):
    chances = np.array([(1 - wanted) * 2 / 3, (1 - wanted) / 3, wanted])
    found = capped(added(), chances)
    np.testing.assert_allclose(found, [0.6, 0.3, 0.1])
    assert chances[2] == wanted


def test_newcomers_share_one_quota():
    names = (*NAMES, "newer")
    found = capped(added(after=names), np.full(4, 0.25), names=names, cost=np.full(4, 1e-3))
    np.testing.assert_allclose(found, [0.45, 0.45, 0.05, 0.05])


def test_a_dear_newcomer_takes_no_more_than_its_share_of_the_budget():
    found = capped(added(), cost=np.array([1e-3, 2e-3, 0.5]), target=1e-3)
    assert found[2] * 0.5 == pytest.approx(0.1 * 1e-3)
    assert found.sum() == pytest.approx(1.0)


def test_a_cheap_newcomer_is_still_capped_in_requests():
    assert capped(added(), cost=np.array([1e-3, 2e-3, 1e-9]), target=1.0)[2] == pytest.approx(0.1)


def test_known_after_enough_feedback_and_the_policy_decides():
    almost = capped(added(), counts={"new": ENOUGH_FEEDBACK - 1})
    assert almost[2] == pytest.approx(0.1)
    chances = np.array([0.1, 0.0, 0.9])
    np.testing.assert_array_equal(capped(added(), chances, counts={"new": ENOUGH_FEEDBACK}), chances)


def test_one_that_is_ruled_out_gets_nothing():
    chances = np.array([0.7, 0.3, 0.0])
    np.testing.assert_array_equal(capped(added(), chances, ruled_out={"new": "is marked unhealthy"}), chances)


def test_where_only_newcomers_may_serve_the_policy_decides():
    chances = np.array([0.0, 0.0, 1.0])
    out = {"old": "is denied by 'o*'", "other": "is denied by 'o*'"}
    np.testing.assert_array_equal(capped(added(), chances, ruled_out=out), chances)


def test_who_leaves_is_forgotten_and_who_stays_is_not_new():
    found = added()
    assert found.names == {"new"}
    found.configure(NAMES, ("old", "new"), share=0.1)
    assert found.names == {"new"}
    found.configure(("old", "new"), ("old", "other"), share=0.1)
    assert "new" not in found.names
