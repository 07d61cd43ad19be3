"""Budgets that leave next to nothing beyond what the cheapest provider costs."""

import numpy as np
import pytest

from fairlead.optimizer.types import Budget
from tests.optimizer.toy import new_router, play, provider, route

COST = {"worse": 1.0e-4, "better": 1.008e-4, "dear": 2.5e-4, "dearest": 5e-3}
QUALITY = {"worse": 0.45, "better": 0.6, "dear": 0.7, "dearest": 0.75}


def tight(usd):
    """Two providers that cost the same within 1 %, and two that the budget cannot pay."""
    providers = tuple(provider(name, each) for name, each in COST.items())
    return new_router(route(*providers, budget=Budget(usd_per_request=usd)))


def selected(events):
    return np.array([event.selected for event in events[::3]])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_better_provider_that_costs_the_same_within_the_tolerance_wins(seed):
    events, _, spent = play(
        tight(COST["worse"]), 900, quality=lambda name, _: QUALITY[name], seed=seed, cost=COST, noise=0.3
    )
    late = selected(events)[450:]
    assert (late == "better").mean() > 0.9
    assert spent[450:].mean() < 1.05 * COST["worse"]


def test_exploring_the_dear_fits_the_money_from_the_first_request_on():
    _, _, spent = play(
        tight(COST["worse"]), 300, quality=lambda name, _: QUALITY[name], seed=3, cost=COST, noise=0.3
    )
    assert spent.mean() < 1.05 * COST["worse"]


def test_with_money_to_spare_the_dear_are_explored_as_before():
    router = tight(2e-3)
    play(router, 300, quality=lambda name, _: QUALITY[name], seed=1, cost=COST, noise=0.3)
    assert all(router._beliefs.quality.count(name) >= 8 for name in COST)
