"""The clients of the simulated weeks: they ask the service, call providers, and report, as time passes."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from tests.trials.operations.office import Office, Plan
from tests.trials.operations.play import Diary, Played
from tests.trials.operations.simulated_service import SimulatedService
from tests.trials.operations.world import Call, Moment

_TOGETHER: Final = 8
"""Requests that are sent at once, if they come within `_SLOT_S` of each other."""
_SLOT_S: Final = 20.0
_JUDGED: Final = 0.4
_FEEDBACK_S: Final = 1_200.0
"""Mean time until feedback comes."""


@dataclass(order=True)
class _Due:
    """Something to send at a time; ``number`` makes the order of simultaneous ones that of their creation."""

    at_s: float
    number: int
    path: str = field(compare=False)
    body: Mapping[str, Any] = field(compare=False)
    request: tuple[str, int] | None = field(compare=False, default=None)
    """Route and number of the request, if this asks for a decision."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Keys of the company's programs, each with no more than it needs."""

    admin: str
    app: str
    app_id: str
    widget: str
    monitor: str


async def make_keys(service: SimulatedService, admin: str | None = None) -> Keys:
    """Create the keys; the one of the administrator too, if there is none."""

    async def create(name: str, scopes: list[str], by: str | None) -> tuple[str, str]:
        reply = await service.request("POST", "/v1/keys", {"name": name, "scopes": scopes}, key=by)
        created = reply.json()
        return created["id"], created["key"]

    admin = admin or (await create("operator", ["admin"], None))[1]
    app_id, app = await create("application", ["decide", "outcome"], admin)
    return Keys(
        admin=admin,
        app=app,
        app_id=app_id,
        widget=(await create("thumbs widget", ["feedback"], admin))[1],
        monitor=(await create("monitoring", ["read"], admin))[1],
    )


@dataclass(frozen=True)
class Look:
    """What an operator sees at one time: the state of each route, and the metrics."""

    at_s: float
    states: Mapping[str, Any]
    metrics: str


class Life:
    """Traffic on all routes of a service. `live` sends what is due until a time, and may go on later."""

    def __init__(self, routes: Mapping[str, Office], plan: Plan, *, seed: int) -> None:
        self.routes, self._plan, self._seed = routes, plan, seed
        self.name = f"seed {seed}, {'with' if plan.faults else 'without'} faults"
        self._diaries = {name: Diary(office.world, office.at_s) for name, office in routes.items()}
        self._due: list[_Due] = []
        self._number = 0
        self.looks: list[Look] = []
        self.unit_errors = 0
        self.answers: dict[int, int] = {}
        self.relaxed: dict[str, int] = dict.fromkeys(routes, 0)
        self.fallbacks: dict[str, int] = dict.fromkeys(routes, 0)
        self.refusals: list[str] = []
        """The first answers other than 200, in words."""
        for name, office in routes.items():
            for i, at_s in enumerate(office.at_s.tolist()):
                self._send_later(at_s, "/v1/decisions", {}, request=(name, i))

    @property
    def busy(self) -> bool:
        """Whether anything is still to be sent."""
        return bool(self._due)

    def played(self) -> dict[str, Played]:
        """Return what happened, by route."""
        return {name: diary.played() for name, diary in self._diaries.items()}

    def _send_later(
        self, at_s: float, path: str, body: Mapping[str, Any], *, request: tuple[str, int] | None = None
    ) -> None:
        self._number += 1
        heapq.heappush(self._due, _Due(at_s, self._number, path, body, request))

    async def live(
        self, service: SimulatedService, keys: Keys, *, until_s: float, look_every_s: float
    ) -> None:
        """Send everything that is due before a time, a few requests at once."""
        next_look = service.clock.now_s + look_every_s
        while self._due and self._due[0].at_s < until_s:
            end_s = self._due[0].at_s + _SLOT_S
            together: list[_Due] = []
            while self._due and len(together) < _TOGETHER and self._due[0].at_s < min(end_s, until_s):
                together.append(heapq.heappop(self._due))
            await asyncio.gather(*(self._send(service, keys, due) for due in together))
            await service.settle()
            if service.clock.now_s >= next_look:
                await self.look(service, keys)
                next_look = service.clock.now_s + look_every_s

    async def _send(self, service: SimulatedService, keys: Keys, due: _Due) -> None:
        key = keys.widget if due.path == "/v1/feedback" else keys.app
        body = due.body if due.request is None else self._question(*due.request)
        reply = await service.request("POST", due.path, body, key=key, at_s=due.at_s)
        self.answers[reply.status] = self.answers.get(reply.status, 0) + 1
        if reply.status != 200:
            if len(self.refusals) < 20:
                self.refusals.append(f"{due.path}: {reply.status} {reply.body[:300].decode()}")
        elif due.request is not None:
            self._serve(due, *due.request, reply.json())

    def _question(self, route: str, request: int) -> dict[str, Any]:
        world = self.routes[route].world
        body = {"route": route, "id": f"{route}-{request}", "input_tokens": world.input_tokens(request)}
        embedding = world.embedding(request)
        if embedding is None:
            return {**body, "task": world.task(request)}
        return {**body, "embedding": [round(value, 5) for value in embedding.tolist()]}

    def _serve(self, due: _Due, route: str, request: int, answer: Mapping[str, Any]) -> None:
        moment = Moment(request=request, at_s=due.at_s)
        call = self.routes[route].world.call(answer["selected"], moment)
        propensities = [(entry["provider"], entry["propensity"]) for entry in answer["candidates"]]
        self._diaries[route].add(moment, call, propensities)
        self.relaxed[route] += bool(answer.get("relaxed"))
        self.fallbacks[route] += answer["fallback_used"] is not None
        name, lot = answer["id"], self._lot(route, request)
        outcome = self._outcome(call, lot)
        self._send_later(due.at_s + call.latency_s, f"/v1/decisions/{name}/outcome", outcome)
        if call.quality is not None and lot.random() < _JUDGED:
            after_s = call.latency_s + float(lot.exponential(_FEEDBACK_S))
            body = {"decision_id": name, "value": call.quality, "source": "human", "id": f"f-{name}"}
            self._send_later(due.at_s + after_s, "/v1/feedback", body)

    def _lot(self, route: str, request: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, 23, list(self.routes).index(route), request])

    def _outcome(self, call: Call, lot: np.random.Generator) -> dict[str, Any]:
        body: dict[str, Any] = {"status": call.status, "latency_s": call.latency_s}
        if call.status != "ok":
            return body
        body["usage"] = {"input_tokens": call.input_tokens, "output_tokens": call.output_tokens}
        body["cost_usd"] = call.cost_usd
        if lot.random() < self._plan.unit_errors and self._plan.faults:
            self.unit_errors += 1
            if lot.random() < 0.5:
                body["latency_s"] *= 1_000.0
            else:
                body["cost_usd"] *= 100.0
        return body

    async def look(self, service: SimulatedService, keys: Keys) -> Look:
        """Read the state of each route and the metrics, as an operator's tools do."""
        states = {}
        for name in self.routes:
            reply = await service.request("GET", f"/v1/routes/{name}/state", key=keys.monitor)
            states[name] = reply.json()
        metrics = await service.request("GET", "/metrics", key=keys.monitor)
        self.looks.append(Look(service.clock.now_s, states, metrics.body.decode()))
        return self.looks[-1]
