"""A limit to the time that each of many tasks may take, with one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Deadlines:
    """What takes too long is cancelled. For one event loop.

    The limit is the same for all, so that those which began first are due first, and one timer is enough:
    `asyncio.timeout`, which sets one for each, took a tenth of the time of a short request.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._due: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Raise `TimeoutError` where the block takes longer than the limit."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        self._due[task] = loop.time() + self._limit_s
        if self._timer is None:
            self._timer = loop.call_later(self._limit_s, self._look)
        try:
            yield
        except asyncio.CancelledError:
            # Whoever else cancels the task meanwhile is not to be answered by a timeout.
            if task in self._late and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            self._due.pop(task, None)
            self._late.discard(task)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for task, due in list(self._due.items()):
            if due > loop.time():
                self._timer = loop.call_at(due, self._look)
                return
            del self._due[task]
            self._late.add(task)
            task.cancel()
