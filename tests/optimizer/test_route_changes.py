"""Configurations are events: a log across them rebuilds to the same state, in whatever order it arrives."""

from dataclasses import replace

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import (
    Budget,
    Context,
    Decision,
    Feedback,
    Metric,
    Outcome,
    Prices,
    Provider,
    Route,
    RouteChanged,
)

WIDTH = 3
BLOCKS = (Block("context", WIDTH, isotropic=False),)
TOKENS = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=5.0)
CALLS = Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=2e-3)
FIRST = Route(
    name="toy",
    providers=(
        Provider(name="tokens", prices=TOKENS),
        Provider(name="calls", prices=CALLS),
        Provider(name="unpriced"),
    ),
    budget=Budget(usd_per_request=1.5e-3),
)


def priced(**prices: Prices | None) -> Route:
    """Return the first route with other price lists."""
    return replace(
        FIRST,
        providers=tuple(replace(old, prices=prices.get(old.name, old.prices)) for old in FIRST.providers),
    )


def fresh() -> Router:
    return Router(FIRST, blocks=BLOCKS, detect_drift=False)


def played(changes: dict[int, Route], *, n: int = 160, seed: int = 3) -> tuple[Router, list[object]]:
    """Return a router that has served and its log of usage, costs, corrections, withdrawals and changes."""
    router, rng, log = fresh(), np.random.default_rng(seed), []

    def learn(event) -> None:
        log.append(event)
        router.learn(event)

    for i in range(n):
        if i in changes:
            log.append(router.configure(changes[i]))
        context = Context(features=rng.normal(size=WIDTH), input_tokens=int(rng.integers(0, 300)))
        decision = router.decide(context, decision_id=str(i), draw=float(rng.random()))
        learn(decision)
        served = decision.selected if rng.random() < 0.9 else "unpriced"
        cost = float(rng.lognormal(-6.5, 1.0)) if served == "unpriced" or rng.random() < 0.3 else None
        usage = {"input_tokens": int(context.tokens), "output_tokens": int(rng.integers(1, 500))}
        learn(Outcome(decision_id=str(i), served_provider=served, cost_usd=cost, **usage))
        learn(Feedback(decision_id=str(i), value=float(rng.random())))
        if rng.random() < 0.2:
            fixed = None if rng.random() < 0.3 else float(rng.lognormal(-6.5, 1.0))
            learn(Outcome(decision_id=str(i), served_provider=served, cost_usd=fixed, revision=1))
    return router, log


CHANGES = {
    40: priced(tokens=replace(TOKENS, output_usd_per_mtok=2.0)),
    80: priced(tokens=CALLS, calls=TOKENS),
    100: priced(tokens=None, unpriced=TOKENS),
    120: priced(),
}


def asked(router: Router) -> str:
    return encode(router.decide(Context(features=np.ones(WIDTH)), decision_id="asked", draw=0.4))


def test_a_log_with_changes_rebuilds_to_the_same_state_bit_for_bit(tmp_path):
    router, log = played(CHANGES)
    again = fresh().rebuild(decode(encode(event)) for event in log)
    assert asked(again) == asked(router)
    assert again.summary() == router.summary()
    assert again.route == router.route == CHANGES[120]
    router.save(tmp_path / "state.npz")
    loaded = fresh()
    loaded.load(tmp_path / "state.npz")
    assert asked(loaded) == asked(router)
    late = Outcome(decision_id="45", served_provider="unpriced", cost_usd=1e-4, revision=7)
    router.learn(late)
    loaded.learn(late)
    assert asked(loaded) == asked(router)


@pytest.mark.parametrize("seed", range(4))
def test_changes_and_costs_that_come_late_end_in_the_same_sums(seed):
    router, log = played(CHANGES, seed=seed)
    seq = np.random.default_rng(seed).permutation(len(log))
    shuffled = fresh().rebuild(log[i] for i in seq)
    repeated = fresh().rebuild([*reversed(log), *log])
    for other in (shuffled, repeated):
        for quantity in ("quality", "cost"):
            left, right = (getattr(each._beliefs, quantity).statistics() for each in (router, other))
            assert left.keys() == right.keys()
            for name, sums in left.items():
                for key, array in sums.items():
                    np.testing.assert_array_equal(array, right[name][key], err_msg=f"{quantity} {name} {key}")
        assert other.summary()["spent_usd"] == pytest.approx(router.summary()["spent_usd"])


