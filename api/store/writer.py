"""Commits in groups: what waits goes into one commit, and whoever waits is answered once it is done.

While one commit runs, what arrives waits for the next. With more than one request in flight the writer
lingers a moment first, so that their events share a commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from fairlead.api.store.base import Appended, Row, Store, StoreUnavailable

LINGER_S: Final = 0.001
RELAXED_S: Final = 0.02
LARGEST_COMMIT: Final = 1_000
RETRY_S: Final = 0.5
"""Pause after a failure while events wait that were acknowledged already (``relaxed``)."""

_LOG = logging.getLogger("fairlead.store")

Written = list[tuple[Row, bool]]
"""The row in the log for each that was given, and whether it is new."""


class QueueFull(RuntimeError):
    """More waits to be written than may wait."""


@dataclass
class _Waiting:
    rows: Sequence[Row]
    done: asyncio.Future[Written] | None


class Writer:
    """The one way into the store; all its methods are for the event loop's thread."""

    def __init__(
        self,
        store: Store,
        *,
        queue_limit: int,
        in_flight: Callable[[], int],
        committed: Callable[[Appended], None],
        timed: Callable[[float, int], None] = lambda seconds, rows: None,
    ) -> None:
        self._store = store
        self._queue_limit = queue_limit
        self._in_flight = in_flight
        self._committed = committed
        self._timed = timed
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fairlead-writer")
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.depth = 0
        """Events that wait to be written."""
        self.failing: str | None = None
        """Why the last commit failed; None where it did not."""

    def start(self) -> None:
        """Begin to write what comes."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="writer")

    async def append(self, rows: Sequence[Row]) -> Written:
        """Write rows in one commit and return when they are durable.

        `QueueFull` where too much waits already, `StoreUnavailable` where the log cannot be written.
        """
        done: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._put(_Waiting(rows, done))
        return await done

    def post(self, rows: Sequence[Row]) -> None:
        """Write rows soon, within 20 ms where the store keeps up."""
        self._put(_Waiting(rows, None))

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run something in the thread that writes, between two commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _put(self, one: _Waiting) -> None:
        if self.depth + len(one.rows) > self._queue_limit or self._closing:
            raise QueueFull(f"{self.depth} events wait to be written")
        self._waiting.append(one)
        self.depth += len(one.rows)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                continue
            if not self._closing:
                if all(one.done is None for one in self._waiting):
                    await asyncio.sleep(RELAXED_S / 2)
                elif self._in_flight() > 1:
                    await asyncio.sleep(LINGER_S)
            await self._commit(self._take())

    def _take(self) -> list[_Waiting]:
        count = rows = 0
        for one in self._waiting:
            if count and rows + len(one.rows) > LARGEST_COMMIT:
                break
            count, rows = count + 1, rows + len(one.rows)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _commit(self, taken: list[_Waiting]) -> None:
        rows = [row for one in taken for row in one.rows]
        started = perf_counter()
        try:
            appended = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._store.append, rows
            )
        except StoreUnavailable as error:
            self.failing = str(error)
            await self._failed(taken, error)
            return
        except Exception as error:
            if len(taken) == 1:
                _LOG.error("an event could not be written (%s)", type(error).__name__)
                self._finish(taken, error)
            else:
                # One of them cannot be written: it must not take the others with it.
                for one in taken:
                    await self._commit([one])
            return
        self.failing = None
        self._timed(perf_counter() - started, len(rows))
        self.depth -= len(rows)
        start = 0
        for one in taken:
            stop = start + len(one.rows)
            if one.done is not None and not one.done.done():
                pairs = zip(appended.rows[start:stop], appended.fresh[start:stop], strict=True)
                one.done.set_result(list(pairs))
            start = stop
        self._committed(appended)

    async def _failed(self, taken: list[_Waiting], error: StoreUnavailable) -> None:
        self._finish([one for one in taken if one.done is not None], error)
        kept = [one for one in taken if one.done is None]
        if not kept:
            return
        if self._closing:
            _LOG.error("%d acknowledged events were lost, since the log cannot be written", len(kept))
            self._finish(kept, error)
            return
        self._waiting = kept + self._waiting
        await asyncio.sleep(RETRY_S)

    def _finish(self, ended: list[_Waiting], error: Exception) -> None:
        for one in ended:
            self.depth -= len(one.rows)
            if one.done is not None and not one.done.done():
                one.done.set_exception(error)

    async def close(self) -> None:
        """Write what waits, and end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)
