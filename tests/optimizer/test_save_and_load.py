"""A router that was saved and loaded goes on exactly as the one that never stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairlead.optimizer.errors import UnknownDecision
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.persistence.snapshot import SnapshotError
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import (
    Budget,
    Context,
    DriftAlarm,
    Event,
    Feedback,
    Outcome,
    Prices,
    Provider,
    Route,
)

WIDTH = 3
BLOCKS = (Block("context", WIDTH, isotropic=False),)
ROUTE = Route(
    name="saved",
    providers=(
        *(
            Provider(name=name, prices=Prices(input_usd_per_mtok=usd, output_usd_per_mtok=4 * usd))
            for name, usd in (("lab/small", 0.1), ("lab/middle", 0.5))
        ),
        Provider(name="unpriced"),
    ),
    budget=Budget(usd_per_request=4e-4),
)


def fresh(route: Route = ROUTE) -> Router:
    return Router(route, blocks=BLOCKS)


def served(router: Router, n: int, *, first: int = 0) -> list[Event]:
    """Serve n requests with late, corrected, failed and orphaned events among what comes of them."""
    rng = np.random.default_rng([9, first])
    events: list[Event] = []

    def learn(event: Event) -> None:
        router.learn(event)
        events.append(event)

    for i in range(first, first + n):
        features = rng.normal(size=WIDTH)
        decision = router.decide(
            Context(features=features, input_tokens=i % 90),
            decision_id=str(i),
            draw=float(rng.random()),
            at_s=60.0 * i,
        )
        learn(decision)
        served_by = decision.selected if rng.random() < 0.9 else "lab/middle"
        status = "ok" if rng.random() < 0.95 else "timeout"
        cost = 2e-4 if served_by == "unpriced" else None
        usage = {"input_tokens": i % 90, "output_tokens": int(rng.integers(20, 400)), "latency_s": 0.4}
        learn(Outcome(decision_id=str(i), served_provider=served_by, cost_usd=cost, status=status, **usage))
        late = str(max(i - int(rng.integers(0, 6)), first))
        learn(Feedback(decision_id=late, value=float(np.clip(0.6 + 0.3 * features[0], 0, 1)), revision=i))
        if i % 17 == 0:
            learn(Feedback(decision_id=f"later-{i}", value=0.5))
    return events


def assert_same(left_router: Router, right_router: Router) -> None:
    rng = np.random.default_rng(4)
    for i in range(5):
        features = rng.normal(size=WIDTH)
        left, right = (
            encode(
                router.decide(Context(features=features, input_tokens=20), decision_id=f"ask-{i}", draw=0.3)
            )
            for router in (left_router, right_router)
        )
        assert left == right
    assert left_router.summary() == right_router.summary()


@pytest.mark.parametrize("n", [0, 1, 40, 300])
def test_what_is_saved_goes_on_bit_for_bit(tmp_path: Path, n: int) -> None:
    router = fresh()
    served(router, n)
    router.save(tmp_path / "state.npz", offset=3 * n)
    again = fresh()
    assert again.load(tmp_path / "state.npz") == 3 * n
    assert_same(router, again)
    for event in served(router, 120, first=n):
        again.learn(event)
    # Late news of decisions from before the snapshot is taken as well.
    for late in range(0, n, 7):
        for each in (router, again):
            each.learn(Feedback(decision_id=str(late), value=0.1, revision=10_000))
            each.learn(
                Outcome(decision_id=str(late), served_provider="lab/small", output_tokens=9, revision=9)
            )
    assert_same(router, again)


def test_a_price_change_and_an_alarm_are_remembered(tmp_path: Path) -> None:
    router = fresh()
    served(router, 60)
    cheaper = replace(ROUTE.providers[1], prices=Prices(input_usd_per_mtok=0.05, output_usd_per_mtok=0.2))
    route = replace(ROUTE, providers=(ROUTE.providers[0], cheaper, ROUTE.providers[2]))
    router.configure(route)
    served(router, 60, first=60)
    alarm = DriftAlarm(
        provider="lab/small", quantity="quality", since_seq=80, at_seq=119, before=0.0, after=-1.0
    )
    router.learn(alarm)
    router.save(tmp_path / "state.npz")
    again = fresh()
    again.load(tmp_path / "state.npz")
    assert again.alarms[-1] == alarm
    # Usage of an old decision is priced by the list of its time, in both.
    for each in (router, again):
        each.learn(Outcome(decision_id="3", served_provider="lab/middle", output_tokens=400, revision=5))
    assert_same(router, again)


def test_a_snapshot_of_something_else_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    router = fresh()
    served(router, 30)
    path = tmp_path / "state.npz"
    router.save(path)
    other = fresh(replace(ROUTE, name="another"))
    before = other.summary()
    with pytest.raises(SnapshotError, match="saved for another route"):
        other.load(path)
    with pytest.raises(SnapshotError, match="saved for another encoder"):
        Router(ROUTE, blocks=BLOCKS, encoder_version="v2").load(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(SnapshotError, match="delete it"):
        fresh().load(path)
    assert other.summary() == before


def test_closed_decisions_are_let_go_and_stay_learned(tmp_path: Path) -> None:
    router = fresh()
    served(router, 100)
    before = router.summary()
    assert router.close_before(60) == 60
    assert router.summary() == before
    with pytest.raises(UnknownDecision, match="closed"):
        router.learn(Feedback(decision_id="10", value=0.5, revision=10_000))
    large = tmp_path / "large.npz"
    small = tmp_path / "small.npz"
    fresh_one = fresh()
    served(fresh_one, 100)
    fresh_one.save(large)
    router.save(small)
    assert large.stat().st_size - small.stat().st_size > 60 * 150
    again = fresh()
    again.load(small)
    with pytest.raises(UnknownDecision, match="closed"):
        again.learn(Feedback(decision_id="10", value=0.5, revision=10_000))
    assert_same(router, again)
