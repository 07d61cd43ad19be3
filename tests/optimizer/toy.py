"""A route of three providers whose qualities are known, and traffic on it."""

import numpy as np

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import (
    Context,
    Feedback,
    Outcome,
    Prices,
    Provider,
    Route,
)

WIDTH = 4
BLOCKS = (Block("context", WIDTH, isotropic=False),)
COST = {"cheap": 1e-4, "middle": 1e-3, "dear": 1e-2}


def provider(name, usd, **more) -> Provider:
    """Costs ``usd`` a call, whatever the tokens."""
    prices = Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=usd)
    return Provider(name=name, prices=prices, **more)


def route(*providers, **more) -> Route:
    providers = providers or tuple(provider(name, usd) for name, usd in COST.items())
    return Route(name="toy", providers=providers, **more)


def new_router(declared=None, **more) -> Router:
    return Router(declared or route(), blocks=BLOCKS, **more)


def decided(router, features=None, *, draw=0.5, decision_id="asked", **more):
    features = np.zeros(WIDTH) if features is None else np.asarray(features, dtype=float)
    return router.decide(Context(features=features), decision_id=decision_id, draw=draw, **more)


def chances(decision) -> dict[str, float]:
    return dict(zip(decision.providers, decision.probabilities.tolist(), strict=True))


def contextual(name, features) -> float:
    """Return the mean quality; the cheap and the middle provider are good at opposite kinds of request."""
    sign = float(np.sign(features[0]))
    return {"cheap": 0.5 - 0.4 * sign, "middle": 0.5 + 0.4 * sign, "dear": 0.6}[name]


def play(router, n, *, quality=contextual, seed=0, first=0, cost=None, learn=True, noise=0.1):
    """Serve n requests; the events in the order in which they came, and each decision's true quality."""
    rng = np.random.default_rng([seed, first])
    events, earned, spent = [], [], []
    for i in range(first, first + n):
        features = rng.normal(size=WIDTH)
        decision = decided(router, features, draw=rng.random(), decision_id=str(i))
        name = decision.selected
        mean = quality(name, features)
        usd = (cost or COST)[name] * rng.lognormal(-0.02, 0.2)
        value = float(np.clip(mean + noise * rng.normal(), 0.0, 1.0))
        came = [
            decision,
            Outcome(decision_id=str(i), served_provider=name, cost_usd=usd, latency_s=0.5),
            Feedback(decision_id=str(i), value=value),
        ]
        for event in came if learn else ():
            router.learn(event)
        events += came
        earned.append(mean)
        spent.append(usd)
    return events, np.array(earned), np.array(spent)


def quality_statistics(router):
    """Routers that learned the same have these whole numbers bit by bit; no other view of them is public."""
    return {**router._beliefs.quality.statistics(), **prefixed(router._beliefs.cost.statistics())}


def prefixed(statistics):
    return {f"cost of {name}": state for name, state in statistics.items()}


def assert_same_statistics(first, second):
    left, right = quality_statistics(first), quality_statistics(second)
    assert left.keys() == right.keys()
    for name in left:
        for key in left[name]:
            np.testing.assert_array_equal(left[name][key], right[name][key], err_msg=f"{name} {key}")
