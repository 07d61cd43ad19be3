"""What the first decision and the first judgement would otherwise wait for: compiling and importing."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.features import SurfaceFeatures
from fairlead.optimizer.features.encoder import Encoder
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Context, Feedback, Outcome, Prices, Provider, Route


def warm_up() -> None:
    """Make and learn a decision of a route that nobody asks; seconds at first, later a few milliseconds."""
    prices = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=1.0)
    route = Route(
        name="warming",
        providers=(Provider(name="a", prices=prices), Provider(name="b", prices=prices)),
        budget=Budget(usd_per_request=0.001),
    )
    router = Router(route, encoder=Encoder([SurfaceFeatures()]))
    draws = np.random.default_rng(0).random(3).tolist()
    for i, draw in enumerate(draws):
        decision = router.decide(Context(text="a request"), decision_id=str(i), draw=draw, at_s=float(i))
        router.learn(decision)
        router.learn(
            Outcome(decision_id=str(i), served_provider=decision.selected, cost_usd=0.001, latency_s=1.0)
        )
        router.learn(Feedback(decision_id=str(i), value=draw))
