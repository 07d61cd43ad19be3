"""Budgets that routes share: one account, one price, the same in every process."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from fairlead.api.state import snapshots
from fairlead.api.state.configuration import Change
from fairlead.api.state.decide import decide
from fairlead.api.state.fold import Fold
from fairlead.api.store import Row
from fairlead.optimizer.errors import BudgetSpent
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types import Context, Feedback, Outcome
from tests.api.state.folds import same
from tests.trials.states import new_fold

MONDAY_S, DAY_S = 1_767_571_200.0, 86_400.0
COST = {"small": 2e-4, "mid": 2e-3, "large": 1e-2}
QUALITY = {"chat": (0.6, 0.75, 0.8), "sql": (0.4, 0.7, 0.9)}
PER_DAY = 600


@dataclass
class World:
    """A fold, and the rows that it is of."""

    fold: Fold = field(default_factory=new_fold)
    rows: list[Row] = field(default_factory=list)

    def log(self, kind, line, *, at_s=MONDAY_S, route=None, decision_id=None, **metadata) -> None:
        n = len(self.rows) + 1
        row = Row(
            seq=n, uid=f"{kind}:{n}", kind=kind, at_s=at_s, route=route, decision_id=decision_id,
            digest="", line=line, metadata=json.dumps(metadata),
        )  # fmt: skip
        self.rows.append(row)
        self.fold.apply(row)

    def change(self, entity, name, body) -> None:
        self.log("config", Change(entity, name, "put" if body else "remove", body).line())

    def decide(self, route, name, *, at_s, draw=0.5):
        served = self.fold.routes[route]
        served.router.limit_spending(*self.fold.shared.hard_limits(route, at_s))
        decision, fault = decide(served, Context(), decision_id=name, draw=draw, at_s=at_s)
        assert fault is None
        self.log("decision", encode(decision), at_s=at_s, route=route, decision_id=name)
        return decision

    def serve(self, route, name, *, at_s, rng) -> tuple[float, float]:
        decision = self.decide(route, name, at_s=at_s, draw=float(rng.random()))
        usd = COST[decision.selected] * float(rng.lognormal(-0.045, 0.3))
        worth = QUALITY[route][list(COST).index(decision.selected)]
        cost = Outcome(decision_id=name, served_provider=decision.selected, cost_usd=usd)
        self.log("outcome", encode(cost), at_s=at_s, decision_id=name)
        value = float(np.clip(worth + 0.1 * rng.normal(), 0.0, 1.0))
        feedback = Feedback(decision_id=name, value=value)
        self.log("feedback", encode(feedback), at_s=at_s, decision_id=name)
        return usd, worth


@pytest.fixture
def world() -> World:
    world = World()
    for name, usd in COST.items():
        world.change("provider", name, {"name": name})
        price = {"provider": name, "input_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0, "per_call_usd": usd}
        world.change("price", name, {**price, "id": name, "effective_s": 0.0, "active": True})
    for name in QUALITY:
        features = {"surface": False, "task": 4, "attributes": 0}
        body = {"name": name, "providers": list(COST), "features": features, "tags": [f"team-{name}"]}
        world.change("route", name, body)
    return world


def test_two_routes_spend_one_budget_where_it_buys_most(world):
    world.change("budget", "org", {"name": "org", "usd_per_day": 4e-3 * PER_DAY, "routes": ["*"]})
    rng = np.random.default_rng(1)
    spent = np.zeros(3)
    by_route = {"chat": 0.0, "sql": 0.0}
    for i in range(3 * PER_DAY):
        at_s, route = MONDAY_S + (i + 0.5) * DAY_S / PER_DAY, ("chat", "sql")[int(rng.integers(2))]
        usd, _ = world.serve(route, f"d{i}", at_s=at_s, rng=rng)
        spent[i // PER_DAY] += usd
        if i >= PER_DAY:
            by_route[route] += usd
    assert (spent[1:] / (4e-3 * PER_DAY)) == pytest.approx(np.ones(2), abs=0.05)
    assert spent[0] <= 1.05 * 4e-3 * PER_DAY
    # The dear provider is .2 better than the middle one at SQL, and .05 at chats.
    assert by_route["sql"] > 1.8 * by_route["chat"]
    prices = {served.router._pacing.shared_price for served in world.fold.routes.values()}
    assert prices == {world.fold.shared.by_name["org"].pacer.shadow_price}


def test_every_process_and_every_snapshot_has_the_same_account(world, tmp_path: Path):
    world.change("budget", "org", {"name": "org", "usd_per_day": 0.6, "tags": ["team-sql", "team-chat"]})
    rng = np.random.default_rng(2)
    for i in range(150):
        world.serve(("chat", "sql")[i % 2], f"d{i}", at_s=MONDAY_S + 300.0 * i, rng=rng)
    half = new_fold()
    for row in world.rows[:400]:
        half.apply(row)
    path = snapshots.save(half, tmp_path / "half", log="")
    loaded = snapshots.load(path, new_fold, log="")
    again = new_fold()
    for fold, rows in ((loaded, world.rows[400:]), (again, world.rows)):
        for row in rows:
            fold.apply(row, refit=False)
        fold.refit()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert same(world.fold, again, tmp_path / "a")
    assert same(loaded, again, tmp_path / "b")
    assert world.fold.shared.by_name["org"].pacer.spent_usd > 0.0


def test_a_hard_shared_budget_stops_all_its_routes_and_no_other(world):
    body = {"name": "team", "usd_per_day": 0.05, "hard": True, "tags": ["team-sql"]}
    world.change("budget", "team", body)
    decision = world.decide("sql", "first", at_s=MONDAY_S)
    cost = Outcome(decision_id="first", served_provider=decision.selected, cost_usd=0.06)
    world.log("outcome", encode(cost), decision_id="first")
    with pytest.raises(BudgetSpent, match=r"the budget 'team' of \$0.05 a day is spent"):
        world.decide("sql", "second", at_s=MONDAY_S + 1.0)
    world.decide("chat", "third", at_s=MONDAY_S + 2.0)
    assert [alarm.level for alarm in world.fold.shared.by_name["team"].pacer.alarms] == [0.8, 1.0, 1.2]
    world.change("budget", "team", {**body, "usd_per_day": 0.09})
    world.decide("sql", "fourth", at_s=MONDAY_S + 3.0)
    world.change("budget", "team", None)
    assert not world.fold.shared


def test_a_log_whose_decisions_expect_no_cost_breaks_no_route_of_a_spent_budget(world):
    world.change("budget", "org", {"name": "org", "usd_per_day": 1e-6, "routes": ["*"]})
    for i, expected_usd in enumerate((0.0, np.nan, 0.0)):
        asked, _ = decide(world.fold.routes["sql"], Context(), decision_id="asked", draw=0.5, at_s=MONDAY_S)
        expected = asked.expected.copy()
        expected[2] = expected_usd
        odd = replace(asked, id=f"d{i}", expected=expected)
        world.log("decision", encode(odd), at_s=MONDAY_S, route="sql", decision_id=f"d{i}")
        cost = Outcome(decision_id=f"d{i}", served_provider=odd.selected, cost_usd=1.0)
        world.log("outcome", encode(cost), decision_id=f"d{i}")
    assert world.fold.routes["sql"].broken is None
    assert world.fold.shared.by_name["org"].pacer.spent_usd == 3.0


def test_a_failed_call_is_free_and_a_cost_in_quarantine_counts_as_expected(world):
    world.change("budget", "org", {"name": "org", "usd_per_day": 0.05, "hard": True, "routes": ["*"]})
    pacer = world.fold.shared.by_name["org"].pacer
    decision = world.decide("sql", "first", at_s=MONDAY_S)
    expected_usd = pacer.spent_usd
    assert expected_usd > 0.0
    report = {"decision_id": "first", "served_provider": decision.selected}
    world.log(
        "outcome", encode(Outcome(**report, cost_usd=1e6)), decision_id="first", quarantined=["cost_usd"]
    )
    assert pacer.spent_usd == expected_usd
    world.log("outcome", encode(Outcome(**report, status="error")), decision_id="first")
    assert pacer.spent_usd == pytest.approx(0.0, abs=1e-12)
    world.decide("chat", "second", at_s=MONDAY_S + 1.0)


LISTED = 5e-3
"""USD of 300 output tokens by the list, which is also what a call is expected to cost."""


@pytest.mark.parametrize(
    ("fields", "booked_usd"),
    [
        ({"cost_usd": 1e6}, None),
        ({"cost_usd": 1e-9}, None),
        ({"cost_usd": 0.0}, 0.0),
        ({"cost_usd": 0.02}, 0.02),
        ({"cost_usd": 0.5, "output_tokens": 300}, None),
        ({"cost_usd": 0.1, "output_tokens": 300}, None),
        ({"cost_usd": 0.02, "output_tokens": 300}, 0.02),
        ({"cost_usd": 0.1}, 0.1),
        ({"cost_usd": 0.5, "output_tokens": 6_000}, 0.5),
        ({"output_tokens": 600}, 2 * LISTED),
        ({"output_tokens": 10**9}, None),
        ({"cost_usd": 0.02, "output_tokens": 10**9}, 0.02),
        ({"status": "error"}, 0.0),
    ],
)
def test_a_cost_that_comes_before_its_decision_counts_if_it_is_near(world, fields, booked_usd):
    price = {"provider": "mid", "input_usd_per_mtok": 0.0, "output_usd_per_mtok": LISTED / 300 * 1e6}
    world.change("price", "new", {**price, "id": "new", "effective_s": 1.0, "active": True})
    world.change("budget", "org", {"name": "org", "usd_per_day": 0.05, "routes": ["*"]})
    outcome = Outcome(decision_id="d", served_provider="mid", **fields)
    world.log("outcome", encode(outcome), decision_id="d", unjudged=True)
    served = world.fold.routes["sql"]
    decision, _ = decide(served, Context(), decision_id="d", draw=0.5, at_s=MONDAY_S, candidates=("mid",))
    world.log("decision", encode(decision), at_s=MONDAY_S, route="sql", decision_id="d")
    assert decision.expected_usd == pytest.approx(LISTED)
    booked_usd = decision.expected_usd if booked_usd is None else booked_usd
    assert world.fold.shared.by_name["org"].pacer.spent_usd == pytest.approx(booked_usd, abs=1e-12)


def test_the_higher_of_two_prices_applies(world):
    world.change("budget", "one", {"name": "one", "usd_per_request": 3e-4, "routes": ["chat"]})
    world.change("budget", "two", {"name": "two", "usd_per_request": 5e-3, "routes": ["*"]})
    rng = np.random.default_rng(3)
    for i in range(300):
        world.serve(("chat", "sql")[i % 2], f"d{i}", at_s=MONDAY_S + 60.0 * i, rng=rng)
    one, two = (world.fold.shared.by_name[name].pacer.shadow_price for name in ("one", "two"))
    assert one > two
    assert world.fold.routes["chat"].router._pacing.shared_price == one
    assert world.fold.routes["sql"].router._pacing.shared_price == two
    assert world.decide("chat", "last", at_s=MONDAY_S + DAY_S).shadow_price == one
