"""Decisions, reports and changes of every kind at once; afterwards the state is still that of the log."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from fairlead.api.store import open_store
from tests.api.running import settings_for
from tests.trials import states, wire
from tests.trials.operations.simulated_service import SimulatedClock, SimulatedService, serving

PROVIDERS = ("small", "large", "other")
ROUTES = ("quickstart", "wide")
BUDGETS: tuple[Any, ...] = (
    None,
    {"usd_per_request": 0.001},
    {"usd_per_day": 0.05},
    {"usd_per_day": 0.01, "time_zone": "Africa/Cairo"},
    {"usd": 1.0, "window": "week", "start_day": 3},
    {"usd": 3.0, "window": "calendar_month", "start_hour": 6},
)
CONSTRAINTS: tuple[Any, ...] = (None, {"max_latency_s": 3.0}, {"deny": ["large"]}, {"max_cost_usd": 0.01})


class Storm:
    """Clients and an operator who do whatever comes to mind."""

    def __init__(self, service: SimulatedService, seed: int) -> None:
        self.service, self.rng = service, random.Random(seed)
        self.decided: list[str] = []
        self.count = 0
        self.refused: list[str] = []

    async def send(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request at a time of the clock that jumps now and then; a fault is kept."""
        ahead_s = self.rng.choice((0.0, 1.0, 60.0, 40_000.0 if self.rng.random() < 0.02 else 5.0))
        at_s = self.service.clock.now_s + ahead_s
        reply = await self.service.request(method, path, body, at_s=at_s)
        if reply.status >= 500 or reply.status == 401:
            self.refused.append(f"{method} {path}: {reply.status} {reply.body[:300].decode()}")
        return reply.json() if reply.body else None

    async def decide(self) -> None:
        """Ask for a decision on one of the routes."""
        self.count += 1
        route, name = self.rng.choice(ROUTES), f"d{self.count}"
        body: dict[str, Any] = {"route": route, "id": name, "task": self.rng.choice("ab")}
        if route == "wide":
            body["embedding"] = [self.rng.random() for _ in range(200)]
        if self.rng.random() < 0.1:
            body["constraints"] = {"max_latency_s": self.rng.choice((0.0, 1.0, 5.0))}
        answer = await self.send("POST", "/v1/decisions", body)
        if "selected" in answer:
            self.decided.append(name)

    async def report(self) -> None:
        """Report an outcome of some decision, a second one perhaps, or nonsense."""
        if self.decided:
            body = {
                "status": self.rng.choice(("ok", "ok", "ok", "error", "timeout")),
                "latency_s": self.rng.choice((0.5, 2.0, 4.0, 2_000.0)),
                "cost_usd": self.rng.choice((None, 0.0001, 0.002, 0.2)),
                "usage": {"input_tokens": 100, "output_tokens": self.rng.randrange(1, 500)},
            }
            await self.send("POST", f"/v1/decisions/{self.rng.choice(self.decided)}/outcome", body)

    async def judge(self) -> None:
        """Judge some decision, or take a judgement back."""
        if self.decided:
            value = self.rng.choice((0.0, 0.7, 1.0, None))
            body = {"decision_id": self.rng.choice(self.decided), "value": value}
            await self.send("POST", "/v1/feedback", body)

    async def change(self) -> None:
        """Change the configuration of a route, a provider or a price list."""
        route, provider = self.rng.choice(ROUTES), self.rng.choice(PROVIDERS)
        usd = self.rng.choice((0.1, 1.0, 100.0))
        price = {"provider": provider, "input_usd_per_mtok": usd, "output_usd_per_mtok": usd * 4.0}
        changes: tuple[tuple[str, str, Any], ...] = (
            ("PATCH", f"/v1/routes/{route}", {"budget": self.rng.choice(BUDGETS)}),
            ("PATCH", f"/v1/routes/{route}", {"constraints": self.rng.choice(CONSTRAINTS)}),
            ("PATCH", f"/v1/routes/{route}", {"providers": list(PROVIDERS[: self.rng.randrange(1, 4)])}),
            ("PATCH", f"/v1/providers/{provider}", {"paused": self.rng.random() < 0.3}),
            ("POST", "/v1/prices", price),
        )
        await self.send(*self.rng.choice(changes))

    async def blow(self, requests: int) -> None:
        """Send requests of all kinds, one after the other."""
        ways = (self.decide, self.report, self.judge, self.change)
        for _ in range(requests):
            (way,) = self.rng.choices(ways, (0.45, 0.25, 0.2, 0.1))
            await way()


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_storm_the_state_is_that_of_the_log(tmp_path: Path, seed: int) -> None:
    settings = settings_for(tmp_path, snapshot_every_s=1e6)

    async def live() -> None:
        clock = SimulatedClock()
        async with serving(settings, clock) as service:
            storm = Storm(service, seed)
            await storm.send("POST", "/v1/providers", {"name": "other"})
            wide = {"name": "wide", "providers": list(PROVIDERS), "features": {"embedding": 200}}
            await storm.send("POST", "/v1/routes", wide)
            await asyncio.gather(*(storm.blow(120) for _ in range(5)))
            await service.settle()
            served = states.arrays_of(service.service.engine.fold)
            assert storm.refused == []
            assert len(storm.decided) > 50
        async with serving(settings, clock) as service:
            restarted = states.arrays_of(service.service.engine.fold)
        store = open_store(settings.database_url)
        try:
            rebuilt = states.arrays_of(states.fold_rows(states.all_rows(store)))
        finally:
            store.close()
        assert states.differences(served, restarted) == []
        assert states.differences(served, rebuilt) == []

    wire.run(live())
