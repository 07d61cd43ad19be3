"""The distribution that is logged: the policy's share, the floor under it, and nothing for the ineligible."""

import numpy as np
import pytest

from fairlead import Context, Fixed, Greedy, Objective, Prices, Provider, Route, Router
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.selection.selector import sample

NAMES = ("a", "b", "c")


class FixedOverFloor(Fixed):
    """Always the first provider, unless the floor gives the others a share."""

    takes_floor = True


def new_router(policy: Fixed) -> Router:
    providers = tuple(Provider(name=name) for name in NAMES)
    return Router(Route(name="chat", providers=providers, exploration_share=0.3), policy=policy)


def test_the_floor_is_put_under_what_the_policy_chooses() -> None:
    decision = new_router(FixedOverFloor(index=0)).decide(
        Context(features=np.zeros(0)), decision_id="d", draw=0.999
    )
    floor = decision.floor
    assert (floor > 0).all() and floor.sum() == pytest.approx(0.3)
    assert decision.probabilities == pytest.approx(
        np.array([1.0 - floor.sum() + floor[0], floor[1], floor[2]])
    )
    assert decision.selected == "c", "the draw is from the distribution with the floor"


def test_an_ineligible_provider_has_no_floor() -> None:
    decision = new_router(FixedOverFloor(index=0)).decide(
        Context(features=np.zeros(0)), decision_id="d", draw=0.5, candidates=("a", "b")
    )
    assert decision.floor[2] == decision.probabilities[2] == 0.0
    assert decision.probabilities.sum() == pytest.approx(1.0)
    assert decision.probabilities[1] == decision.floor[1] > 0.0


def test_a_policy_that_takes_no_floor_is_logged_as_it_is() -> None:
    decision = new_router(Fixed(index=0)).decide(Context(features=np.zeros(0)), decision_id="d", draw=0.999)
    assert decision.probabilities.tolist() == [1.0, 0.0, 0.0]


def test_a_newcomer_that_looks_best_gets_its_quota_and_not_everything() -> None:
    dear, cheap = (Prices(input_usd_per_mtok=usd, output_usd_per_mtok=usd) for usd in (100.0, 0.1))
    old, new = Provider(name="old", prices=dear), Provider(name="new", prices=cheap)
    routes = [
        Route(
            name="chat",
            providers=providers,
            objective=Objective(willingness_to_pay_usd=0.001),
            newcomer_share=0.1,
        )
        for providers in ((old,), (old, new))
    ]
    router = Router(routes[0], policy=Greedy())
    router.configure(routes[1])
    decision = router.decide(Context(features=np.zeros(0)), decision_id="d", draw=0.5)
    assert decision.probabilities == pytest.approx(np.array([0.9, 0.1]))


def test_a_draw_never_falls_on_a_probability_of_zero() -> None:
    shares = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    assert [sample(shares, draw) for draw in (0.0, 0.49, 0.5, 1.0 - 2.0**-53)] == [1, 1, 3, 3]
    with pytest.raises(InvalidInput, match="draw is 1"):
        sample(shares, 1.0)
