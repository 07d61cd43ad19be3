import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.statistics import quantise
from fairlead.optimizer.policies.greedy import Greedy
from fairlead.optimizer.policies.thompson import Thompson
from fairlead.optimizer.selection.exploration import ENOUGH_FEEDBACK, newcomer_quota
from fairlead.optimizer.selection.pacer import TOLERANCE
from fairlead.optimizer.selection.shadow_price import CHOSEN_FOR_COST, UNKNOWN_SHARE, Pacing
from fairlead.optimizer.types import Budget, Decision, Objective, Prices, Provider, Route

BLOCKS = (Block("context", 1, isotropic=False),)
COST = (1e-4, 1e-3, 1e-2)


def route(usd=None, **more) -> Route:
    providers = tuple(
        Provider(
            name=f"p{i}",
            prices=Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=cost),
        )
        for i, cost in enumerate(COST)
    )
    budget = None if usd is None else Budget(usd_per_request=usd)
    return Route(name="toy", providers=providers, budget=budget, **more)


def beliefs(declared) -> Beliefs:
    """Three providers, each better by .1 where it costs ten times as much."""
    learned = Beliefs(BLOCKS, declared.providers)
    rng = np.random.default_rng(1)
    for seq in range(300):
        row = quantise(rng.normal(size=1))
        for i in range(3):
            learned.quality.add(f"p{i}", row, 0.6 + 0.1 * i + 0.1 * rng.normal(), seq=seq)
            learned.cost.add(f"p{i}", row, 1.0, seq=seq)
    learned.quality.refit()
    learned.cost.refit()
    learned.derive()
    return learned


def decision(i, expected_usd=1e-3) -> Decision:
    expected = np.zeros((6, 3))
    expected[2] = expected_usd
    return Decision(
        id=str(i),
        seq=i,
        route="toy",
        providers=("p0", "p1", "p2"),
        probabilities=np.array([0.0, 1.0, 0.0]),
        selected="p1",
        features=np.array([np.sin(i)]),
        input_tokens=10.0,
        expected=expected,
        ineligible={},
        shadow_price=0.0,
        floor=np.zeros(3),
        encoder_version="",
        model_version=0,
    )


def spend(pacing, learned) -> float:
    """Return the expected USD of the average request at the price in force."""
    prediction = learned.predict(learned.quality.posterior.centre[None], 10.0)
    shadow_price, latency_weight = weights(pacing)
    mean, deviation = prediction.utility(
        shadow_price=shadow_price, latency_weight=latency_weight, explores=True
    )
    return float((Thompson().probabilities(mean, deviation) * prediction.cost_usd).sum())


def weights(pacing, objective=None):
    return pacing.weights(objective, at_s=None)


@pytest.mark.parametrize("usd", [3e-4, 1e-3, 4e-3])
def test_from_the_first_request_on_the_price_fits_the_budget(usd):
    declared = route(usd)
    pacing, learned = Pacing(declared, Thompson()), beliefs(declared)
    for _ in range(3):
        pacing.update(learned)
    assert spend(pacing, learned) == pytest.approx(usd, rel=0.02)


def test_without_budget_only_the_willingness_to_pay_counts():
    pacing = Pacing(route(objective=Objective(willingness_to_pay_usd=0.05, latency_weight=0.3)), Thompson())
    assert weights(pacing) == (pytest.approx(20.0), 0.3)
    assert weights(pacing, Objective(willingness_to_pay_usd=0.5)) == (pytest.approx(2.0), 0.0)
    assert pacing.target_usd is None
    assert Pacing(route(), Thompson()).shadow_price == 0.0


def test_a_request_cannot_lift_the_budget_but_can_pay_less():
    declared = route(1e-3)
    pacing, learned = Pacing(declared, Thompson()), beliefs(declared)
    pacing.update(learned)
    binding = pacing.shadow_price
    assert binding > 1.0
    assert weights(pacing, Objective(willingness_to_pay_usd=1e6))[0] == binding
    assert weights(pacing, Objective(willingness_to_pay_usd=1e-6))[0] == pytest.approx(1e6)


def test_a_debt_raises_the_price_and_its_return_lowers_it():
    declared = route(1e-3)
    pacing, learned = Pacing(declared, Thompson()), beliefs(declared)
    for i in range(30):
        pacing.record(decision(i))
    pacing.update(learned)
    even = pacing.shadow_price
    pacing.spend(0.1, at_s=None)
    pacing.update(learned)
    indebted = pacing.shadow_price
    assert indebted > even
    pacing.spend(-0.2, at_s=None)
    pacing.update(learned)
    assert pacing.shadow_price < even
    assert pacing.spent_usd == pytest.approx(30e-3 - 0.1)


def test_the_floor_spends_no_more_than_its_share_and_spares_what_would_eat_the_budget():
    declared = route(3e-4, exploration_share=0.01)
    pacing, learned = Pacing(declared, Thompson()), beliefs(declared)
    pacing.update(learned)
    assert (pacing.floor @ (np.array(COST) - COST[0])) <= 0.01 * 3e-4
    assert pacing.floor[0] == pytest.approx(0.01 / 3)
    assert pacing.floor[2] == 0.0
    assert Pacing(route(3e-4, exploration_share=0.0), Thompson()).floor.sum() == 0.0


def test_a_policy_that_explores_by_itself_or_not_at_all_gets_no_floor():
    assert not Pacing(route(exploration_share=0.01), Greedy()).has_floor
    assert Pacing(route(exploration_share=0.01), Thompson()).has_floor


