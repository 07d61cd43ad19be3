"""The log of a router as lines: what feedback means, and what usage costs, is what its configurations say."""

from dataclasses import replace

import numpy as np
import pytest

from fairlead.experiments.logs.from_events import served_lines
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import Block
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Context, Feedback, Metric, Outcome, Prices, Provider, Route, Source
from fairlead.optimizer.types.events import Event, RouteChanged

METRICS = (Metric(name="stars", low=0, high=10), Metric(name="edits", low=0, high=4, higher_is_better=False))
ROUTE = Route(
    name="chat",
    providers=(
        Provider(name="small", prices=Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=2.0)),
        Provider(name="large", prices=Prices(input_usd_per_mtok=4.0, output_usd_per_mtok=8.0)),
    ),
    metrics=METRICS,
    sources=(Source(name="human", weight=3.0),),
)


def events_of(route: Route, n: int = 3) -> list[Event]:
    router, events = Router(route, blocks=(Block("x", 1, isotropic=False),)), []
    for i in range(n):
        context = Context(features=np.array([0.5]))
        decision = router.decide(context, decision_id=f"d{i}", draw=0.3, at_s=1e9 + i)
        router.learn(decision)
        events.append(decision)
    return events


def test_feedback_is_scaled_turned_and_weighed() -> None:
    events = [
        RouteChanged(seq=0, route=ROUTE),
        *events_of(ROUTE),
        Feedback(decision_id="d0", metric="stars", value=1.0, source="human"),
        Feedback(decision_id="d0", metric="stars", value=5.0, source="code"),
        Feedback(decision_id="d1", metric="edits", value=1.0),
        Feedback(decision_id="gone", metric="edits", value=1.0),
    ]
    rewards = [line["reward"] for line in served_lines(events)]
    assert rewards == [pytest.approx((3 * 0.1 + 0.5) / 4), 0.75, None]


def test_usage_costs_what_the_list_of_its_time_says() -> None:
    decisions = events_of(ROUTE, 4)
    cheaper = replace(
        ROUTE,
        providers=tuple(
            replace(each, prices=Prices(input_usd_per_mtok=0.1, output_usd_per_mtok=0.2))
            for each in ROUTE.providers
        ),
    )
    events = [
        RouteChanged(seq=1, route=ROUTE),
        *decisions,
        RouteChanged(seq=3, route=cheaper),
        *(
            Outcome(decision_id=f"d{i}", served_provider="small", input_tokens=10, output_tokens=100)
            for i in range(4)
        ),
    ]
    costs = [line.get("cost_usd") for line in served_lines(events)]
    assert costs == [None, pytest.approx(210e-6), pytest.approx(210e-6), pytest.approx(21e-6)]


def test_a_log_without_a_configuration_takes_each_metric_for_a_quality() -> None:
    plain = Route(name="chat", providers=ROUTE.providers)
    events = events_of(plain)
    assert [line["reward"] for line in served_lines([*events, judged("ok", 1.0)])] == [1.0, None, None]
    with pytest.raises(InvalidInput, match="within the range"):
        list(served_lines([*events, judged("stars", 4.0)]))


def judged(metric: str, value: float) -> Feedback:
    return Feedback(decision_id="d0", metric=metric, value=value)


def test_one_route_at_a_time() -> None:
    events = [*events_of(ROUTE), *events_of(replace(ROUTE, name="mail"))]
    with pytest.raises(InvalidInput, match="chat, mail: choose one with --route"):
        list(served_lines(events))
    assert {line["route"] for line in served_lines(events, route="mail")} == {"mail"}
    with pytest.raises(InvalidInput, match="choose among chat, mail"):
        list(served_lines(events, route="other"))