def test_the_unit_of_a_provider_without_prices_is_that_of_its_earliest_cost():
    router = fresh()
    for i in range(3):
        decision = router.decide(Context(features=np.zeros(WIDTH)), decision_id=str(i), draw=0.99)
        router.learn(replace(decision, selected="unpriced"))
    for i, cost in ((2, 0.03), (1, 0.0), (0, 5.0)):
        router.learn(Outcome(decision_id=str(i), served_provider="unpriced", cost_usd=cost))
        assert router._beliefs.cost_unit("unpriced") == {2: (2, 2**-5), 1: (2, 2**-5), 0: (0, 4.0)}[i]
    assert router._beliefs.cost.count("unpriced") == 3
    router.learn(Outcome(decision_id="0", served_provider="unpriced", cost_usd=None, revision=1))
    assert router._beliefs.cost_unit("unpriced") == (2, 2**-5)
    # What is closed keeps the unit that it gave.
    router.close_before(3)
    decision = router.decide(Context(features=np.zeros(WIDTH)), decision_id="3", draw=0.99)
    router.learn(replace(decision, selected="unpriced"))
    router.learn(Outcome(decision_id="3", served_provider="unpriced", cost_usd=8.0))
    assert router._beliefs.cost_unit("unpriced") == (2, 2**-5)


def test_a_change_of_the_output_price_alone_is_followed_exactly():
    router = fresh()
    for i in range(60):
        decision = router.decide(
            Context(features=np.zeros(WIDTH), input_tokens=100), decision_id=str(i), draw=0.5
        )
        router.learn(replace(decision, selected="tokens"))
        router.learn(
            Outcome(decision_id=str(i), served_provider="tokens", input_tokens=100, output_tokens=800)
        )

    def expected() -> float:
        context = Context(features=np.zeros(WIDTH), input_tokens=100)
        return router.decide(context, decision_id="asked", draw=0.5).candidates[0].expected.cost_usd

    assert expected() == pytest.approx((100 * 1.0 + 800 * 5.0) / 1e6, rel=0.01)
    before = expected()
    router.configure(priced(tokens=replace(TOKENS, output_usd_per_mtok=50.0)))
    assert expected() - 1e-4 == pytest.approx(10 * (before - 1e-4), rel=1e-3)


def test_prices_of_another_kind_do_not_inherit_the_length_of_answers():
    router = fresh()
    for i in range(60):
        decision = router.decide(Context(features=np.zeros(WIDTH)), decision_id=str(i), draw=0.5)
        router.learn(replace(decision, selected="tokens"))
        router.learn(Outcome(decision_id=str(i), served_provider="tokens", output_tokens=3000))
    router.configure(priced(tokens=CALLS))
    cost = router.decide(Context(features=np.zeros(WIDTH)), decision_id="x", draw=0.5).candidates[0]
    assert cost.expected.cost_usd == pytest.approx(2e-3, rel=0.05)
    router.configure(FIRST)
    cost = router.decide(Context(features=np.zeros(WIDTH)), decision_id="x", draw=0.5).candidates[0]
    assert cost.expected.cost_usd == pytest.approx(3000 * 5.0 / 1e6, rel=0.05)


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (replace(FIRST, name="other"), "route 'other' came to route 'toy'"),
        (replace(FIRST, metrics=(Metric(name="stars", high=5.0),)), "changes its metrics"),
        (replace(FIRST, exploration_share=0.5), "two different configurations"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_and_changes_nothing(route, words):
    router, _ = played({20: priced(calls=TOKENS)}, n=40)
    before = asked(router)
    with pytest.raises(InvalidInput, match=words):
        router.learn(RouteChanged(seq=20, route=route))
    assert asked(router) == before


def test_a_change_has_a_place_of_its_own_and_counts_once():
    router, log = played({5: priced(calls=TOKENS)}, n=10)
    change = next(event for event in log if isinstance(event, RouteChanged))
    seqs = [event.seq for event in log if isinstance(event, Decision | RouteChanged)]
    assert seqs == list(range(11)) and change.seq == 5
    before = asked(router)
    router.learn(change)
    assert asked(router) == before
