"""Clients: closed loops with a number of connections, and open loops with a rate of requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

import numpy as np

from tests.load.served import Asked, decisions
from tests.trials.wire import Connection, run

LATE_S: Final = 20.0
"""A request that is not answered within this time counts as lost."""


@dataclass
class Loaded:
    """What came back. Latencies count from when a request was due, even if it had to wait to be sent."""

    sent: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    """By status; 0 for no answer at all."""
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    """For 429 and 503, from when the request was sent: the client's own queue is not the service's."""
    without_retry_after: int = 0
    goodput: float = 0.0
    """Answers of 2xx per second, while requests were sent."""
    rate: float = 0.0
    """Requests sent per second."""

    def close(self, seconds: float) -> None:
        """Fix the rates: later answers no longer count towards them."""
        self.seconds, self.rate = seconds, self.sent / seconds
        self.goodput = len(self.accepted_s) / seconds

    def accepted_ms(self, percentile: float) -> float:
        """Percentile of the latency of accepted requests."""
        return 1e3 * float(np.percentile(self.accepted_s, percentile)) if self.accepted_s else float("nan")

    def refused_ms(self, percentile: float) -> float:
        """Percentile of the latency of refused requests."""
        return 1e3 * float(np.percentile(self.refused_s, percentile)) if self.refused_s else float("nan")


async def _send(connection: Connection, asked: Asked, *, due_s: float, result: Loaded) -> None:
    result.sent += 1
    try:
        reply = await connection.request(asked.method, asked.path, asked.body, timeout_s=LATE_S)
    except (ConnectionError, TimeoutError):
        result.statuses[0] += 1
        connection.close()
        return
    result.statuses[reply.status] += 1
    if 200 <= reply.status < 300:
        result.accepted_s.append(perf_counter() - due_s)
    elif reply.status in (429, 503):
        result.refused_s.append(reply.seconds)
        result.without_retry_after += "retry-after" not in reply.headers


async def closed_loop(port: int, asked: Iterator[Asked], *, connections: int, seconds: float) -> Loaded:
    """Run ``connections`` clients, each sending its next request when the last one is answered."""
    result, started = Loaded(), perf_counter()

    async def client() -> None:
        connection = await Connection.open(port)
        while perf_counter() - started < seconds and not connection.closed:
            await _send(connection, next(asked), due_s=perf_counter(), result=result)
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    result.close(perf_counter() - started)
    return result


class _Pool:
    """At most so many connections, opened when they are needed."""

    def __init__(self, port: int, most: int) -> None:
        self._port, self._most = port, most
        self._free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        self._opened = 0

    async def send(self, asked: Asked, *, due_s: float, result: Loaded) -> None:
        """Send a request over a free connection, or wait for one."""
        if self._free.empty() and self._opened < self._most:
            self._opened += 1
            connection = await Connection.open(self._port)
        else:
            connection = await self._free.get()
        if connection.closed:
            connection = await Connection.open(self._port)
        try:
            await _send(connection, asked, due_s=due_s, result=result)
        finally:
            self._free.put_nowait(connection)

    def close(self) -> None:
        """Close the connections that are free."""
        while not self._free.empty():
            self._free.get_nowait().close()


async def open_loop(
    port: int, streams: list[Iterator[Asked]], *, per_s: float, seconds: float, most: int
) -> list[Loaded]:
    """Send requests of each stream at a fixed rate, over ``most`` connections, without waiting for answers.

    At most rate × seconds requests are sent. The time that one waits for a free connection counts as latency.
    """
    results = [Loaded() for _ in streams]
    pool = _Pool(port, most)
    waiting: set[asyncio.Task[None]] = set()
    started = perf_counter()
    total = int(per_s * seconds)
    for i in range(total):
        due_s = started + i / per_s
        wait = due_s - perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        elif i % 4 == 0:
            await asyncio.sleep(0)
        for stream, into in zip(streams, results, strict=True):
            task = asyncio.ensure_future(pool.send(next(stream), due_s=due_s, result=into))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
    for into in results:
        into.close(perf_counter() - started)
    if waiting:
        await asyncio.wait(waiting, timeout=2 * LATE_S)
    pool.close()
    return results


def probe(port: int, seconds: float) -> Loaded:
    """Run a few clients in this process, to time what others do to the service."""
    return run(closed_loop(port, decisions(77), connections=4, seconds=seconds))
