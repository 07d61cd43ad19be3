"""A provider whose real cost was never seen is tried a few times and for little, whatever its list claims."""

import re
from pathlib import Path

import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.router import Router
from fairlead.optimizer.selection.exploration import MOST_CALLS, Trials, believable, cost_trials
from fairlead.optimizer.types import Budget, Context, Decision, Feedback, Outcome, Prices, Provider, Route

TRUE = {"small": 0.001, "good": 0.002, "large": 0.02}
QUALITY = {"small": 0.4, "good": 0.9, "large": 0.92}
USD = 0.003


def fee(usd: float) -> Prices:
    return Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=usd)


def new_router(*, wrong: dict[str, float], usd: float = USD) -> Router:
    providers = tuple(
        Provider(name=name, prices=fee(cost * wrong.get(name, 1.0))) for name, cost in TRUE.items()
    )
    route = Route(name="r", providers=providers, budget=Budget(usd_per_request=usd))
    return Router(route, blocks=(Block("x", 1, isotropic=False),))


def decide(router: Router, i: int) -> Decision:
    context = Context(features=np.array([np.sin(i)]), input_tokens=10)
    return router.decide(context, decision_id=str(i), draw=(0.5 + i * 0.6180339887) % 1.0)


def played(router: Router, n: int, *, first: int = 0, reports: bool = True) -> list[Decision]:
    decisions = []
    for i in range(first, first + n):
        decision = decide(router, i)
        router.learn(decision)
        decisions.append(decision)
        if reports:
            name = decision.selected
            router.learn(Outcome(decision_id=str(i), served_provider=name, cost_usd=TRUE[name]))
            router.learn(Feedback(decision_id=str(i), value=QUALITY[name]))
    return decisions


def share(decisions: list[Decision], name: str) -> float:
    return sum(decision.selected == name for decision in decisions) / len(decisions)


def test_a_list_a_thousand_times_too_high_is_found_out() -> None:
    router = new_router(wrong={"good": 1_000.0})
    decisions = played(router, 300)
    assert share(decisions[-100:], "good") > 0.8
    reasons = [decision.on_trial["good"] for decision in decisions if "good" in decision.on_trial]
    assert 0 < len(reasons) < 100
    usd = {float(match[1]) for reason in reasons if (match := re.search(r"for up to \$([0-9.e+-]+)", reason))}
    assert len(usd) >= 1
    assert max(usd) <= 0.2 * 400 * USD
    tried = next(decision for decision in decisions if "good" in decision.on_trial)
    assert tried.floor[1] > 0.05
    assert tried.candidates[1].reason == tried.on_trial["good"]
    assert "good" not in decide(router, 300).on_trial


def test_it_is_tried_a_bounded_number_of_times_if_no_cost_ever_comes() -> None:
    router = new_router(wrong={"good": 30.0})
    decisions = played(router, 600, reports=False)
    assert 1 <= sum(decision.selected == "good" for decision in decisions) <= MOST_CALLS
    assert "good" not in decisions[-1].on_trial


def test_one_call_is_enough_where_the_list_is_right() -> None:
    router = new_router(wrong={}, usd=0.001)
    decisions = played(router, 400)
    tried = [decision for decision in decisions if "large" in decision.on_trial]
    assert sum(decision.selected == "large" for decision in tried) <= 2
    spent = sum(TRUE[decision.selected] for decision in decisions)
    assert spent <= 1.2 * 400 * 0.001


def test_without_a_floor_nobody_is_tried() -> None:
    providers = (Provider(name="small", prices=fee(0.001)), Provider(name="good", prices=fee(2.0)))
    budget = Budget(usd_per_request=0.002)
    route = Route(name="r", providers=providers, budget=budget, exploration_share=0.0)
    router = Router(route, blocks=(Block("x", 1, isotropic=False),))
    assert decide(router, 0).on_trial == {}


