"""uvicorn's protocol with two bounds of its own: on the time of headers, and on requests at once.

A refusal that took the way of a request cost a third of a decision, so that a flood of refusals took the time
of the accepted requests. Here it costs a twentieth, since a request too many never becomes a task. Measured
at ten times the peak: .52 of the possible goodput, against .21 to .26 with a refusal in the middleware.

Attributes of `HttpToolsProtocol` are private to uvicorn: `constraints.txt` pins its version, and
tests/api/http/test_protocol.py fails if one of them changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead.api.http.errors import problem_response
from fairlead.api.problems import Problem

_END: Final = b"\r\n\r\n"
_LONGEST_UNREAD: Final = 65_536
"""Bytes of a refused body that are read and discarded; after a longer one the connection is closed."""

_LONGEST_HEADERS: Final = 65_536
"""Bytes of headers, or of those after a chunked body: the parser keeps them, and gets slower and slower."""


class Admission:
    """Bounds that all connections of a server share: the requests at once, and the time of headers.

    ``refused`` is called for each request that is refused.
    """

    def __init__(self, *, max_requests: int, header_timeout_s: float, refused: Callable[[], None]) -> None:
        self.header_timeout_s = header_timeout_s
        self._most, self._refused = max_requests, refused
        self._counted_at, self._room = -1.0, 0
        problem = Problem("overloaded", "Too many requests are being answered.", retry_after_s=1)
        self._answers = {goes_on: _encode(problem, goes_on=goes_on) for goes_on in (True, False)}

    def is_full(self, tasks: set[asyncio.Task[None]], now_s: float) -> bool:
        """Whether a request must be refused; ``now_s`` is the event loop's time."""
        if len(tasks) < self._most:
            return False
        # Finished tasks are forgotten a moment later. Counting the others took a sixth of a refusal, so they
        # are counted once in a turn of the loop, during which its time stands still.
        if now_s != self._counted_at:
            self._counted_at = now_s
            self._room = self._most - sum(not task.done() for task in tasks)
        self._room -= 1
        return self._room < 0

    def refusal(self, *, goes_on: bool) -> bytes:
        """Count a refusal; its bytes, which end the connection unless it ``goes_on``."""
        self._refused()
        return self._answers[goes_on]


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with bounds on its headers and on the requests of all connections."""

    def __init__(self, *arguments: Any, admission: Admission, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._admission = admission
        self._timer: asyncio.TimerHandle | None = None
        self._incomplete = True
        """Whether headers, or the rest of a body that is discarded, are still to come."""
        self._refusing = False
        self._in_trailers = False
        self._unread = 0
        """Bytes that arrived since the parser last made progress."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock for the first headers."""
        super().connection_made(transport)
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, within the bound on headers."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > _LONGEST_HEADERS:
            self.transport.close()
        # Headers mostly arrive as one: then there is nothing to wait for, and no timer is set.
        self._update_timer()

    def on_message_begin(self) -> None:
        """Expect headers."""
        super().on_message_begin()
        self._refusing, self._incomplete, self._in_trailers = False, True, False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes after a body in chunks is none, and could pass a proxy unseen."""
        if not self._in_trailers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse the request if there are too many, or begin to serve it."""
        self._incomplete, self._in_trailers, self._unread = False, True, 0
        idle = self.cycle is None or self.cycle.response_complete
        is_full = idle and self._admission.is_full(self.tasks, self.loop.time())
        if is_full and self.url.startswith(b"/v1/"):
            self._refuse()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on the body of a request that is served."""
        self._unread = 0
        if not self._refusing:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request; after a refusal the connection waits for the next one."""
        self._unread = 0
        if not self._refusing:
            super().on_message_complete()
        elif not self.transport.is_closing():
            self._incomplete = False
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._incomplete = False
        self._update_timer()
        super().connection_lost(exc)

    def _refuse(self) -> None:
        self._refusing = self._incomplete = True
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"0")
        short = b"transfer-encoding" not in headers and length.isdigit() and len(length) < 6
        goes_on = short and int(length) <= _LONGEST_UNREAD and self.parser.should_keep_alive()
        answer = self._admission.refusal(goes_on=goes_on)
        if self.parser.get_method() == b"HEAD":
            # A body would be taken for the answer to the next request.
            answer = answer[: answer.index(_END) + len(_END)]
        self.transport.write(answer)
        if not goes_on:
            self.transport.close()

    def _update_timer(self) -> None:
        if self._incomplete and self._timer is None:
            self._timer = self.loop.call_later(self._admission.header_timeout_s, self._on_timeout)
        elif not self._incomplete and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        self.transport.close()


def _encode(problem: Problem, *, goes_on: bool) -> bytes:
    """Return an answer as it goes over the wire."""
    response = problem_response(problem)
    lines = [b"HTTP/1.1 %d Service Unavailable" % response.status_code]
    lines += [name + b": " + value for name, value in response.raw_headers]
    if not goes_on:
        lines.append(b"connection: close")
    return b"\r\n".join([*lines, b"", bytes(response.body)])
