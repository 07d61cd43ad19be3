"""Connections: what sends nothing, or half of its headers, is closed; what is too much is refused at once.

A refusal that went the way of a request cost a third of a decision, so that a flood of them took the time of
those that were accepted. Here it costs a twentieth: a request that is one too many becomes no task at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead.api.http.middleware import WHOLE
from fairlead.api.problems import Problem

_END: Final = b"\r\n\r\n"
_OK: Final = b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\ncontent-type: application/json\r\n\r\n%s"
_LONGEST_UNREAD: Final = 65_536
"""Bytes of a refused body that are read and thrown away; after a longer one the connection is closed."""

_LONGEST_HEADERS: Final = 65_536
"""Bytes of headers, or of those after a body in chunks: the parser keeps them, and ever more slowly."""


def protocol(header_timeout_s: float, *, most: int, refused: Callable[[], None]) -> type[HttpToolsProtocol]:
    """uvicorn's protocol with limits: of the time that headers take, and of the requests at once.

    Beyond ``most`` requests, those to the API are refused; ``refused`` is called for each.
    """
    answer = _raw(Problem("overloaded", "As many requests as may be are being answered.", retry_after_s=1))

    counted_at, room = -1.0, 0

    class Bounded(HttpToolsProtocol):
        _waiting: asyncio.TimerHandle | None = None
        _due = True
        """Whether headers, or the rest of a body that is thrown away, are still to come."""
        _refusing = False
        _unread = 0
        """Bytes that came since the parser last got on."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._bound()

        def data_received(self, data: bytes) -> None:
            self._unread += len(data)
            super().data_received(data)
            if self._unread > _LONGEST_HEADERS:
                self.transport.close()
            # Mostly they come as one: then there is nothing to wait for, and no clock is started.
            self._bound()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._refusing, self._due = False, True

        def on_headers_complete(self) -> None:
            self._due, self._unread = False, 0
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self._is_full() and self.url.startswith(b"/v1/"):
                self._refuse()
            else:
                super().on_headers_complete()
                cast(dict[str, Any], self.scope)[WHOLE] = partial(_write_whole, self.cycle)

        def on_body(self, body: bytes) -> None:
            self._unread = 0
            if not self._refusing:
                super().on_body(body)

        def on_message_complete(self) -> None:
            self._unread = 0
            if not self._refusing:
                super().on_message_complete()
            elif not self.transport.is_closing():
                self._due = False
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

        def connection_lost(self, exc: Exception | None) -> None:
            self._due = False
            self._bound()
            super().connection_lost(exc)

        def _is_full(self) -> bool:
            nonlocal counted_at, room
            if len(self.tasks) < most:
                return False
            # Tasks that are done are forgotten a moment later. Counting them took a sixth of a refusal, so
            # they are counted once in a turn of the loop; its clock stands still meanwhile.
            now = self.loop.time()
            if now != counted_at:
                counted_at, room = now, most - sum(not task.done() for task in self.tasks)
            room -= 1
            return room < 0

        def _refuse(self) -> None:
            self._refusing = self._due = True
            refused()
            headers = dict(self.headers)
            length = headers.get(b"content-length", b"0")
            short = b"transfer-encoding" not in headers and length.isdigit() and len(length) < 6
            goes_on = short and int(length) <= _LONGEST_UNREAD and self.parser.should_keep_alive()
            whole = answer[goes_on]
            if self.parser.get_method() == b"HEAD":
                # A body would be taken for the answer to the next request.
                whole = whole[: whole.index(_END) + len(_END)]
            self.transport.write(whole)
            if not goes_on:
                self.transport.close()

        def _bound(self) -> None:
            if self._due and self._waiting is None:
                self._waiting = self.loop.call_later(header_timeout_s, self._late)
            elif not self._due and self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _late(self) -> None:
            self._waiting = None
            self.transport.close()

    return Bounded


def _write_whole(cycle: Any, body: bytes) -> bool:
    """Answer 200 with a body of JSON in one write; False where it has to go the usual way.

    Of the time that the usual way takes for a short answer, most goes into what is known here: that the
    headers are in order, and that nothing more comes.
    """
    if cycle.disconnected or cycle.response_started or cycle.flow.write_paused or not cycle.keep_alive:
        return False
    usual = b"".join(b"%s: %s\r\n" % header for header in cycle.default_headers)
    cycle.transport.write(_OK % (usual, len(body), body))
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    cycle.on_response()
    return True


def _raw(problem: Problem) -> dict[bool, bytes]:
    """The answer as it goes over the wire, by whether the connection goes on."""
    response = problem.response()
    found = {}
    for goes_on in (True, False):
        lines = [b"HTTP/1.1 %d Service Unavailable" % response.status_code]
        lines += [name + b": " + value for name, value in response.raw_headers]
        if not goes_on:
            lines.append(b"connection: close")
        found[goes_on] = b"\r\n".join([*lines, b"", bytes(response.body)])
    return found
