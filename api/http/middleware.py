"""What stands before every request, as one plain ASGI middleware: it costs a few microseconds.

overload ─► key ─► rate ─► body, bounded in size and time ─► application, bounded in time
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.api.http.deadlines import Deadlines
from fairlead.api.problems import Problem
from fairlead.api.service.auth import ANYBODY, Allowance, Authority, Caller
from fairlead.api.settings import Settings

_LOG = logging.getLogger("fairlead.requests")
OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/openapi.json", "/docs"})
"""Paths that need no key and are answered however busy it is."""

STATE: Final = "fairlead"
WHOLE: Final = "fairlead.whole"
"""In the scope of a request: writes a whole answer of JSON at once, where it can."""

_UNREAD: Final = ("too-large", "unsupported", "request-timeout")
Observe = Callable[[Scope, int, float], None]


@dataclass(slots=True)
class Load:
    """How much is being done at this moment."""

    requests: int = 0


@dataclass(slots=True)
class Arrived:
    """What is known of a request once it is let in."""

    caller: Caller
    body: bytes
    headers: Mapping[bytes, bytes]
    """By their names in lower case; of those that came twice the last."""


class Guard:
    """Lets in what may come in, and answers the rest with a problem before it costs anything."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        authority: Authority,
        load: Load,
        allowance: Allowance,
        shortcut: Callable[[Scope], Awaitable[Response] | None],
        is_full: Callable[[], bool],
        observe: Observe,
    ) -> None:
        self._app = app
        self._settings = settings
        self._authority = authority
        self._is_full = is_full
        self._observe = observe
        self._allowance = allowance
        self._load = load
        self._shortcut = shortcut
        self._deadlines = Deadlines(settings.request_timeout_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = 500
        begun = False

        async def sending(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
            await send(message)

        self._load.requests += 1
        try:
            status = await self._let_in(scope, receive, sending) or status
        except Problem as problem:
            if not begun:
                response = problem.response()
                if problem.kind in _UNREAD:
                    # The rest of the body would be taken for the next request, or waited for.
                    response.headers["Connection"] = "close"
                await response(scope, receive, sending)
        except Exception as error:
            # Neither the message nor the trace: they can hold what the client sent.
            _LOG.error("%s %s failed: %s", scope["method"], _path(scope), _place(error))
            if not begun:
                await Problem("fault", "The request could not be served; the process goes on.").response()(
                    scope, receive, sending
                )
        finally:
            self._load.requests -= 1
            self._observe(scope, status, perf_counter() - started)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> int | None:
        """The status, where it was not sent by ``send``."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["path"] in OPEN_PATHS:
            scope[STATE] = Arrived(ANYBODY, b"", headers)
            await self._app(scope, receive, send)
            return None
        if self._load.requests > self._settings.max_in_flight:
            raise Problem("overloaded", "As many requests as may be are being answered.", retry_after_s=1)
        client = scope.get("client")
        caller = self._authority.caller(
            headers.get(b"authorization"), host=headers.get(b"host"), client=client[0] if client else None
        )
        per_s = caller.requests_per_s or self._settings.requests_per_s
        wait_s = self._allowance.take(caller.key, per_s=per_s)
        if wait_s > 0:
            raise Problem(
                "too-many-requests", f"The limit is {per_s:g} requests/s.", retry_after_s=ceil(wait_s)
            )
        if scope["method"] not in ("GET", "HEAD") and self._is_full():
            raise Problem("overloaded", "Too much waits to be written.", retry_after_s=1)
        return await self._bounded(scope, receive, send, headers, caller)

    async def _bounded(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes], caller: Caller
    ) -> int | None:
        limit_s = self._settings.request_timeout_s
        arrived = False
        try:
            with self._deadlines.limited():
                body = await self._read(receive, headers)
                arrived = True
                scope[STATE] = Arrived(caller, body, headers)
                answered = self._shortcut(scope)
                if answered is None:
                    await self._app(scope, _replayed(body, receive), send)
                    return None
                response = await answered
                whole = scope.get(WHOLE)
                is_plain = response.status_code == 200 and len(response.raw_headers) == 2
                if whole is not None and is_plain and whole(response.body):
                    return 200
                await response(scope, receive, send)
                return None
        except TimeoutError:
            if arrived:
                raise Problem("timeout", f"It took more than {limit_s:g} s.", retry_after_s=1) from None
            raise Problem("request-timeout", f"The body took more than {limit_s:g} s.") from None

    async def _read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes:
        most = self._settings.max_body_bytes
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Problem("unsupported", "Send the body as it is, without Content-Encoding.")
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and (len(length) > 18 or int(length) > most):
            raise Problem("too-large", f"A body may have {most:,} bytes: send an excerpt, or features.")
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem("request-timeout", "The connection was closed before the body was whole.")
            chunk = message.get("body", b"")
            size += len(chunk)
            # Counted, since Content-Length is what the client says.
            if size > most:
                raise Problem("too-large", f"A body may have {most:,} bytes: send an excerpt, or features.")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _replayed(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _path(scope: Scope) -> str:
    """The address as the application declares it, without what the client put into it."""
    return str(getattr(scope.get("route"), "path", "an unknown address"))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where: Any = trace.tb_frame.f_code if trace is not None else None
    line = trace.tb_lineno if trace is not None else 0
    return f"{type(error).__name__} in {where.co_name if where else '?'} at line {line}"
