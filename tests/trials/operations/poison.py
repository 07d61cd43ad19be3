"""Reports that cannot be right, one or two in a hundred, move next to nothing; a change of all is learned.

Each run is compared with its twin, the same requests and draws without the false reports. A share is the mean
probability of a provider over a stretch of requests, and it moves by the difference between both runs.

Where mixes of providers are worth about the same, little decides which one a run takes: honest rewards drawn
anew, or one cost that is a tenth lower, move a share of one run as far as false reports do. So what reports
move is a mean over seeds; the worst seed is shown, and beside it what honest reports move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead import Budget, Constraints, Decision, Feedback, Objective, Outcome, Prices, Router
from tests.trials.operations.clients import Honest, Hostile, Report
from tests.trials.operations.play import Hook, Played, make_router, play
from tests.trials.operations.result import Figure, Progress, Result, at_most, in_most, reported, result_of
from tests.trials.operations.world import LIST, Call, Endpoint, Moment, World, between

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

JUST_BELIEVABLE: Final[dict[str, Change]] = {
    f"{what} {factor:g} times too {extent}": _times(factor, field)
    for what, extent, field in (("a cost", "high", "cost_usd"), ("a latency", "long", "latency_s"))
    for factor in (8.0, 30.0)
}
"""Such as some calls really have; as two in a hundred."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A world, and the fields of its route."""

    endpoints: tuple[Endpoint, ...]
    route: dict[str, Any]
    tasks: tuple[str, ...] = ()
    kinds: tuple[str, ...] = (*KINDS, *JUST_BELIEVABLE)
    """False reports that are played there."""

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
        "a limit of latency": Setting(
            endpoints=(
                Endpoint(name="quick", quality=0.7, latency_s=0.5),
                Endpoint(name="best", quality=0.8),
                Endpoint(name="slow", quality=0.9, latency_s=1.5),
            ),
            route={"constraints": Constraints(max_latency_s=1.2)},
            kinds=tuple(kind for kind in (*KINDS, *JUST_BELIEVABLE) if "latency" in kind or "ms" in kind),
        ),
    }


SETTINGS: Final = _settings()


