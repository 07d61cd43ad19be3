import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.persistence.route_codec import from_json, to_json
from fairlead.optimizer.types import (
    Budget,
    Constraints,
    Metric,
    Objective,
    Prices,
    Provider,
    Route,
    RouteChanged,
    Source,
)

USD = st.floats(0, 1e3)
NAME = st.text("abc/-.é", min_size=1, max_size=8)
PRICES = st.builds(
    Prices, input_usd_per_mtok=USD, output_usd_per_mtok=USD, cached_usd_per_mtok=st.none() | USD
)
PROVIDER = st.builds(
    Provider,
    name=NAME,
    prices=st.none() | PRICES,
    capabilities=st.frozensets(NAME, max_size=3),
    context_window_tokens=st.none() | st.integers(1, 10**6),
    healthy=st.booleans(),
)
ROUTE = st.builds(
    Route,
    name=NAME,
    providers=st.lists(PROVIDER, min_size=1, max_size=3, unique_by=lambda provider: provider.name).map(tuple),
    objective=st.builds(Objective, willingness_to_pay_usd=st.none() | st.floats(0.001, 10)),
    budget=st.none() | st.builds(Budget, usd_per_day=st.floats(0.1, 10)),
    constraints=st.builds(Constraints, deny=st.lists(NAME, max_size=2).map(tuple)),
    metrics=st.just((Metric(), Metric(name="stars", low=1, high=5, weight=2.0))),
    sources=st.just((Source(name="human", weight=3.0),)),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ROUTE)
def test_a_route_comes_back_as_it_was(route):
    assert from_json(Route, json.loads(json.dumps(to_json(route)))) == route
    event = RouteChanged(seq=3, route=route)
    assert decode(encode(event)) == event


def test_what_has_a_default_may_be_left_out():
    route = from_json(Route, {"name": "r", "providers": [{"name": "a"}]})
    assert route == Route(name="r", providers=(Provider(name="a"),))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], r"route is \[\]: Expected `object`, got `array`"),
        ({"name": "r"}, "route: Object missing required field `providers`"),
        ({"name": "r", "providers": []}, "route: route 'r' has no provider"),
        (
            {"name": "r", "providers": [{"name": 3}]},
            r"route.providers\[0\].name is 3: Expected `str`",
        ),
        ({"name": "r", "providers": "a"}, "route.providers is 'a': Expected `array`, got `str`"),
        (
            {"name": "r", "providers": [{"name": "a", "price": 3}]},
            r"providers\[0\] has the unknown field 'price'",
        ),
        (
            {"name": "r", "providers": [{"name": "a", "prices": {"input_usd_per_mtok": 1.0}}]},
            r"providers\[0\].prices: Object missing required field `output_usd_per_mtok`",
        ),
        (
            {
                "name": "r",
                "providers": [
                    {"name": "a", "prices": {"input_usd_per_mtok": -1, "output_usd_per_mtok": 1.0}}
                ],
            },
            r"providers\[0\].prices: input_usd_per_mtok is -1",
        ),
        (
            {"name": "r", "providers": [{"name": "a", "healthy": 1}]},
            "healthy is 1: Expected `bool`, got `int`",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_path(value, words):
    with pytest.raises(InvalidInput, match=words):
        from_json(Route, value)
