"""What is due can be computed at once, later or elsewhere: the state of each place of the log is the same."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.features import Block
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Context, Decision, Feedback, Outcome, Prices, Provider, Route

WIDTH = 5
NAMES = ("small", "middle", "large")


def new_router() -> Router:
    prices = [Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=usd) for usd in (1.0, 4.0, 16.0)]
    route = Route(
        name="r",
        providers=tuple(Provider(name=name, prices=price) for name, price in zip(NAMES, prices, strict=True)),
        budget=Budget(usd_per_request=0.001),
    )
    return Router(route, blocks=[Block("vector", WIDTH, False)])


def reports(decision: Decision, i: int, rng: np.random.Generator) -> list[Outcome | Feedback]:
    good = 0.2 + 0.3 * NAMES.index(decision.selected)
    return [
        Outcome(decision_id=decision.id, served_provider=decision.selected, output_tokens=80 + i % 50),
        Feedback(decision_id=decision.id, value=float(rng.random() < good)),
    ]


def test_what_is_due_is_computed_before_the_next_event_whoever_asks_for_it() -> None:
    rng = np.random.default_rng(0)
    at_once, later, never = new_router(), new_router(), new_router()
    dues = 0
    for i in range(150):
        context = Context(features=rng.standard_normal(WIDTH))
        decision = at_once.decide(context, decision_id=str(i), draw=rng.random())
        for event in (decision, *reports(decision, i, rng)):
            at_once.learn(event)
            for router in (later, never):
                router.learn(event, refit=False)
            dues += later.needs_refit
            while later.needs_refit:
                later.apply_refit(later.next_refit())
            assert not at_once.needs_refit
    never.refit()
    assert dues > 20
    context = Context(features=rng.standard_normal(WIDTH))
    decisions = [router.decide(context, decision_id="x", draw=0.3) for router in (at_once, later, never)]
    for decision in decisions[1:]:
        assert decision.probabilities.tobytes() == decisions[0].probabilities.tobytes()
        assert (decision.shadow_price, decision.model_version) == (
            decisions[0].shadow_price,
            decisions[0].model_version,
        )
    assert at_once.summary() == later.summary() == never.summary()


def test_preparing_changes_nothing_and_the_version_tells_before_from_after() -> None:
    rng = np.random.default_rng(1)
    router = new_router()
    seen = 0
    for i in range(60):
        context = Context(features=rng.standard_normal(WIDTH))
        decision = router.decide(context, decision_id=str(i), draw=rng.random())
        for event in (decision, *reports(decision, i, rng)):
            router.learn(event, refit=False)
            if not router.needs_refit:
                continue
            asked = Context(features=np.full(WIDTH, 0.5))
            before = router.decide(asked, decision_id="before", draw=0.5)
            steps = [router.next_refit()]
            again = router.decide(asked, decision_id="again", draw=0.5)
            assert again.probabilities.tobytes() == before.probabilities.tobytes()
            assert again.model_version == before.model_version == router.model_version
            router.apply_refit(steps[0])
            after = router.decide(asked, decision_id="after", draw=0.5)
            assert after.model_version == router.model_version > before.model_version
            seen += after.probabilities.tobytes() != before.probabilities.tobytes()
            router.refit()
    assert seen > 3
