"""The checks in front of every request, as one plain ASGI middleware: it costs a few microseconds.

overload ─► key ─► rate ─► body, bounded in size and time ─► application, bounded in time
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.api.endpoints.requests import RequestInfo
from fairlead.api.http.errors import problem_response
from fairlead.api.problems import Problem
from fairlead.api.service.auth import ANYBODY, Principal
from fairlead.api.service.service import Service

_LOG = logging.getLogger("fairlead.requests")
OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/openapi.json", "/docs"})
"""Paths that need no key and are answered even under overload."""

_UNREAD: Final = ("too-large", "unsupported", "request-timeout")
"""Problems after which the rest of the body is still to come."""


class RequestGuard:
    """Admits requests to the application, and answers the others with a problem before they cost anything."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service, self._settings = app, service, service.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics = self._service.metrics
        metrics.in_flight += 1
        try:
            await self._admit(scope, receive, observed_send)
        except Problem as problem:
            if not status:
                response = problem_response(problem)
                if problem.kind in _UNREAD:
                    # The rest of the body would be taken for the next request, or waited for.
                    response.headers["Connection"] = "close"
                await response(scope, receive, observed_send)
        except Exception as error:
            # Neither message nor traceback: they can hold what the client sent.
            _LOG.error("%s %s failed: %s", scope["method"], _path(scope), _location(error))
            if not status:
                fault = Problem(
                    "fault", "An internal error: the request was not served, but the service still runs."
                )
                await problem_response(fault)(scope, receive, observed_send)
        finally:
            metrics.in_flight -= 1
            metrics.observe(scope, status or 500, perf_counter() - started)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["path"] in OPEN_PATHS:
            RequestInfo(ANYBODY, b"", headers).attach(scope)
            await self._app(scope, receive, send)
            return
        in_force = self._service.engine.in_force
        principal, seq = self._checked_principal(scope, headers), in_force.seq
        limit_s = self._settings.request_timeout_s
        complete = False
        try:
            async with asyncio.timeout(limit_s):
                body = await self._read(receive, headers)
                complete = True
                if in_force.seq != seq:
                    # A slow body must not outlast its key.
                    principal = self._principal(scope, headers)
                RequestInfo(principal, body, headers).attach(scope)
                await self._app(scope, receive, send)
        except TimeoutError:
            if complete:
                raise Problem("timeout", f"The request took over {limit_s:g} s.", retry_after_s=1) from None
            raise Problem("request-timeout", f"The body took over {limit_s:g} s to arrive.") from None

    def _checked_principal(self, scope: Scope, headers: dict[bytes, bytes]) -> Principal:
        """Return the principal; raises a problem under overload, without a valid key, or over its rate."""
        service = self._service
        if service.metrics.in_flight > self._settings.max_in_flight:
            raise Problem("overloaded", "Too many requests are being answered.", retry_after_s=1)
        principal = self._principal(scope, headers)
        service.take_requests(principal)
        if scope["method"] not in ("GET", "HEAD") and service.is_full:
            raise Problem("overloaded", "The queue of the log is full.", retry_after_s=1)
        return principal

    def _principal(self, scope: Scope, headers: dict[bytes, bytes]) -> Principal:
        """Return whose key the request has; raises a problem without a valid one."""
        client = scope.get("client")
        return self._service.authenticator.principal(
            headers, client=client[0] if client else None, http_version=scope["http_version"]
        )

    async def _read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes:
        """Return the whole body, bounded in size."""
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Problem("unsupported", "Send the body uncompressed, without Content-Encoding.")
        length = headers.get(b"content-length")
        if length is not None and length.isdigit():
            self._check_size(10**18 if len(length) > 18 else int(length))
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem("request-timeout", "The connection was closed before the body was complete.")
            chunk = message.get("body", b"")
            size += len(chunk)
            # Counted, since Content-Length is only a claim.
            self._check_size(size)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _check_size(self, size: int) -> None:
        most = self._settings.max_body_bytes
        if size > most:
            raise Problem("too-large", f"A body has at most {most:,} bytes: send an excerpt, or features.")


def _path(scope: Scope) -> str:
    """Build the address as the application declares it, without the client's own text."""
    return str(getattr(scope.get("route"), "path", "an unknown address"))


def _location(error: BaseException) -> str:
    """Type of an error, and the function and line that raised it."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    code: Any = traceback.tb_frame.f_code if traceback is not None else None
    line = traceback.tb_lineno if traceback is not None else 0
    return f"{type(error).__name__} in {code.co_name if code else '?'} at line {line}"
