"""Keys and pauses under load: how soon a change holds in every process, while wide embeddings are learned.

Three processes on one PostgreSQL log, then one on SQLite, each under decisions and feedback on a route of
wide embeddings. For each seed a key is created, used everywhere, and removed or rotated; then a provider is
paused and let on again. A change must hold for every request that is sent 100 ms after it was answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from tests.trials.databases import new_database, postgres
from tests.trials.operations.result import Figure, Progress, Result, at_most, reported, result_of
from tests.trials.servers import Server, serving
from tests.trials.settings import settings
from tests.trials.wire import Connection
from tests.trials.wire import run as run_clients

WIDTH: Final = 768
PROVIDERS: Final = tuple(f"p{i}" for i in range(10))
REPLICAS: Final = 3
IN_FORCE_S: Final = 0.1
_PER_S: Final = 15.0
"""Decisions per second and process, each with feedback."""
_BODIES: Final = 40
_WAIT_S: Final = 10.0
_BATCH: Final = 100
_PAUSE_S: Final = 0.5
_PLAIN: Final = {"route": "plain", "prompt": "x"}


@dataclass
class Measured:
    """What was measured on one store."""

    revoked_s: list[float] = field(default_factory=list)
    """When the last request was sent that a process still let in, after the change was answered."""
    refused_s: list[float] = field(default_factory=list)
    """When the first refusal came, after the change was answered, by process."""
    paused_s: list[float] = field(default_factory=list)
    """When the last request was sent that still got the paused provider."""
    answered_s: list[float] = field(default_factory=list)
    """How long changes took to be answered."""
    lag: list[float] = field(default_factory=list)
    """Events that the wide route had not learned."""
    decisions: int = 0
    problems: list[str] = field(default_factory=list)


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Play both stores."""
    figures, problems = [], []
    with tempfile.TemporaryDirectory(prefix="fairlead-trial-") as name, postgres(Path(name) / "pg") as url:
        for store, count in (("PostgreSQL", REPLICAS), ("SQLite", 1)):
            folder = Path(name) / store
            database = new_database(url) if count > 1 else None
            measured = play(folder, database, seeds, count=count, progress=progress)
            figures += figures_of(measured, f"{store}, {count} process{'es' if count > 1 else ''}")
            problems += [f"{store}: {problem}" for problem in measured.problems]
    return result_of(figures, problems=problems)


def figures_of(measured: Measured, where: str) -> list[Figure]:
    """Return the figures of one store."""
    late_ms, first_ms = 1e3 * max(measured.revoked_s), 1e3 * np.array(measured.refused_s)
    return [
        at_most(f"{where}: last request let in after a key was revoked", late_ms, 100.0, unit="ms"),
        reported(f"{where}: first refusal, median", float(np.median(first_ms)), unit="ms"),
        reported(f"{where}: first refusal, latest", float(first_ms.max()), unit="ms"),
        at_most(
            f"{where}: last decision for a provider after it was paused",
            1e3 * max(measured.paused_s),
            100.0,
            unit="ms",
        ),
        reported(f"{where}: answer of a change, latest", 1e3 * max(measured.answered_s), unit="ms"),
        reported(f"{where}: decisions meanwhile", measured.decisions),
        reported(f"{where}: most events not learned", max(measured.lag, default=0.0)),
    ]


def play(
    folder: Path,
    url: str | None,
    seeds: Sequence[int],
    *,
    count: int,
    progress: Progress,
    warm_s: float = 8.0,
    width: int = WIDTH,
) -> Measured:
    """Run some processes under load for ``warm_s``, then revoke a key and pause a provider for each seed."""
    declared = {
        "providers": [{"name": name} for name in PROVIDERS],
        "prices": [],
        "routes": [
            {"name": name, "providers": list(PROVIDERS), "features": features}
            for name, features in (("wide", {"embedding": width}), ("plain", {}))
        ],
    }
    with contextlib.ExitStack() as stack:
        servers = []
        for i in range(count):
            own = folder / f"process{i}"
            shared = {} if url is None else {"database_url": url}
            servers.append(stack.enter_context(serving(own, {**settings(own), **declared, **shared})))
        measured = Measured()
        run_clients(_Trial(servers, measured, width).play(seeds, progress, warm_s=warm_s))
        return measured


def bearer(token: str) -> dict[str, str]:
    """Return the header that a key is sent in."""
    return {"Authorization": f"Bearer {token}"}


@contextlib.asynccontextmanager
async def _connected(*servers: Server) -> AsyncIterator[list[Connection]]:
    connections = [await Connection.open(server.port) for server in servers]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


