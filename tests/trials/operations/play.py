"""One router in a simulated world: decides each request, and learns what clients report, when it comes."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead import (
    CallerEmbedding,
    Decision,
    Encoder,
    Feedback,
    NoEligibleProvider,
    Outcome,
    Route,
    Router,
    TaskLabel,
)
from tests.trials.operations.arrivals import every
from tests.trials.operations.clients import Client, Honest
from tests.trials.operations.world import Call, Moment, World

_TASK_WIDTH: Final = 8
_REFUSED: Final = -1

Hook = Callable[[Router, Moment], None]
"""Called before each decision: to configure the route, or to send what no client would."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Played:
    """What happened, request by request; all arrays have the shape (n_requests,) but ``probabilities``.

    ``selected`` is the column of the provider in ``names``, −1 if the request was refused. ``worth`` is the
    true mean reward of the selected call, failures included, 0 if refused. ``probabilities`` has the shape
    (n_requests, n_providers).
    """

    names: tuple[str, ...]
    at_s: NDArray[np.float64]
    selected: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    worth: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    failed: NDArray[np.bool_]
    decisions: list[Decision | None]

    def share(self, name: str, start: int = 0, stop: int | None = None) -> float:
        """Return the mean probability of a provider over a stretch of requests."""
        return float(self.probabilities[start:stop, self.names.index(name)].mean())

    def served(self, name: str, start: int = 0, stop: int | None = None) -> int:
        """Count the requests of a stretch that a provider served."""
        return int((self.selected[start:stop] == self.names.index(name)).sum())

    @property
    def refused(self) -> int:
        """How many requests nobody served."""
        return int((self.selected == _REFUSED).sum())


def make_router(world: World, route: Route | None = None, **settings: object) -> Router:
    """Make a router for a world, with the features that its requests have.

    ``settings`` are fields of the route (by default named ``trial``, of all endpoints of the world).
    """
    route = replace(route or Route(name="trial", providers=world.providers()), **settings)  # type: ignore[arg-type]
    featurisers: list[TaskLabel | CallerEmbedding] = []
    if world.tasks:
        featurisers.append(TaskLabel(width=_TASK_WIDTH))
    embedding = world.embedding(0)
    if embedding is not None:
        featurisers.append(CallerEmbedding(width=len(embedding)))
    return Router(route, encoder=Encoder(featurisers))


def play(
    router: Router,
    world: World,
    *,
    client: Client | None = None,
    at_s: NDArray[np.float64] | None = None,
    before: Sequence[Hook] = (),
    keep_decisions: bool = False,
) -> Played:
    """Serve the requests of a world in order; ``at_s`` are their times, one second apart by default.

    Reports that would come after the last request are never sent. With ``keep_decisions`` the result has the
    decisions themselves.
    """
    client = client if client is not None else Honest()
    times = every(1.0, requests=world.requests) if at_s is None else at_s[: world.requests]
    waiting: list[tuple[float, int, Outcome | Feedback]] = []
    diary = Diary(world, times)
    decisions: list[Decision | None] = []
    for request, now in enumerate(times.tolist()):
        moment = Moment(request=request, at_s=now)
        while waiting and waiting[0][0] <= now:
            router.learn(heapq.heappop(waiting)[2])
        for hook in before:
            hook(router, moment)
        decision = _decide(router, world, moment)
        if keep_decisions:
            decisions.append(decision)
        if decision is None:
            continue
        router.learn(decision)
        call = world.call(decision.selected, moment)
        diary.add(moment, call, zip(decision.providers, decision.probabilities.tolist(), strict=True))
        for i, (after_s, event) in enumerate(client(decision, call, moment)):
            if after_s <= 0.0:
                router.learn(event)
            else:
                heapq.heappush(waiting, (now + after_s, 100 * request + i, event))
    return diary.played(decisions)


def _decide(router: Router, world: World, moment: Moment) -> Decision | None:
    request = moment.request
    try:
        return router.decide(
            world.context(request),
            decision_id=f"d{request}",
            draw=float(world.draws[request]),
            at_s=moment.at_s,
        )
    except NoEligibleProvider:
        return None


class Diary:
    """Keeps what happened to the requests of a world; a request that is never added was refused."""

    def __init__(self, world: World, at_s: NDArray[np.float64]) -> None:
        n = len(at_s)
        self._world, self._at_s = world, at_s
        self._columns = {name: j for j, name in enumerate(world.names)}
        self._selected = np.full(n, _REFUSED, dtype=np.intp)
        self._probabilities = np.zeros((n, len(world.names)))
        self._worth, self._cost_usd, self._latency_s = np.zeros(n), np.zeros(n), np.full(n, np.nan)
        self._failed = np.zeros(n, dtype=bool)

    def add(self, moment: Moment, call: Call, probabilities: Iterable[tuple[str, float]]) -> None:
        """Note the call of a request, and the distribution that its provider was drawn from."""
        i, endpoint = moment.request, self._world.endpoints[call.provider]
        self._selected[i] = self._columns[call.provider]
        for name, probability in probabilities:
            self._probabilities[i, self._columns[name]] = probability
        self._worth[i] = endpoint.worth(moment, self._world.task(i))
        self._cost_usd[i], self._latency_s[i] = call.cost_usd, call.latency_s
        self._failed[i] = call.status != "ok"

    def played(self, decisions: list[Decision | None] | None = None) -> Played:
        """Return everything noted so far."""
        return Played(
            names=self._world.names,
            at_s=self._at_s,
            selected=self._selected,
            probabilities=self._probabilities,
            worth=self._worth,
            cost_usd=self._cost_usd,
            latency_s=self._latency_s,
            failed=self._failed,
            decisions=decisions or [],
        )
