"""Budgets with periods, through the router."""

from dataclasses import replace

import pytest

from fairlead import BudgetSpent, NoEligibleProvider
from fairlead.optimizer.types import Budget, Constraints, Outcome
from tests.optimizer.toy import COST, decided, new_router, route

MONDAY_S, DAY_S = 1_767_571_200.0, 86_400.0
CHEAPEST = min(COST, key=COST.get)


def spend(router, usd, *, at_s, name="first"):
    """Let one request cost so much, of which the models learn nothing."""
    decision = replace(decided(router, at_s=at_s), id=name)
    router.learn(decision)
    router._pacing.spend(usd - decision.expected_usd, at_s=at_s)
    router._pacing.update(router._beliefs)
    return decision


def test_a_hard_budget_rules_out_who_no_longer_fits_and_then_refuses():
    router = new_router(route(budget=Budget(usd_per_day=1.0, hard=True)))
    spend(router, 1.0 - 1.5 * COST[CHEAPEST], at_s=MONDAY_S)
    decision = decided(router, at_s=MONDAY_S + 60.0)
    assert decision.selected == CHEAPEST
    assert set(decision.ineligible) == set(COST) - {CHEAPEST}
    assert "is left of the budget until 2026-01-06 00:00 (UTC)" in next(iter(decision.ineligible.values()))
    spend(router, COST[CHEAPEST], at_s=MONDAY_S + 60.0, name="second")
    with pytest.raises(BudgetSpent, match=r"the budget of \$1 a day is spent") as refusal:
        decided(router, at_s=MONDAY_S + 120.0)
    assert isinstance(refusal.value, NoEligibleProvider)
    assert refusal.value.end_s == MONDAY_S + DAY_S
    assert not decided(router, at_s=MONDAY_S + DAY_S).ineligible


def test_what_the_rules_leave_is_what_a_hard_budget_must_pay():
    router = new_router(route(budget=Budget(usd_per_day=1.0, hard=True)))
    spend(router, 1.0 - 1.5 * COST[CHEAPEST], at_s=MONDAY_S)
    dear = max(COST, key=COST.get)
    with pytest.raises(BudgetSpent):
        decided(router, at_s=MONDAY_S, constraints=Constraints(allow=(dear,)))


def test_a_refusal_says_that_money_is_in_the_way_if_a_strict_limit_leaves_only_who_no_longer_fits():
    router = new_router(route(budget=Budget(usd_per_day=1.0, hard=True)))
    for name, latency_s in (("cheap", 5.0), ("middle", 5.0), ("dear", 0.5)):
        router.learn(replace(decided(router, at_s=MONDAY_S), id=name, selected=name))
        served = {"decision_id": name, "served_provider": name, "cost_usd": COST[name]}
        router.learn(Outcome(**served, latency_s=latency_s))
    left_usd = router.money_left(MONDAY_S)[0].usd
    assert left_usd == pytest.approx(1.0 - sum(COST.values()))
    quick = Constraints(max_latency_s=1.0, strict=True)
    assert decided(router, at_s=MONDAY_S, constraints=quick).selected == "dear"
    spend(router, left_usd - 1.5 * COST["cheap"], at_s=MONDAY_S)
    with pytest.raises(BudgetSpent, match=r"the budget of \$1 a day is spent"):
        decided(router, at_s=MONDAY_S, constraints=quick)
    with pytest.raises(NoEligibleProvider, match=r"above the latency limit of 0\.1 s") as refusal:
        decided(router, at_s=MONDAY_S, constraints=replace(quick, max_latency_s=0.1))
    assert not isinstance(refusal.value, BudgetSpent)


def test_a_soft_budget_goes_on_with_the_cheapest_and_alarms():
    router = new_router(route(budget=Budget(usd_per_day=1.0)))
    spend(router, 1.3, at_s=MONDAY_S)
    decision = decided(router, at_s=MONDAY_S + 60.0)
    assert decision.probabilities[list(decision.providers).index(CHEAPEST)] > 0.9
    assert [alarm.level for alarm in router.budget_alarms] == [0.8, 1.0, 1.2]


def test_a_correction_frees_the_money_of_a_hard_budget():
    router = new_router(route(budget=Budget(usd_per_day=COST[CHEAPEST] * 10, hard=True)))
    decision = replace(decided(router, at_s=MONDAY_S), id="first")
    router.learn(decision)
    cost = Outcome(
        decision_id="first", served_provider=decision.selected, cost_usd=20 * COST[decision.selected]
    )
    router.learn(cost)
    with pytest.raises(BudgetSpent):
        decided(router, at_s=MONDAY_S)
    router.learn(replace(cost, cost_usd=COST[CHEAPEST], revision=1))
    assert decided(router, at_s=MONDAY_S).selected == CHEAPEST


def test_another_budget_keeps_the_account_of_the_day():
    router = new_router(route(budget=Budget(usd_per_day=1.0, hard=True)))
    spend(router, 1.002, at_s=MONDAY_S)
    for budget in (Budget(usd_per_day=1.001, hard=True), None, Budget(usd_per_day=1.0, hard=True)):
        router.configure(replace(router.route, budget=budget))
        if budget is not None:
            with pytest.raises(BudgetSpent):
                decided(router, at_s=MONDAY_S + 60.0)


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_account_does_not_depend_on_the_order_of_events(shuffled):
    router = new_router(route(budget=Budget(usd_per_day=1.0)))
    events = []
    for i in range(12):
        decision = replace(decided(router, at_s=MONDAY_S + i * DAY_S / 4), id=str(i), seq=i)
        cost = Outcome(decision_id=str(i), served_provider=decision.selected, cost_usd=0.05 * i)
        events += [decision, cost, replace(cost, cost_usd=0.04 * i, revision=1)]
    for event in events[::-1] if shuffled else events:
        router.learn(event)
    for day in range(3):
        expected = sum(0.04 * i for i in range(4 * day, 4 * day + 4))
        assert router._pacing.pacer.left_usd(MONDAY_S + day * DAY_S) == pytest.approx(1.0 - expected)
