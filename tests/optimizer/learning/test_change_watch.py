"""A provider that changes in one quantity: named, dated, and forgotten in that quantity alone."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Context, DriftAlarm, Event, Feedback, Outcome, Prices, Provider, Route

PRICES = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0)
ROUTE = Route(name="toy", providers=(Provider(name="a", prices=PRICES), Provider(name="b", prices=PRICES)))
BLOCKS = (Block("x", 2, isotropic=False),)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What a provider does."""

    quality: float = 0.9
    tokens: float = 200.0
    latency_s: float = 1.5
    failure: float = 0.01
    usd_per_mtok: float | None = None
    """None: costs are not reported, only usage."""
    by_task: dict[str, float] = field(default_factory=dict)
    """Quality in some tasks."""


class World:
    def __init__(self, router: Router, seed: int = 1) -> None:
        self.router, self.events = router, list[Event]()
        self._rng, self._ids = np.random.default_rng(seed), itertools.count()

    def serve(self, n: int, *, a: Habits, b: Habits | None = None, tasks: tuple[str, ...] = ("",)) -> None:
        for _ in range(n):
            task = tasks[int(self._rng.integers(len(tasks)))]
            x = (float(self._rng.normal()), float(tasks.index(task)))
            decision = self.router.decide(
                Context(features=np.array(x), input_tokens=100.0, task=task or None),
                decision_id=str(next(self._ids)),
                draw=float(self._rng.random()),
            )
            served = a if decision.selected == "a" else b or Habits(quality=0.5)
            for event in (decision, *self._reports(decision.id, decision.selected, served, task)):
                self.router.learn(event)
                self.events.append(event)

    def _reports(self, name: str, provider: str, habits: Habits, task: str) -> Iterator[Outcome | Feedback]:
        tokens = round(habits.tokens * float(np.exp(self._rng.normal(0.0, 0.7))))
        price = habits.usd_per_mtok
        failed = self._rng.random() < habits.failure
        yield Outcome(
            decision_id=name,
            served_provider=provider,
            status="error" if failed else "ok",
            input_tokens=100,
            output_tokens=tokens,
            cost_usd=None if price is None else (100 + price * tokens) / 1e6,
            latency_s=habits.latency_s * float(np.exp(self._rng.normal(0.0, 0.5))),
        )
        if not failed:
            rate = habits.by_task.get(task, habits.quality)
            yield Feedback(decision_id=name, value=float(self._rng.random() < rate))


def new_router(**options: bool) -> Router:
    return Router(ROUTE, blocks=BLOCKS, **options)


CHANGES = [
    ("quality", Habits(quality=0.3), (0.9, 0.3)),
    ("tokens", Habits(tokens=900.0), (200.0, 900.0)),
    ("tokens", Habits(tokens=20.0), (200.0, 20.0)),
    ("latency", Habits(latency_s=7.0), (1.5, 7.0)),
    ("failure", Habits(failure=0.25), (0.01, 0.25)),
]


@pytest.mark.parametrize(("quantity", "after", "values"), CHANGES)
def test_a_change_is_named_within_some_tens_of_decisions(
    quantity: str, after: Habits, values: tuple[float, float]
) -> None:
    world = World(new_router())
    world.serve(400, a=Habits())
    assert world.router.alarms == []
    world.serve(80, a=after)
    (alarm,) = world.router.alarms
    assert (alarm.provider, alarm.quantity, alarm.task) == ("a", quantity, None)
    assert 390 <= alarm.since_seq <= 415 and alarm.at_seq < 460
    assert alarm.before == pytest.approx(values[0], rel=0.25, abs=0.02)
    assert alarm.after == pytest.approx(values[1], rel=0.6)


def test_a_price_that_rises_behind_the_list_is_a_change_of_cost() -> None:
    world = World(new_router())
    world.serve(300, a=Habits(usd_per_mtok=4.0))
    world.serve(40, a=Habits(usd_per_mtok=12.0))
    (alarm,) = world.router.alarms
    assert (alarm.quantity, alarm.before) == ("cost", pytest.approx(1.0, rel=0.01))
    assert 2.0 < alarm.after < 3.0


def test_a_provider_that_changes_in_one_task_alone_is_named_with_it() -> None:
    """One request in eight is of the task: of all rewards together a twelfth changes."""
    tasks = ("code", *"abcdefg")
    world = World(new_router())
    world.serve(800, a=Habits(quality=0.9), tasks=tasks)
    world.serve(250, a=Habits(quality=0.9, by_task={"code": 0.2}), tasks=tasks)
    alarm = world.router.alarms[0]
    assert (alarm.provider, alarm.quantity, alarm.task) == ("a", "quality", "code")
    assert 780 <= alarm.since_seq <= 840
    assert alarm.before == pytest.approx(0.9, abs=0.1) and alarm.after < 0.5