def run_short(seeds: Sequence[int], progress: Progress) -> Result:
    """Play false costs alone, under a budget, with fewer requests."""
    setting = replace(
        SETTINGS["a budget"],
        kinds=("a cost of 10 USD", "cents for dollars", "usage of 1e9 tokens", "a cost 30 times too high"),
    )
    figures = []
    for play_kinds in (_events, _shares):
        figures += play_kinds("a budget", setting, seeds=seeds, progress=progress, requests=1_500)
    return result_of(figures)


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play every kind of false report in every setting, once each and as two in a hundred."""
    figures = []
    for name, setting in SETTINGS.items():
        figures += _events(name, setting, seeds=seeds, progress=progress, requests=3_000)
        figures += _shares(name, setting, seeds=seeds, progress=progress, requests=2_500)
    return result_of([*figures, *_changes(seeds, progress), *_lists(seeds, progress)])


def _events(
    name: str, setting: Setting, *, seeds: Sequence[int], progress: Progress, requests: int
) -> Iterable[Figure]:
    def play_kind(change: Sequence[Change], world: World) -> Played:
        return play(make_router(world, **setting.route), world, before=[_one_event(change[0])])

    kinds = {kind: [KINDS[kind]] for kind in setting.kinds if kind in KINDS}
    kinds["an honest cost a tenth lower"] = [_times(0.9, "cost_usd")]
    moved = _compared(
        f"{name}, one event", setting, kinds, play_kind, seeds=seeds, progress=progress, requests=requests
    )
    for kind, runs in moved.items():
        what = f"{name}: one event, {kind}, moves a share by at most"
        bound = 5.0 if kind in KINDS else None
        yield from _figures(what, runs, bound=bound, stretch=STRETCH)


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
    name: str, setting: Setting, *, seeds: Sequence[int], progress: Progress, requests: int
) -> Iterable[Figure]:
    def play_kind(changes: Sequence[Change], world: World) -> Played:
        client = Hostile(honest=Honest(), share=0.02, corrupt=_corrupt(changes), seed=world.seed)
        return play(make_router(world, **setting.route), world, client=client)

    every = {**KINDS, **JUST_BELIEVABLE}
    kinds = {kind: [every[kind]] for kind in setting.kinds}
    kinds["all of these"] = [every[kind] for kind in setting.kinds]
    moved = _compared(
        f"{name}, 2 % hostile", setting, kinds, play_kind, seeds=seeds, progress=progress, requests=requests
    )
    for kind, runs in moved.items():
        what = f"{name}: 2 % hostile, {kind}, move a share by at most"
        yield from _figures(what, runs, bound=10.0, stretch=requests - SETTLED)
    twins = {seed: twin for seed, (_, twin) in zip(seeds, moved["all of these"], strict=True)}
    yield from _redrawn(name, setting, twins, progress=progress, requests=requests)


def _redrawn(
    name: str, setting: Setting, twins: Mapping[int, Played], *, progress: Progress, requests: int
) -> Iterable[Figure]:
    """Draw two in a hundred of the rewards, and all of them, anew: what a share moves without falsehood.

    ``twins`` are the runs of each seed as it is.
    """
    for what, share in (("2 %", 0.02), ("all", 1.0)):
        runs = []
        for seed, twin in twins.items():
            progress(f"{name}, {what} of honest rewards drawn anew, seed {seed}")
            world = setting.world(requests=requests, seed=seed)
            client = Hostile(honest=Honest(), share=share, corrupt=_draw_anew(world), seed=seed)
            again = play(make_router(world, **setting.route), world, client=client)
            runs.append((again, twin))
        title = f"{name}: {what} of honest rewards drawn anew move a share by at most"
        yield from _figures(title, runs, bound=None, stretch=requests - SETTLED)


def _draw_anew(world: World) -> Callable[[list[Report], Decision, Call], Iterable[Report]]:
    def corrupt(reports: list[Report], decision: Decision, call: Call) -> Iterable[Report]:
        value = world.reward_anew(call.provider, int(decision.id[1:]))
        return [(after_s, _judged(value)(event)) for after_s, event in reports]

    return corrupt


def _compared(
    what: str,
    setting: Setting,
    kinds: Mapping[str, Sequence[Change]],
    play_kind: Callable[[Sequence[Change], World], Played],
    *,
    seeds: Sequence[int],
    progress: Progress,
    requests: int,
) -> dict[str, list[tuple[Played, Played]]]:
    """Play every kind of false report for every seed; each run with its twin, by kind."""
    runs: dict[str, list[tuple[Played, Played]]] = {kind: [] for kind in kinds}
    for seed in seeds:
        world = setting.world(requests=requests, seed=seed)
        twin = play(make_router(world, **setting.route), world)
        for kind, changes in kinds.items():
            progress(f"{what}: {kind}, seed {seed}")
            runs[kind].append((play_kind(changes, world), twin))
    return runs


def _corrupt(changes: Sequence[Change]) -> Callable[[list[Report], Decision, Call], Iterable[Report]]:
    def corrupt(reports: list[Report], decision: Decision, call: Call) -> Iterable[Report]:
        change = changes[int(decision.id[1:]) % len(changes)]
        return [(after_s, change(event)) for after_s, event in reports]

    return corrupt


def _figures(
    what: str, runs: Sequence[tuple[Played, Played]], *, bound: float | None, stretch: int
) -> Iterable[Figure]:
    """Say by how much a share moves at most: as a mean over the runs, within ``bound``, and in the worst."""
    largest = [float(np.abs(_gaps(played, twin, stretch=stretch)).max()) for played, twin in runs]
    mean, title = float(np.mean(largest)), f"{what}, as a mean over seeds"
    yield (
        reported(title, mean, unit="points") if bound is None else at_most(title, mean, bound, unit="points")
    )
    yield reported(f"{what}, in the worst seed", max(largest), unit="points")


def _gaps(played: Played, twin: Played, *, stretch: int) -> NDArray[np.float64]:
    """Return by how many points shares differ in each stretch, shape (n_stretches, n_providers)."""
    gap = 100.0 * (played.probabilities - twin.probabilities)[SETTLED:]
    return np.array([gap[i : i + stretch].mean(axis=0) for i in range(0, len(gap) - stretch + 1, stretch)])


def _changes(seeds: Sequence[int], progress: Progress) -> Iterable[Figure]:
    """Let the best become 50 times as slow or as dear: within some tens of calls its share goes."""
    objective = Objective(willingness_to_pay_usd=0.05, latency_weight=0.02)
    for what, more in (
        ("slow", {"latency_s": between(SETTLED, 10**9, inside=50.0, outside=1.0)}),
        ("dear", {}),
    ):
        calls = []
        for seed in seeds:
            progress(f"50 times as {what}, seed {seed}")
            best = Endpoint(name="best", quality=0.9, listed=None, **more)
            world = World([best, Endpoint(name="next", quality=0.8)], requests=1_300, seed=seed)
            client = _fifty_times_as_dear if what == "dear" else Honest()
            played = play(make_router(world, objective=objective), world, client=client)
            calls.append(played.served("best", SETTLED))
        yield at_most(f"calls of a provider that has become 50 times as {what}", max(calls), 60)


def _fifty_times_as_dear(decision: Decision, call: Call, moment: Moment) -> Iterable[Report]:
    is_dear = call.provider == "best" and moment.request >= SETTLED
    usd = call.cost_usd * (50.0 if is_dear else 1.0)
    return Honest()(decision, replace(call, cost_usd=usd), moment)


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
