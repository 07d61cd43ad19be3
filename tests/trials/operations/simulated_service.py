"""The real service over HTTP, with a clock that a trial turns: weeks of traffic in minutes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from fairlead.api.app import create_app
from fairlead.api.http.server import bind, new_server
from fairlead.api.service.service import Service
from fairlead.api.settings import Settings
from tests.trials.operations.arrivals import MONDAY_S
from tests.trials.wire import Connection, Reply

_PATIENCE_S: Final = 600.0


class SimulatedClock:
    """A clock that stands still until a trial moves it."""

    def __init__(self, now_s: float = MONDAY_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self.now_s


class SimulatedService:
    """A service that listens on 127.0.0.1 in this event loop, and connections to it."""

    def __init__(self, service: Service, clock: SimulatedClock, port: int) -> None:
        self.service, self.clock = service, clock
        self._port = port
        self._free: list[Connection] = []

    async def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, at_s: float | None = None
    ) -> Reply:
        """Send one request, at a time of the simulated clock if that is not past; returns the answer."""
        connection = self._free.pop() if self._free else await Connection.open(self._port)
        while connection.closed:  # by the service, after half a minute without requests
            connection = self._free.pop() if self._free else await Connection.open(self._port)
        self.clock.now_s = max(self.clock.now_s, at_s or 0.0)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        reply = await connection.request(method, path, body, headers=headers)
        self._free.append(connection)
        return reply

    def hang_up(self) -> None:
        """Close all connections."""
        for connection in self._free:
            connection.close()

    async def settle(self) -> None:
        """Return once everything written is folded, as it is long before the next request in real time."""
        engine = self.service.engine
        async with asyncio.timeout(_PATIENCE_S):
            await engine.wait_until_folded(engine.written)
            while engine.lag or self.service.writer.depth:
                await asyncio.sleep(0.0005)

    async def until_ready(self) -> None:
        """Return once decisions come from the learned state."""
        async with asyncio.timeout(_PATIENCE_S):
            while not self.service.engine.ready:
                await asyncio.sleep(0.005)
        await self.settle()


@contextlib.asynccontextmanager
async def serving(settings: Settings, clock: SimulatedClock) -> AsyncIterator[SimulatedService]:
    """Serve until the block ends; then stop as SIGTERM does, with a snapshot."""
    service = Service(settings, clock=clock)
    server = new_server(create_app(settings, service=service), settings, refused=service.metrics.refused)
    listening = bind("127.0.0.1", 0)
    running = asyncio.get_running_loop().create_task(server.serve(sockets=[listening]))
    served = SimulatedService(service, clock, listening.getsockname()[1])
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.005)
        await served.until_ready()
        yield served
    finally:
        served.hang_up()
        server.should_exit = True
        await running
