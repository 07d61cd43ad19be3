"""Replicas: several processes on one PostgreSQL log, one of them killed and started again all the time.

Every process answers a part of the load, and each folds what all of them wrote. At the end every one must
have learned the same, each judgement must count once, and what was spent must be what the budget allows.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final

from fairlead.api.store import open_store
from tests.trials import states
from tests.trials.acknowledged import Ledger, Sent
from tests.trials.servers import Server
from tests.trials.settings import BUDGET_USD, PROVIDERS, ROUTE, WIDTH, settings
from tests.trials.traffic import Traffic
from tests.trials.wire import Connection

REPLICAS: Final = 3
_LEAST_DECISIONS: Final = 2_000
"""Fewer say nothing about the budget, which is kept on average over some hundred decisions."""

_COST_USD: Final = dict(zip(PROVIDERS, (0.0002, 0.001, 0.004), strict=True))
_QUALITY: Final = dict(zip(PROVIDERS, (0.5, 0.7, 0.9), strict=True))


@dataclass
class Replicated:
    """Result of the trial. ``spend_ratio`` is what was spent over what the budget allows."""

    seconds: float = 0.0
    kills: int = 0
    decisions: int = 0
    fallbacks: int = 0
    """Decisions of processes that had not rebuilt their state yet: the default provider's, at its price."""
    feedback: int = 0
    unanswered: int = 0
    spend_ratio: float = 0.0
    problems: list[str] = field(default_factory=list)


class Customers:
    """Customers one after the other: a decision, its outcome, its feedback; some feedback is sent twice."""

    def __init__(self, ledger: Ledger, rng: random.Random, name: str) -> None:
        self._traffic = Traffic(ledger, rng, name=name)
        self._rng, self._name = rng, name
        self._count = 0

    async def run(self, server: Server, until: float) -> None:
        """Ask one server until the time is over; connect again whenever it died."""
        while monotonic() < until:
            try:
                connection = await Connection.open(server.port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                while monotonic() < until:
                    await self._customer(connection)
            except (ConnectionError, TimeoutError):
                continue
            finally:
                connection.close()

    async def _customer(self, connection: Connection) -> None:
        self._count += 1
        name, rng = f"c{self._name}-{self._count}", self._rng
        features = [round(rng.uniform(-1.0, 1.0), 3) for _ in range(WIDTH)]
        body: dict[str, Any] = {"route": ROUTE, "features": features, "input_tokens": 400, "id": name}
        sent = Sent("decision", "/v1/decisions", body, f"d:{name}")
        decision = await self._traffic.post(connection, sent)
        if decision is None:
            await asyncio.sleep(0.02)
            return
        selected = decision["selected"]
        cost = _COST_USD[selected] * rng.uniform(0.7, 1.3)
        outcome = {"id": "o", "cost_usd": cost, "latency_s": 1.0}
        path = f"/v1/decisions/{name}/outcome"
        await self._traffic.post(connection, Sent("outcome", path, outcome, f"o::{name}/o"))
        good = float(rng.random() < _QUALITY[selected] + 0.1 * features[0])
        feedback = {"id": f"f{name}", "decision_id": name, "value": good}
        for _ in range(1 + (rng.random() < 0.2)):
            await self._traffic.post(connection, Sent("feedback", "/v1/feedback", feedback, f"f::f{name}"))


def replicas(folder: Path, url: str, *, seconds: float, kill_every_s: float, seed: int) -> Replicated:
    """Load ``REPLICAS`` processes for ``seconds``, and compare what each has learned."""
    started, rng = perf_counter(), random.Random(seed)
    result, ledger = Replicated(), Ledger()
    servers = [Server(folder / f"r{i}", settings(folder / f"r{i}", url)) for i in range(REPLICAS)]
    try:
        for server in servers:
            server.start()
        asyncio.run(_load(servers, ledger, rng, seconds=seconds, kill_every_s=kill_every_s, result=result))
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            if server.alive():
                server.kill()
    _compare(folder, url, ledger=ledger, result=result)
    result.seconds = perf_counter() - started
    return result


async def _load(
    servers: list[Server],
    ledger: Ledger,
    rng: random.Random,
    *,
    seconds: float,
    kill_every_s: float,
    result: Replicated,
) -> None:
    for server in servers:
        await server.until_ready()
    until = monotonic() + seconds
    customers = [
        Customers(ledger, random.Random(rng.random()), f"{i}-{j}")
        for i in range(len(servers))
        for j in (0, 1)
    ]
    load = [
        asyncio.ensure_future(customer.run(servers[i // 2], until)) for i, customer in enumerate(customers)
    ]
    while monotonic() + kill_every_s < until:
        await asyncio.sleep(kill_every_s)
        victim = servers[result.kills % len(servers)]
        victim.kill()
        result.kills += 1
        await asyncio.to_thread(victim.start)
    await asyncio.gather(*load)
    for server in servers:
        await server.until_ready()
    await Traffic(ledger, rng, name="end").settle(servers[0].port)
    await _until_even(servers)


async def _until_even(servers: list[Server], timeout_s: float = 600.0) -> None:
    """Return once every server has folded the log up to the same seq."""
    connections = [await Connection.open(server.port) for server in servers]
    async with asyncio.timeout(timeout_s):
        while True:
            seqs = {(await connection.request("GET", "/readyz")).json()["seq"] for connection in connections}
            if len(seqs) == 1:
                break
            await asyncio.sleep(0.05)
    for connection in connections:
        connection.close()


def _compare(folder: Path, url: str, *, ledger: Ledger, result: Replicated) -> None:
    store = open_store(url, read_only=True)
    try:
        rows = states.all_rows(store)
    finally:
        store.close()
    clean = states.fold_rows(rows)
    expected = states.arrays_of(clean)
    for i in range(REPLICAS):
        saved = states.load_snapshot(folder / f"r{i}" / "state", rows)
        wrong = states.differences(states.arrays_of(saved), expected)
        result.problems += [f"replica {i} has another {name}" for name in wrong]
    served = clean.routes[ROUTE]
    once = states.differences(states.clean_sums(rows, served), states.sums_of(expected))
    result.problems += ledger.compare(rows) + states.effects_differ(rows, clean)
    result.problems += [f"a log without repeats has another {name}" for name in once]
    result.decisions, result.unanswered = served.decisions, len(ledger.open) + ledger.nameless
    result.fallbacks = served.fallbacks
    result.feedback = sum(row.kind == "feedback" for row in rows)
    judged = sum(decision.reward is not None for decision in served.router.open_decisions())
    if judged != result.feedback:
        result.problems.append(f"{result.feedback} judgements in the log count for {judged} decisions")
    costs = [states.cost_usd(decision) for decision in served.router.open_decisions()]
    spent = [cost for cost in costs if cost is not None]
    result.spend_ratio = sum(spent) / len(spent) / BUDGET_USD if spent else 0.0
    if served.decisions >= _LEAST_DECISIONS and abs(result.spend_ratio - 1.0) > 0.02:
        result.problems.append(f"the spend is {result.spend_ratio:.1%} of the budget")