def test_a_restored_router_tries_as_the_one_that_was_saved(tmp_path: Path) -> None:
    router = new_router(wrong={"good": 1_000.0, "large": 1_000.0})
    played(router, 12, reports=False)
    router.save(tmp_path / "router.npz")
    loaded = new_router(wrong={"good": 1_000.0, "large": 1_000.0})
    loaded.load(tmp_path / "router.npz")
    left, right = played(router, 60, first=12), played(loaded, 60, first=12)
    assert any(decision.on_trial for decision in left)
    for mine, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(mine.probabilities, other.probabilities)
        assert mine.on_trial == other.on_trial


@pytest.mark.parametrize(
    ("cost", "paid", "factors", "expected"),
    [
        ([1.0, 3.0, 40.0], [False, False, False], [], [1.0, 3.0, 40.0]),
        ([1.0, 3.0, 5_000.0], [True, True, False], [1.0, 1.0], [1.0, 3.0, 3.0]),
        ([1.0, 3.0, 40.0, 1_000.0], [True, True, False, False], [1.0, 1.0], [1.0, 3.0, 40.0, 3.0]),
        ([1.0, 2_000.0, 5_000.0], [True, False, False], [1.0], [1.0, 1.0, 1.0]),
        ([1.0, 3.0, 5_000.0], [True, True, True], [1.0, 1.0, 1.0], [1.0, 3.0, 5_000.0]),
        ([1.0, 3_000.0, 5_000.0], [True, False, False], [1e-3], [1.0, 3.0, 5.0]),
        ([1.0, 3.0, 5.0], [True, False, False], [1e3], [1.0, 3.0, 5.0]),
    ],
)
def test_what_is_believed_of_a_list(
    cost: list[float], paid: list[bool], factors: list[float], expected: list[float]
) -> None:
    believed = believable(np.array(cost), np.array(cost), is_paid=np.array(paid), list_factors=factors)
    assert believed.tolist() == pytest.approx(expected)


def test_in_need_less_is_believed_and_lists_are_compared_with_lists() -> None:
    lists, paid = np.array([1.0, 2.0, 80.0]), np.array([True, True, False])
    assert believable(lists, lists, is_paid=paid, list_factors=[1.0, 1.0]).tolist() == lists.tolist()
    in_need = believable(lists, lists, is_paid=paid, list_factors=[1.0, 1.0], in_need=True)
    assert in_need.tolist() == [1.0, 2.0, 2.0]
    # A few cheap invoices do not make the list of another absurd.
    cost = np.array([0.2, 0.5, 80.0])
    assert believable(cost, lists, is_paid=paid, list_factors=[1.0, 1.0]).tolist() == cost.tolist()


def test_a_budget_that_nobody_known_keeps_is_a_sign_of_a_wrong_list() -> None:
    """That of the only provider within the budget claims fifty times what the dearest costs."""
    router = new_router(wrong={"small": 1_000.0}, usd=0.0013)
    decisions = played(router, 300)
    assert share(decisions[-100:], "small") > 0.5


def test_the_fund_pays_for_the_cheapest_first_and_who_does_not_fit_waits() -> None:
    calls = np.array([3, 0, 0])

    def trials(fund_usd: float, *, doubted: int | None = None, spent_usd: float = 0.0) -> Trials:
        return cost_trials(
            np.array([1.0, 4.0, 9.0]),
            unknown=np.array([False, True, True]),
            doubted=np.arange(3) == doubted,
            calls=calls,
            spent_usd=np.array([spent_usd, 0.0, 0.0]),
            fund_usd=np.full(3, fund_usd),
            share=0.2,
        )

    first = trials(10.0)
    assert first.floor.tolist() == [0.0, 0.2, 0.0]
    assert (first.usd.tolist(), first.calls.tolist()) == ([0.0, 4.0, 0.0], [0, MOST_CALLS, 0])
    assert trials(10.0, doubted=2).floor.tolist() == [0.0, 0.0, 0.2]
    assert not trials(10.0, spent_usd=7.0).floor.any()
    calls[1] = 1
    assert trials(10.0).floor.tolist() == [0.0, 0.2, 0.0]
    assert trials(17.0).floor.tolist() == [0.0, 0.1, 0.1]
    calls[1] = MOST_CALLS
    assert not trials(8.0).floor.any()