class _Trial:
    """Some processes, the key of their administrator, and what is measured."""

    def __init__(self, servers: Sequence[Server], measured: Measured, width: int) -> None:
        self.servers, self.measured, self.width = servers, measured, width
        self.admin: dict[str, str] = {}
        self.ended = asyncio.Event()

    async def play(self, seeds: Sequence[int], progress: Progress, *, warm_s: float) -> None:
        """Revoke a key and pause a provider for each seed, under load."""
        for server in self.servers:
            await server.until_ready()
        async with _connected(self.servers[0]) as (first,):
            created = await first.request("POST", "/v1/keys", {"name": "admin", "scopes": ["admin"]})
        self.admin = bearer(created.json()["key"])
        await self.until_known(self.admin)
        load = [asyncio.ensure_future(self.load(server)) for server in self.servers]
        try:
            await asyncio.sleep(warm_s)
            for seed in seeds:
                progress(f"keys and pauses, {len(self.servers)} processes, seed {seed}")
                rng = random.Random(seed)
                async with _connected(rng.choice(self.servers)) as (changing,):
                    await self.revoke(changing, rng)
                    await self.pause(changing, rng)
                    self.measured.lag.append(await self.lag(changing))
        finally:
            self.ended.set()
            for outcome in await asyncio.gather(*load, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    self.measured.problems.append(f"the load ended: {outcome!r}")

    async def until_known(self, key: dict[str, str]) -> None:
        """Return once every process accepts a key."""
        async with _connected(*self.servers) as connections, asyncio.timeout(_WAIT_S):
            for connection in connections:
                while (await connection.request("GET", "/v1/providers", headers=key)).status != 200:
                    await asyncio.sleep(0.002)

    async def load(self, server: Server) -> None:
        """Send decisions with embeddings at a steady rate, each with feedback."""
        rng = np.random.default_rng(server.port)
        vectors = rng.normal(size=(_BODIES, self.width)).round(4).tolist()
        async with _connected(server) as (connection,):
            due = perf_counter()
            while not self.ended.is_set():
                due = max(due + 1.0 / _PER_S, perf_counter() - 1.0)
                await asyncio.sleep(max(due - perf_counter(), 0.0))
                body = {"route": "wide", "embedding": vectors[int(rng.integers(_BODIES))]}
                reply = await connection.request("POST", "/v1/decisions", body, headers=self.admin)
                if reply.status != 200:
                    self.measured.problems.append(f"a decision was answered {reply.status}")
                    continue
                self.measured.decisions += 1
                judged = {"decision_id": reply.json()["id"], "value": float(rng.random())}
                await connection.request("POST", "/v1/feedback", judged, headers=self.admin)

    async def change(self, connection: Connection, method: str, path: str, body: Any = None) -> float:
        """Change the configuration; returns when it was answered."""
        reply = await connection.request(method, path, body, headers=self.admin)
        self.measured.answered_s.append(reply.seconds)
        if reply.status != 200:
            self.measured.problems.append(f"{method} {path} was answered {reply.status}")
        return perf_counter()

    async def revoke(self, changing: Connection, rng: random.Random) -> None:
        """Create a key, use it everywhere, remove or rotate it, and measure until when it is accepted."""
        body = {"name": "short", "scopes": ["decide", "feedback", "read"]}
        created = (await changing.request("POST", "/v1/keys", body, headers=self.admin)).json()
        key, address = bearer(created["key"]), f"/v1/keys/{created['id']}"
        await self.until_known(key)
        probes = [asyncio.ensure_future(self.probe(server, key)) for server in self.servers]
        batch = asyncio.ensure_future(self.batch(key))
        await asyncio.sleep(rng.uniform(0.05, 0.3))
        if rng.random() < 0.5:
            changed = await self.change(changing, "DELETE", address)
        else:
            changed = await self.change(changing, "POST", f"{address}/rotate", {"overlap_s": 0})
        for last, refused in await asyncio.gather(*probes):
            self.measured.revoked_s.append(max(last - changed, 0.0))
            self.measured.refused_s.append(max(refused - changed, 0.0))
        await batch

    async def probe(self, server: Server, key: dict[str, str]) -> tuple[float, float]:
        """Use a key until it is refused; when the last request let in was sent, and when the refusal came."""
        last = 0.0
        async with _connected(server) as (connection,), asyncio.timeout(2 * _WAIT_S):
            while True:
                sent = perf_counter()
                reply = await connection.request("POST", "/v1/decisions", _PLAIN, headers=key)
                if reply.status == 401:
                    return last, perf_counter()
                last = sent
                await asyncio.sleep(0.002)

    async def batch(self, key: dict[str, str]) -> None:
        """Send batches until one is refused: each is let in as a whole, or refused as a whole."""
        async with _connected(self.servers[0]) as (connection,), asyncio.timeout(2 * _WAIT_S):
            while True:
                body = {"decisions": [_PLAIN] * _BATCH}
                reply = await connection.request("POST", "/v1/decisions/batch", body, headers=key)
                if reply.status == 401:
                    return
                whole = reply.status == 200
                if not whole or any(item["status"] != 200 for item in reply.json()["decisions"]):
                    self.measured.problems.append(f"a batch was answered {reply.status}, and not as one")
                    return

    async def pause(self, changing: Connection, rng: random.Random) -> None:
        """Pause the provider that is chosen, and measure until when it is chosen."""
        embedding = [round(rng.gauss(0, 1), 4) for _ in range(self.width)]
        body = {"route": "wide", "embedding": embedding, "dry_run": True}
        name = (await changing.request("POST", "/v1/decisions", body, headers=self.admin)).json()["selected"]
        changed, last = await self.change(changing, "PATCH", f"/v1/providers/{name}", {"paused": True}), 0.0
        async with _connected(*self.servers) as asking:
            while perf_counter() < changed + _PAUSE_S:
                for connection in asking:
                    sent = perf_counter()
                    reply = await connection.request("POST", "/v1/decisions", body, headers=self.admin)
                    if reply.status != 200:
                        self.measured.problems.append(f"a decision in a pause was answered {reply.status}")
                    elif reply.json()["selected"] == name:
                        last = max(last, sent - changed)
        self.measured.paused_s.append(last)
        await self.change(changing, "PATCH", f"/v1/providers/{name}", {"paused": False})

    async def lag(self, connection: Connection) -> float:
        """Return how many events the wide route of a process has not learned yet."""
        text = (await connection.request("GET", "/metrics", headers=self.admin)).body.decode()
        start = 'fairlead_fold_lag{route="wide"} '
        (value,) = (line.removeprefix(start) for line in text.splitlines() if line.startswith(start))
        return float(value)
