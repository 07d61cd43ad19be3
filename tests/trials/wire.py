"""A client that costs little: one request at a time over one connection, without a library of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Mapping
from time import perf_counter
from typing import Any, NamedTuple, TypeVar, cast

import httptools

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run as `asyncio.run`, on the quick event loop of the service: clients share its processor."""
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class Reply(NamedTuple):
    """An answer, and the seconds until it was complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """Parse the body as JSON."""
        return json.loads(self.body)


class Connection(asyncio.Protocol):
    """One connection to a service on 127.0.0.1. `request` raises ConnectionError if no answer comes."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._done: asyncio.Future[Reply] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._started = 0.0
        self.closed = False

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 300.0,
    ) -> Reply:
        """Send one request and wait for its answer; ``body`` is JSON, or bytes as they are."""
        if self.closed or self._transport is None:
            raise ConnectionResetError("the connection is closed")
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        if body is not None:
            lines.append("Content-Type: application/json")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body = {}, []
        self._done = asyncio.get_running_loop().create_future()
        self._started = perf_counter()
        self._transport.write("\r\n".join([*lines, "", ""]).encode() + content)
        async with asyncio.timeout(timeout_s):
            return await self._done

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of the new connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse a part of the answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight: the other side hung up, or died."""
        self.closed = True
        self._fail(ConnectionResetError("the connection was closed before the answer"))

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header of the answer."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Finish the request: the answer is complete."""
        if self._done is not None and not self._done.done():
            seconds = perf_counter() - self._started
            status = self._parser.get_status_code()
            self._done.set_result(Reply(status, self._headers, b"".join(self._body), seconds))