def test_another_budget_keeps_what_was_spent_and_so_does_one_that_comes_back():
    declared = route(1e-3)
    pacing, learned = Pacing(declared, Thompson()), beliefs(declared)
    pacing.record(decision(0))
    pacing.configure(declared, learned)
    assert pacing.spent_usd == pytest.approx(1e-3)
    pacing.configure(route(2e-3), learned)
    assert pacing.spent_usd == pytest.approx(1e-3)
    assert pacing.target_usd == pytest.approx(2e-3, rel=0.01)
    pacing.configure(route(), learned)
    assert pacing.target_usd is None
    assert weights(pacing) == (0.0, 0.0)
    pacing.record(decision(1))
    pacing.configure(route(2e-3), learned)
    assert pacing.spent_usd == pytest.approx(2e-3)


def test_who_was_judged_seldom_has_a_priced_floor_until_it_is_known():
    declared = route(2e-3)
    learned = Beliefs(BLOCKS, declared.providers)
    row = quantise(np.zeros(1))
    for seq in range(ENOUGH_FEEDBACK):
        learned.quality.add("p0", row, 0.6, seq=seq)
        learned.quality.add("p2", row, 0.6, seq=seq)
    pacing = Pacing(declared, Thompson())
    pacing.update(learned)
    assert pacing.floor[1] == pytest.approx(UNKNOWN_SHARE / 3)
    assert pacing.floor[0] == pytest.approx(declared.exploration_share / 3)
    for seq in range(ENOUGH_FEEDBACK):
        learned.quality.add("p1", row, 0.6, seq=seq)
    pacing.update(learned)
    assert pacing.floor[1] == pytest.approx(declared.exploration_share / 3)


def test_the_floor_of_the_unknown_costs_at_most_its_share_of_the_budget():
    declared = route(2e-3)
    learned = Beliefs(BLOCKS, declared.providers)
    for name in learned.names:
        learned.cost.add(name, quantise(np.zeros(1)), 1.0, seq=0)
    pacing = Pacing(declared, Thompson())
    pacing.update(learned)
    extra = pacing.floor * (np.array(COST) - min(COST))
    assert extra.sum() <= UNKNOWN_SHARE * 2e-3
    assert pacing.floor[2] < pacing.floor[1]


def test_the_floor_comes_out_of_what_the_budget_leaves_beyond_the_cheapest():
    learned = Beliefs(BLOCKS, route().providers)
    for name in learned.names:
        learned.cost.add(name, quantise(np.zeros(1)), 1.0, seq=0)
    extra = np.array(COST) - min(COST)
    for usd, spare in ((1.5e-4, 0.5e-4), (1e-4, TOLERANCE * 1e-4), (0.5e-4, TOLERANCE * 0.5e-4)):
        pacing = Pacing(route(usd), Thompson())
        pacing.update(learned)
        assert pacing.floor[0] == pytest.approx(UNKNOWN_SHARE / 3)
        assert pacing.floor[1] == pytest.approx(UNKNOWN_SHARE / 3 * spare / extra[1])
        assert pacing.floor @ extra <= UNKNOWN_SHARE * spare


@pytest.mark.parametrize("usd", [1e-3, 4e-3])
def test_what_newcomers_cost_comes_out_of_the_budget(usd):
    declared = route(usd)
    pacing, learned = Pacing(declared, Thompson()), beliefs(declared)
    for _ in range(3):
        pacing.configure(declared, learned)
    without = pacing.shadow_price
    new = [False, False, True]
    for _ in range(3):
        pacing.configure(declared, learned, excluded=new, newcomers=new)
    quota = newcomer_quota(np.array(new), np.array(COST), usd, share=declared.newcomer_share)
    assert quota[2] * (COST[2] - COST[0]) == pytest.approx(declared.newcomer_share * (usd - COST[0]))
    prediction = learned.predict(learned.quality.posterior.centre[None], 10.0)
    mean, deviation = prediction.utility(shadow_price=pacing.shadow_price, latency_weight=0.0)
    mean[:, 2] = -np.inf
    chances = Thompson().probabilities(mean, deviation)[0] * (1.0 - quota.sum()) + quota
    least = min(usd, COST[1] * (1.0 - quota.sum()) + COST[2] * quota[2])
    assert chances @ prediction.cost_usd[0] == pytest.approx(least, rel=0.03)
    assert (pacing.shadow_price > without) == (usd == 1e-3)


@pytest.mark.parametrize("usd", [3e-4, 1e-3])
def test_costs_that_are_not_known_yet_count_as_higher(usd):
    declared = route(usd)
    pacing, blank = Pacing(declared, Thompson()), Beliefs(BLOCKS, declared.providers)
    for _ in range(3):
        pacing.update(blank)
    prediction = blank.predict(blank.quality.posterior.centre[None], 10.0)
    mean, deviation = prediction.utility(shadow_price=pacing.shadow_price, latency_weight=0.0)
    # Trials of costs that were never seen are settled afterwards.
    floor = np.where(pacing._trials.floor > 0.0, 0.0, pacing.floor)
    chances = Thompson().probabilities(mean, deviation)[0] * (1.0 - floor.sum()) + floor
    expected, doubt = chances @ prediction.cost_usd[0], chances @ prediction.expected[3, 0]
    assert doubt > 0.2 * expected
    assert usd <= expected + CHOSEN_FOR_COST * doubt <= usd * (1.0 + TOLERANCE)