def test_beliefs_follow_a_change_at_once() -> None:
    """Longer answers take longer: that they do is no alarm of its own."""
    changed = Habits(tokens=1_000.0, latency_s=8.0, failure=0.25)
    world = World(new_router())
    world.serve(600, a=Habits())
    world.serve(120, a=changed)
    assert {alarm.quantity for alarm in world.router.alarms} == {"tokens", "failure"}
    expected = world.router.summary()["providers"]["a"]  # type: ignore[index]
    mean = 1_000.0 * np.exp(0.7**2 / 2)
    assert expected["cost_usd"] == pytest.approx((100 + 4 * mean) / 1e6, rel=0.35)
    assert expected["latency_s"] == pytest.approx(8.0 * np.exp(0.5**2 / 2), rel=0.25)
    assert expected["failure"] == pytest.approx(0.25, abs=0.12)


def test_an_outage_is_a_circuit_and_no_alarm() -> None:
    world = World(new_router())
    world.serve(300, a=Habits(failure=0.0))
    world.serve(60, a=Habits(failure=1.0), b=Habits(failure=0.0))
    world.serve(300, a=Habits(failure=0.0), b=Habits(failure=0.0))
    assert [change.state for change in world.router.circuit_changes[:1]] == ["open"]
    assert [alarm for alarm in world.router.alarms if alarm.quantity == "failure"] == []


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_named_where_nothing_changes(seed: int) -> None:
    world = World(new_router(), seed)
    steady = Habits(quality=0.97, failure=0.03, usd_per_mtok=4.0)
    other = replace(steady, quality=0.9, by_task={"code": 0.05})
    world.serve(1_000, a=steady, b=other, tasks=("code", "chat", "sums"))
    assert world.router.alarms == []


def fold(events: list[Event], *, detect_drift: bool) -> Router:
    return new_router(detect_drift=detect_drift).rebuild(events)


def assert_same(first: Router, second: Router) -> None:
    probe = Context(features=np.array([0.3, 0.0]), input_tokens=100.0)
    left, right = (router.decide(probe, decision_id="probe", draw=0.5) for router in (first, second))
    np.testing.assert_array_equal(left.expected, right.expected)
    np.testing.assert_array_equal(left.probabilities, right.probabilities)
    assert first.alarms == second.alarms


def test_a_restored_router_raises_the_alarms_of_one_that_was_never_saved(tmp_path: Path) -> None:
    world = World(new_router())
    tasks = ("code", "chat")
    world.serve(300, a=Habits(), tasks=tasks)
    world.serve(12, a=Habits(tokens=900.0, latency_s=40.0, failure=0.25), tasks=tasks)
    world.router.save(tmp_path / "half.npz")
    restored = World(new_router())
    restored.router.load(tmp_path / "half.npz")
    half = len(world.events)
    changed = Habits(tokens=900.0, latency_s=40.0, failure=0.25, by_task={"code": 0.1})
    world.serve(80, a=changed, tasks=tasks)
    restored.router.rebuild(world.events[half:])
    assert {alarm.quantity for alarm in world.router.alarms} == {"tokens", "latency", "failure", "quality"}
    assert_same(world.router, restored.router)
    assert_same(world.router, fold(world.events, detect_drift=True))
    world.router.save(tmp_path / "first.npz")
    restored.router.save(tmp_path / "second.npz")
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()


MakeAlarm = Callable[[str], DriftAlarm]


@pytest.mark.parametrize("quantity", ["quality", "tokens", "cost", "latency", "failure"])
def test_an_alarm_of_the_log_is_acted_on_as_one_of_its_own_and_only_once(quantity: str) -> None:
    world = World(new_router(detect_drift=False))
    world.serve(200, a=Habits())
    changed = Habits(quality=0.4, tokens=900.0, latency_s=6.0, failure=0.3)
    world.serve(60, a=changed)
    plain = fold(world.events, detect_drift=False)
    alarm = DriftAlarm(
        provider="a", quantity=quantity, since_seq=200, at_seq=259, before=1.0, after=2.0, task="code"
    )
    events = [*world.events, alarm]
    once, twice = fold(events, detect_drift=False), fold([*events, alarm], detect_drift=False)
    assert_same(once, twice)
    probe = Context(features=np.array([0.3, 0.0]), input_tokens=100.0)
    before, after = (
        router.decide(probe, decision_id="probe", draw=0.5).expected[:, 0] for router in (plain, once)
    )
    row = {"quality": 0, "tokens": 2, "cost": 2, "latency": 4, "failure": 5}[quantity]
    # All that came since the alarm agrees, so that the belief is nearer to it than before.
    assert (after[row] - before[row]) * (-1 if quantity == "quality" else 1) > 0.05 * before[row]
