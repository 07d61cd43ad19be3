"""Reports that cannot be right, one or two in a hundred, move next to nothing; a change of all is learned.

Each run is compared with its twin, the same requests and draws without the false reports. A share is the mean
probability of a provider over a stretch of requests, and it moves by the difference between both runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fairlead import Budget, Decision, Feedback, Objective, Outcome, Prices, Router
from tests.trials.operations.clients import Honest, Hostile, Report
from tests.trials.operations.play import Hook, Played, make_router, play
from tests.trials.operations.result import Figure, Progress, Result, at_most, in_most, result_of
from tests.trials.operations.world import LIST, Call, Endpoint, Moment, World

SETTLED: Final = 1_000
"""Requests after which a route is settled, and the one event comes."""

STRETCH: Final = 500
"""Requests over which a share is a mean."""

Change = Callable[[Outcome | Feedback], Outcome | Feedback]


def _outcome(**fields: Any) -> Change:
    return lambda event: replace(event, **fields) if isinstance(event, Outcome) else event


def _times(factor: float, field: str) -> Change:
    def change(event: Outcome | Feedback) -> Outcome | Feedback:
        value = getattr(event, field, None)
        return event if value is None else replace(event, **{field: min(value * factor, 1e6)})

    return change


def _judged(value: float) -> Change:
    return lambda event: replace(event, value=value) if isinstance(event, Feedback) else event


def _turned(event: Outcome | Feedback) -> Outcome | Feedback:
    if isinstance(event, Outcome) or event.value is None:
        return event
    return replace(event, value=float(event.value < 0.5))


KINDS: Final[dict[str, Change]] = {
    "a judgement of 0": _judged(0.0),
    "a judgement turned round": _turned,
    "a status of error": _outcome(status="error"),
    "a cost of 10 USD": _outcome(cost_usd=10.0),
    "a cost of 1e6 USD": _outcome(cost_usd=1e6),
    "cents for dollars": _times(100.0, "cost_usd"),
    "a cost of 0": _outcome(cost_usd=0.0),
    "usage of 1e9 tokens": _outcome(output_tokens=10**9, cost_usd=None),
    "a latency of 1e6 s": _outcome(latency_s=1e6),
    "ms for s": _times(1_000.0, "latency_s"),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A world, and the fields of its route."""

    endpoints: tuple[Endpoint, ...]
    route: dict[str, Any]
    tasks: tuple[str, ...] = ()

    def world(self, *, requests: int, seed: int) -> World:
        """Return the world of one seed."""
        return World(self.endpoints, requests=requests, seed=seed, tasks=self.tasks)


def _settings() -> dict[str, Setting]:
    two = (Endpoint(name="best", quality=0.9), Endpoint(name="next", quality=0.8))
    lists = [LIST.scaled(factor) for factor in (0.1, 0.4, 1.0, 4.0)]
    ladder = tuple(
        Endpoint(name=f"p{i}", quality=0.6 + 0.1 * i, by_task={"sql": 0.65 + 0.08 * i}, prices=prices)
        for i, prices in enumerate(lists)
    )
    unlisted = tuple(
        replace(endpoint, listed=None, latency_s=0.5 + 0.5 * i) for i, endpoint in enumerate(ladder)
    )
    return {
        "two providers": Setting(endpoints=two, route={}),
        "a budget": Setting(
            endpoints=ladder, route={"budget": Budget(usd_per_request=0.0015)}, tasks=("chat", "sql")
        ),
        "a worth, no lists": Setting(
            endpoints=unlisted,
            route={"objective": Objective(willingness_to_pay_usd=0.02, latency_weight=0.02)},
        ),
    }


SETTINGS: Final = _settings()


