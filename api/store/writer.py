"""Group commit: all waiting events go into one commit, and their callers are answered once it is durable.

Events that arrive while a commit runs wait for the next one. With more than one request in flight the writer
lingers for a moment first, so that their events share a commit.
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
"""Pause after a failure while events wait that have been acknowledged already (``relaxed``)."""

_LOG = logging.getLogger("fairlead.store")

Written = list[tuple[Row, bool]]
"""For each row of a batch the row in the log, and whether it is new."""


class QueueFull(RuntimeError):
    """Too many events wait to be written."""


@dataclass
class _Batch:
    rows: Sequence[Row]
    result: asyncio.Future[Written] | None
    """None if no request waits for the commit (``relaxed``)."""


class Writer:
    """The only way into the store. Its methods must be called in the event loop's thread.

    ``committed`` is called after each commit with its rows, ``timed`` with its seconds and number of rows.
    """

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
        self._waiting: list[_Batch] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fairlead-writer")
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.depth = 0
        """Number of events that wait to be written."""
        self.failing: str | None = None
        """Why the last commit failed; None if it succeeded."""

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="writer")

    async def append(self, rows: Sequence[Row]) -> Written:
        """Write rows in one commit and return when they are durable.

        Raises `QueueFull` if too many events wait already, `StoreUnavailable` if the log cannot be written.
        """
        result: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._put(_Batch(rows, result))
        return await result

    def post(self, rows: Sequence[Row]) -> None:
        """Write rows soon: within 20 ms if the store keeps up."""
        self._put(_Batch(rows, None))

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run ``work`` in the writing thread, between two commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _put(self, batch: _Batch) -> None:
        if self.depth + len(batch.rows) > self._queue_limit or self._closing:
            raise QueueFull(f"{self.depth} events wait to be written")
        self._waiting.append(batch)
        self.depth += len(batch.rows)
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
                if all(batch.result is None for batch in self._waiting):
                    await asyncio.sleep(RELAXED_S / 2)
                elif self._in_flight() > 1:
                    await asyncio.sleep(LINGER_S)
            await self._commit(self._next_batches())

    def _next_batches(self) -> list[_Batch]:
        count = rows = 0
        for batch in self._waiting:
            if count and rows + len(batch.rows) > LARGEST_COMMIT:
                break
            count, rows = count + 1, rows + len(batch.rows)
        batches, self._waiting = self._waiting[:count], self._waiting[count:]
        return batches

    async def _commit(self, batches: list[_Batch]) -> None:
        rows = [row for batch in batches for row in batch.rows]
        started = perf_counter()
        try:
            appended = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._store.append, rows
            )
        except StoreUnavailable as error:
            self.failing = str(error)
            await self._retry_later(batches, error)
            return
        except Exception as error:
            if len(batches) == 1:
                _LOG.error("an event could not be written (%s)", type(error).__name__)
                self._fail(batches, error)
            else:
                # One batch cannot be written: it must not take the others with it.
                for batch in batches:
                    await self._commit([batch])
            return
        self.failing = None
        self._timed(perf_counter() - started, len(rows))
        self.depth -= len(rows)
        start = 0
        for batch in batches:
            stop = start + len(batch.rows)
            if batch.result is not None and not batch.result.done():
                pairs = zip(appended.rows[start:stop], appended.fresh[start:stop], strict=True)
                batch.result.set_result(list(pairs))
            start = stop
        self._committed(appended)

    async def _retry_later(self, batches: list[_Batch], error: StoreUnavailable) -> None:
        self._fail([batch for batch in batches if batch.result is not None], error)
        kept = [batch for batch in batches if batch.result is None]
        if not kept:
            return
        if self._closing:
            _LOG.error("%d acknowledged events were lost, since the log cannot be written", len(kept))
            self._fail(kept, error)
            return
        self._waiting = kept + self._waiting
        await asyncio.sleep(RETRY_S)

    def _fail(self, batches: list[_Batch], error: Exception) -> None:
        for batch in batches:
            self.depth -= len(batch.rows)
            if batch.result is not None and not batch.result.done():
                batch.result.set_exception(error)

    async def close(self) -> None:
        """Write what waits, and stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)
