"""Invoices are the truth: a list that says otherwise is named, and usage is paid by what invoices say."""

import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.plausibility import ListCheck
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Context, Outcome, Prices, Provider, Route
from tests.optimizer.toy import assert_same_statistics

LIST = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0)


def new_router(prices: Prices = LIST) -> Router:
    route = Route(
        name="r", providers=(Provider(name="small", prices=prices),), budget=Budget(usd_per_request=1.0)
    )
    router = Router(route, blocks=(Block("x", 1, isotropic=False),))
    for i in range(60):
        context = Context(features=np.array([0.5]), input_tokens=100)
        router.learn(router.decide(context, decision_id=str(i), draw=0.5))
    return router


def report(router: Router, i: int, *, factor: float | None, tokens: int = 250) -> None:
    usd = None if factor is None else factor * LIST.cost_usd(input_tokens=100, output_tokens=tokens)
    router.learn(
        Outcome(
            decision_id=str(i),
            served_provider="small",
            cost_usd=usd,
            input_tokens=100,
            output_tokens=tokens,
        )
    )


def expected(router: Router) -> float:
    context = Context(features=np.array([0.5]), input_tokens=100)
    return router.decide(context, decision_id="asked", draw=0.5).candidates[0].expected.cost_usd


@pytest.mark.parametrize(("factor", "is_named"), [(1.1, False), (0.9, False), (1.3, True), (0.7, True)])
def test_a_fifth_of_disagreement_is_named_with_both_numbers(factor: float, is_named: bool) -> None:
    router = new_router()
    for i in range(10):
        report(router, i, factor=factor, tokens=200 + 10 * i)
    (invoiced, listed) = router.call_usd()["small"]
    assert listed == pytest.approx(LIST.cost_usd(input_tokens=100, output_tokens=240))
    assert invoiced == pytest.approx(factor * listed)
    doubts = [(doubt.quantity, doubt.value, doubt.expected) for doubt in router.quarantine]
    assert doubts == ([("prices", invoiced, listed)] if is_named else [])


def test_four_invoices_are_too_few_against_a_list() -> None:
    router = new_router()
    for i in range(4):
        report(router, i, factor=1.5)
    assert (router.quarantine, router.call_usd()) == ([], {})


@pytest.mark.parametrize("invoices_first", [True, False])
@pytest.mark.parametrize("factor", [1_000.0, 3.0, 0.5, 0.001])
def test_usage_without_an_invoice_costs_what_invoices_say(factor: float, invoices_first: bool) -> None:
    router = new_router()
    order = [*range(20, 40), *range(20)] if invoices_first else range(40)
    for i in order:
        report(router, i, factor=factor if i >= 20 else None)
    usage_usd = LIST.cost_usd(input_tokens=100, output_tokens=250)
    booked = [router.open_decision(str(i)).booked_usd for i in range(20)]
    np.testing.assert_allclose(booked, factor * usage_usd, rtol=0.05)
    assert expected(router) == pytest.approx(factor * usage_usd, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_no_order_of_invoices_and_usage_changes_anything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reports = [
        (i, 5.0 * float(rng.lognormal(0.0, 0.1)) if i % 3 else None, int(rng.integers(1, 900)))
        for i in range(40)
    ]
    router, other = new_router(), new_router()
    for i, factor, tokens in reports:
        report(router, i, factor=factor, tokens=tokens)
    for at in rng.permutation(40).tolist():
        i, factor, tokens = reports[at]
        report(other, i, factor=factor, tokens=tokens)
    assert_same_statistics(router, other)
    assert router.quarantine == other.quarantine
    assert [d.booked_usd for d in router.open_decisions()] == [d.booked_usd for d in other.open_decisions()]


def test_invoices_that_differ_among_themselves_have_no_factor() -> None:
    router = new_router()
    for i, factor in enumerate([1.8, 1.6, 3.9, 2.4, 3.0, 0.4]):
        report(router, i, factor=factor)
    report(router, 20, factor=None)
    assert router.open_decision("20").booked_usd == LIST.cost_usd(input_tokens=100, output_tokens=250)
    (doubt,) = router.quarantine
    assert doubt.quantity == "prices"


@pytest.mark.parametrize("factor", [10.0, 1_000.0])
def test_a_price_of_input_that_is_too_high_does_not_keep_costs_up(factor: float) -> None:
    """One token of output, and an input that the list makes dearer than the whole call is."""
    wrong = Prices(input_usd_per_mtok=factor, output_usd_per_mtok=4.0 * factor)
    router = new_router(wrong)
    for i in range(20):
        report(router, i, factor=1.0, tokens=1)
    assert expected(router) == pytest.approx(LIST.cost_usd(input_tokens=100, output_tokens=1), rel=0.1)


def test_the_first_invoices_that_are_far_below_the_list_are_paid_as_they_are() -> None:
    router = new_router()
    usage_usd = LIST.cost_usd(input_tokens=100, output_tokens=250)
    report(router, 0, factor=0.001)
    assert router.open_decision("0").booked_usd == pytest.approx(0.001 * usage_usd)
    assert [doubt.quantity for doubt in router.quarantine] == ["cost"]
    for i in range(1, 30):
        report(router, i, factor=1.0)
    assert router.open_decision("0").booked_usd == pytest.approx(usage_usd)


def test_what_is_saved_is_what_is_restored() -> None:
    check, other = ListCheck(), ListCheck()
    for seq in range(12):
        check.moves(seq, 3.0 + 0.1 * (seq % 3), 1.0, sign=1)
    check.moves(3, 3.0, 1.0, sign=-1)
    check.adopt()
    other.restore(check.state())
    assert other.factor == check.factor == pytest.approx(3.1, rel=0.05)
    assert (other.scale, other.call_usd()) == (4.0, check.call_usd())