def run_short(seeds: Sequence[int], progress: Progress) -> Result:
    """Play false costs alone, under a budget, with fewer requests."""
    kinds = {name: KINDS[name] for name in ("a cost of 10 USD", "cents for dollars", "usage of 1e9 tokens")}
    figures = []
    for play_kinds in (_events, _shares):
        figures += play_kinds(
            "a budget", SETTINGS["a budget"], seeds=seeds, progress=progress, requests=1_500, kinds=kinds
        )
    return result_of(figures)


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play every kind of false report in every setting, once each and as two in a hundred."""
    figures = []
    for name, setting in SETTINGS.items():
        figures += _events(name, setting, seeds=seeds, progress=progress)
        figures += _shares(name, setting, seeds=seeds, progress=progress)
    return result_of([*figures, *_lists(seeds, progress)])


def _events(
    name: str,
    setting: Setting,
    *,
    seeds: Sequence[int],
    progress: Progress,
    requests: int = 3_000,
    kinds: Mapping[str, Change] = KINDS,
) -> Iterable[Figure]:
    moved: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in seeds:
        world = setting.world(requests=requests, seed=seed)
        twin = play(make_router(world, **setting.route), world)
        for kind, change in kinds.items():
            progress(f"{name}, one event: {kind}, seed {seed}")
            router = make_router(world, **setting.route)
            moved[kind].append(_moved(play(router, world, before=[_one_event(change)]), twin, SETTLED))
    for kind, points in moved.items():
        yield at_most(f"{name}: one event, {kind}, moves a share by at most", max(points), 5.0, unit="points")


def _one_event(change: Change) -> Hook:
    """Correct what was reported of the latest call of the usual provider, once the route is settled."""
    sent: list[Report] = []

    def hook(router: Router, moment: Moment) -> None:
        if moment.request < SETTLED or sent:
            return
        decision = router.open_decisions()[-1]
        assert decision.outcome is not None
        for event in (decision.outcome, *decision.feedback):
            changed = change(event)
            if changed != event:
                sent.append((0.0, changed))
                router.learn(replace(changed, revision=1))

    return hook


def _shares(
    name: str,
    setting: Setting,
    *,
    seeds: Sequence[int],
    progress: Progress,
    requests: int = 3_000,
    kinds: Mapping[str, Change] = KINDS,
) -> Iterable[Figure]:
    mixes: dict[str, Sequence[Change]] = {kind: [change] for kind, change in kinds.items()}
    mixes["all of these"] = list(kinds.values())
    moved: dict[str, list[float]] = {kind: [] for kind in mixes}
    for seed in seeds:
        world = setting.world(requests=requests, seed=seed)
        twin = play(make_router(world, **setting.route), world)
        for kind, changes in mixes.items():
            progress(f"{name}, 2 % hostile: {kind}, seed {seed}")
            client = Hostile(honest=Honest(), share=0.02, corrupt=_corrupt(changes), seed=seed)
            played = play(make_router(world, **setting.route), world, client=client)
            moved[kind].append(_moved(played, twin, SETTLED, stretch=requests - SETTLED))
    for kind, points in moved.items():
        yield at_most(
            f"{name}: 2 % hostile, {kind}, move a share by at most", max(points), 10.0, unit="points"
        )


def _corrupt(changes: Sequence[Change]) -> Callable[[list[Report], Decision, Call], Iterable[Report]]:
    def corrupt(reports: list[Report], decision: Decision, call: Call) -> Iterable[Report]:
        change = changes[int(decision.id[1:]) % len(changes)]
        return [(after_s, change(event)) for after_s, event in reports]

    return corrupt


def _moved(played: Played, twin: Played, start: int, *, stretch: int = STRETCH) -> float:
    """Return by how many points a share differs between two runs, at most, in any stretch from ``start``."""
    gap = played.probabilities[start:] - twin.probabilities[start:]
    stretches = [gap[i : i + stretch].mean(axis=0) for i in range(0, len(gap) - stretch + 1, stretch)]
    return 100.0 * float(np.abs(stretches).max())


def _lists(seeds: Sequence[int], progress: Progress) -> Iterable[Figure]:
    """Play a provider whose list is wrong by a thousand: its costs are believed within some tens of calls."""
    for what, factor in (("per 1k for per 1M", 1e-3), ("a thousand times too high", 1e3)):
        right, named = [], []
        for seed in seeds:
            progress(f"a list {what}, seed {seed}")
            played, router = _wrong_list(factor, seed=seed)
            served = played.served("wrong")
            cost = router.decide(World((), requests=1, seed=seed).context(0), decision_id="asked", draw=0.5)
            believed = cost.candidates[cost.providers.index("wrong")].expected.cost_usd
            right.append(served >= 5 and bool(abs(np.log(believed / 0.0016)) < np.log(2.0)))
            named.append(any(doubt.quantity == "prices" for doubt in router.quarantine))
        yield in_most(f"a list {what}: costs are believed within 300 requests", right, share=0.95)
        yield in_most(f"a list {what}: an alarm names it", named, share=0.95)


def _wrong_list(factor: float, *, seed: int) -> tuple[Played, Router]:
    listed: Prices = LIST.scaled(factor)
    endpoints = [
        Endpoint(name="wrong", quality=0.8, listed=listed),
        Endpoint(name="right", quality=0.75),
    ]
    world = World(endpoints, requests=300, seed=seed)
    router = make_router(world)
    return play(router, world), router
