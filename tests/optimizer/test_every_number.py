"""Every number that a user of the library can state: what no model may see is refused where it is stated."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from fairlead import (
    Budget,
    CallerEmbedding,
    Constraints,
    Context,
    Encoder,
    Feedback,
    InvalidInput,
    Metric,
    NoEligibleProvider,
    Objective,
    Outcome,
    Prices,
    Provider,
    Route,
    Router,
    Source,
)

NEVER = [math.nan, math.inf, -math.inf, 1e308, -1e308, "1", "nan", [1.0], True]
VALID = (
    Outcome(
        decision_id="d", served_provider="a", cost_usd=0.1, latency_s=1.0, input_tokens=5, output_tokens=5
    ),
    Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=2.0, cached_usd_per_mtok=0.1, per_call_usd=0.1),
    Provider(name="a", context_window_tokens=1_000),
    Objective(willingness_to_pay_usd=0.1, latency_weight=0.1),
    Constraints(max_cost_usd=0.1, max_latency_s=1.0, max_tail_latency_s=2.0),
    Context(text="x", input_tokens=5.0),
    Source(name="a", weight=1.0),
    Route(name="r", providers=(Provider(name="a"),)),
)
# Negative values mean something here, and very large ones are checked against the metric's range.
SIGNED = (Metric(name="m", low=0.0, high=1.0), Feedback(decision_id="d", value=0.5))


def numbers(record: object) -> list[str]:
    """Return the names of the fields that hold a number."""
    stated = [(field.name, getattr(record, field.name)) for field in fields(record)]  # type: ignore[arg-type]
    return [name for name, value in stated if type(value) in (int, float) and name != "revision"]


STATED = [(record, name) for record in VALID for name in numbers(record)]


def name_of(value: object) -> str:
    return type(value).__name__ if not isinstance(value, str | float | bool) else repr(value)


@pytest.mark.parametrize("value", [*NEVER, -1.0, -1e-12])
@pytest.mark.parametrize(("record", "name"), STATED, ids=name_of)
def test_a_number_that_cannot_be_is_refused_where_it_is_stated(record: Any, name: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        replace(record, **{name: value})
    assert "give" in str(refused.value), "the message says what to give instead"
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", [1.0], True])
@pytest.mark.parametrize(
    ("record", "name"), [(record, name) for record in SIGNED for name in numbers(record)], ids=name_of
)
def test_what_is_no_finite_number_is_refused(record: Any, name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match="give"):
        replace(record, **{name: value})


@pytest.mark.parametrize("value", [*NEVER, 0.0, -1.0])
@pytest.mark.parametrize("name", ["usd_per_request", "usd_per_day"])
def test_a_budget_is_more_than_nothing(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match="give"):
        Budget(**{name: value})


def router_with(budget: Budget | None = None, *, width: int = 4) -> Router:
    prices = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=2.0)
    providers = (Provider(name="a", prices=prices), Provider(name="b", prices=prices.scaled(10.0)))
    route = Route(name="r", providers=providers, budget=budget)
    return Router(route, encoder=Encoder([CallerEmbedding(width=width)]))


def decide(router: Router, number: int, vector: Any, **more: Any) -> Any:
    context = Context(embedding=vector, input_tokens=100.0)
    return router.decide(context, decision_id=f"d{number}", draw=(number * 0.37) % 1.0, **more)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1.0, "1", "nan"])
@pytest.mark.parametrize("name", ["at_s", "draw"])
def test_a_time_or_a_draw_that_cannot_be_is_refused(name: str, value: Any) -> None:
    router = router_with()
    arguments: dict[str, Any] = {"decision_id": "d", "draw": 0.5, "at_s": 0.0, name: value}
    with pytest.raises(InvalidInput, match="give"):
        router.decide(Context(embedding=np.ones(4), input_tokens=1.0), **arguments)


REFUSED: list[Callable[[Router], object]] = [
    lambda router: router.learn(Feedback(decision_id="d0", value=1e308)),
    lambda router: router.learn(Feedback(decision_id="d0", value=-0.1)),
    lambda router: router.learn(Outcome(decision_id="d0", served_provider="a", cost_usd=math.nan)),
    lambda router: decide(router, 99, np.array([1.0, math.nan, 0.0, 0.0])),
    lambda router: decide(router, 99, np.ones(5)),
    lambda router: decide(router, 99, np.ones((2, 4))),
    lambda router: decide(router, 99, np.ones(4), at_s=-1.0),
    lambda router: decide(router, 99, np.ones(4), constraints=Constraints(allow=("nobody",))),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_refused_changes_nothing(refused: Callable[[Router], object]) -> None:
    router, clean = router_with(), router_with()
    for number in range(30):
        for each in (router, clean):
            decision = decide(each, number, np.ones(4))
            each.learn(decision)
            each.learn(Feedback(decision_id=decision.id, value=float(decision.selected == "a")))
        with pytest.raises((InvalidInput, NoEligibleProvider)):
            refused(router)
    after, expected = decide(router, 30, np.ones(4)), decide(clean, 30, np.ones(4))
    assert after.probabilities.tobytes() == expected.probabilities.tobytes()
    assert after.expected.tobytes() == expected.expected.tobytes()


EXTREME = [
    {"cost_usd": 0.0, "latency_s": 0.0},
    {"cost_usd": 1e6, "latency_s": 1e6},
    {"cost_usd": 5e-324, "latency_s": 5e-324},
    {"input_tokens": 10**9, "output_tokens": 10**9, "cached_tokens": 10**9},
    {"input_tokens": 0, "output_tokens": 0, "latency_s": 1e6, "status": "timeout"},
]


@pytest.mark.parametrize("budget", [None, Budget(usd_per_request=1e-12), Budget(usd_per_day=1e9)])
@pytest.mark.parametrize("extreme", EXTREME)
def test_the_largest_and_smallest_numbers_leave_a_router_that_decides(
    extreme: dict[str, Any], budget: Budget | None
) -> None:
    router = router_with(budget)
    for number in range(60):
        decision = decide(router, number, np.ones(4), at_s=number * 1e9)
        assert decision.probabilities.sum() == pytest.approx(1.0)
        assert np.isfinite(decision.probabilities).all()
        assert (decision.probabilities >= 0).all()
        router.learn(decision)
        router.learn(Outcome(decision_id=decision.id, served_provider=decision.selected, **extreme))
        router.learn(Feedback(decision_id=decision.id, value=float(number % 2)))
    quality, _, cost, *_ = decide(router, 60, np.ones(4), at_s=6e10).expected
    assert np.isfinite(quality).all()
    assert np.isfinite(cost).all()


def test_prices_at_their_limit_leave_a_router_that_decides() -> None:
    dear = Prices(input_usd_per_mtok=1e6, output_usd_per_mtok=1e6, per_call_usd=1e6)
    free = Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)
    for prices in (dear, free):
        providers = (Provider(name="a", prices=prices), Provider(name="b", prices=prices))
        for budget in (Budget(usd_per_request=1e-12), Budget(usd_per_day=1e-12), None):
            router = Router(Route(name="r", providers=providers, budget=budget))
            for number in range(20):
                context = Context(features=np.zeros(0), input_tokens=1e9)
                decision = router.decide(context, decision_id=f"d{number}", draw=0.5, at_s=float(number))
                assert decision.probabilities.sum() == pytest.approx(1.0)
                router.learn(decision)
                router.learn(
                    Outcome(decision_id=decision.id, served_provider=decision.selected, output_tokens=10**9)
                )
