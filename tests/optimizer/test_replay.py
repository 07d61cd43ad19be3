"""A served log, written out and read back, leads to the same router: the same probabilities, bit for bit."""

from pathlib import Path

import numpy as np

from fairlead.optimizer.features import Encoder, SurfaceFeatures
from fairlead.optimizer.persistence.event_log import encode, read_log
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Context, Event, Feedback, Outcome, Prices, Provider, Route

ROUTE = Route(
    name="replay",
    providers=tuple(
        Provider(name=name, prices=Prices(input_usd_per_mtok=price, output_usd_per_mtok=4 * price))
        for name, price in (("small", 0.1), ("middle", 0.5), ("large", 3.0))
    ),
    budget=Budget(usd_per_request=0.001),
)
PROMPTS = ("What is 2 + 2?", "Write a poem about rain.", "def f(x):\n    return x", "Translate: guten Tag")


def fresh() -> Router:
    return Router(ROUTE, encoder=Encoder([SurfaceFeatures()]))


def served(n: int) -> tuple[Router, list[Event]]:
    router, rng = fresh(), np.random.default_rng(7)
    events: list[Event] = []
    for i in range(n):
        context = Context(text=PROMPTS[i % len(PROMPTS)] * int(rng.integers(1, 5)))
        decision = router.decide(context, decision_id=str(i), draw=float(rng.random()))
        tokens = int(rng.integers(20, 400))
        outcome = Outcome(
            decision_id=str(i), served_provider=decision.selected, input_tokens=30, output_tokens=tokens
        )
        feedback = Feedback(decision_id=str(i), value=float(rng.random() < 0.7))
        for event in (decision, outcome, feedback):
            router.learn(event)
            events.append(event)
    return router, events


def test_a_log_read_back_gives_identical_decisions(tmp_path: Path) -> None:
    router, events = served(300)
    path = tmp_path / "log.jsonl"
    path.write_text("".join(encode(event) + "\n" for event in events), encoding="utf-8")
    again = fresh().rebuild(read_log(path))
    for prompt in PROMPTS:
        first = router.decide(Context(text=prompt), decision_id="x", draw=0.5)
        second = again.decide(Context(text=prompt), decision_id="x", draw=0.5)
        assert np.array_equal(first.probabilities, second.probabilities)
        assert first.shadow_price == second.shadow_price
        assert np.array_equal(first.expected, second.expected, equal_nan=True)


def test_each_decision_is_reproduced_from_the_log_before_it() -> None:
    _, events = served(120)
    router = fresh()
    for event in events:
        if hasattr(event, "features"):
            again = router.decide(
                Context(features=event.features, input_tokens=event.input_tokens),
                decision_id=event.id,
                draw=0.5,
            )
            assert np.array_equal(again.probabilities, event.probabilities)
        router.learn(event)
