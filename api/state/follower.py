"""The engine: decisions out of memory, everything that happens into the log, and the log into memory.

    ask ─► router ─► decision ─► writer ─► log
                                            │
    state ◄─ fold ◄─ rows in their order ◄──┘

The fold runs in the event loop's thread, in slices, so that a decision never sees half of an event. What
takes milliseconds, computing a route's beliefs and prices anew, runs beside it: decisions go on by those so
far, and rows wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final

from fairlead.api.state import snapshots
from fairlead.api.state.configuration import Change
from fairlead.api.state.fold import Fold, Logged
from fairlead.api.state.warming import warm_up
from fairlead.api.store import Appended, Query, Row, Store, StoreUnavailable

SLICE_S: Final = 0.002
"""Longest that the fold holds the event loop at a time, as far as single events allow."""

_LOG = logging.getLogger("fairlead.engine")


class Engine:
    """The served state and how it follows the log. Its methods are for the event loop's thread."""

    def __init__(
        self,
        store: Store,
        *,
        state_dir: Path,
        parked_wait_s: float,
        parked_limit: int,
        clock: Callable[[], float],
        in_thread: Callable[..., Any],
        beside: Callable[..., Any],
    ) -> None:
        self._store = store
        self._state_dir = state_dir
        self._waits = {"parked_wait_s": parked_wait_s, "parked_limit": parked_limit}
        self.clock = clock
        self._in_thread, self._beside = in_thread, beside
        self.fold = Fold(**self._waits, learn=False)  # type: ignore[arg-type]
        self.ready = False
        self.problem: str | None = None
        """Why the state could not be rebuilt."""
        self.faults: Counter[tuple[str, str]] = Counter()
        """By route and kind: why the default provider had to answer."""
        self.rebuilt_to = 0
        self.rebuild_until = 0
        self.rebuilt = 0
        """How many places of the log the last rebuild folded, on top of a snapshot."""
        self._rows: deque[tuple[Row, Logged | None]] = deque()
        self._queued = 0
        self.written = 0
        """The last place that this process has written to."""
        self.made: dict[str, tuple[str, Logged]] = {}
        """Events that are being written here, with their lines, by uid: they need not be read again."""
        self._draining = False
        self._fitting: asyncio.Task[None] | None = None
        self._stale = asyncio.Event()
        self._synced_s = monotonic()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = threading.Event()
        self.rebuild_s = 0.0
        self.folded = 0
        self.fold_s = 0.0

    def read_configuration(self) -> None:
        """Know what is configured, before anything is served."""
        configuration_of(self._store, self.fold)
        self._queued = self.fold.seq

    def start(self) -> None:
        """Begin to rebuild what was learned, and to follow the log; decisions fall back until then."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._rebuild()), loop.create_task(self._follow())]

    async def until_ready(self, *, seconds: float) -> None:
        """Return once decisions come from the state, or that cannot be, or so many seconds have passed."""
        end = monotonic() + seconds
        while not self.ready and self.problem is None and monotonic() < end:
            await asyncio.sleep(0.005)

    def new_fold(self) -> Fold:
        """A fold that has seen nothing."""
        return Fold(**self._waits)  # type: ignore[arg-type]

    async def _rebuild(self) -> None:
        started = perf_counter()
        while not self._stop.is_set():
            try:
                fold = await self._in_thread(self._rebuilt)
                while fold.seq < self.fold.seq:
                    # What was configured meanwhile is known already, and not to be forgotten for a moment.
                    more = partial(snapshots.rebuild, fold, self._store, until=self.fold.seq)
                    fold = await self._in_thread(more)
                break
            except StoreUnavailable as error:
                self.problem = str(error)
                await asyncio.sleep(1.0)
            except Exception as error:
                self.problem = f"the log could not be folded ({type(error).__name__})"
                _LOG.exception("the log could not be folded")
                return
        else:
            return
        self.problem = None
        # What was decided meanwhile is in the log already; the follower reads on from here.
        self._rows.clear()
        self.fold, self._queued, self.ready = fold, fold.seq, True
        self.rebuild_s = perf_counter() - started
        self._tell()
        _LOG.info("ready after %.1f s, at place %d of the log", self.rebuild_s, fold.seq)
        self.wake()

    def _rebuilt(self) -> Fold:
        warm_up()
        last = self._store.last_seq()
        fold = snapshots.start(self._state_dir, self._store, self.new_fold)
        began = self.rebuilt_to = fold.seq
        self.rebuild_until = last

        def progress(seq: int) -> None:
            self.rebuilt_to = seq
            if self._stop.is_set():
                raise StoreUnavailable("the process is ending")

        fold = snapshots.rebuild(fold, self._store, until=last, progress=progress)
        self.rebuilt = fold.seq - began
        return fold

    def committed(self, appended: Appended) -> None:
        """Rows of this process are in the log: fold them, or read the log where others wrote in between."""
        new = []
        for row, fresh in zip(appended.rows, appended.fresh, strict=True):
            line, made = self.made.pop(row.uid, ("", None))
            if fresh:
                # Another event may have been written under the uid.
                new.append((row, made if line is row.line else None))
        if new:
            self.written = new[-1][0].seq
        if appended.previous != self._queued or not self.ready:
            self.wake()
            return
        if new:
            self._queue(new)
        self._synced_s = monotonic()

    def wake(self) -> None:
        """There may be more in the log than is known."""
        self._stale.set()

    async def _follow(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                while True:
                    ready = self.ready
                    query = Query(after=self._queued, kind=None if ready else "config")
                    rows = await self._in_thread(self._store.rows, query)
                    if ready != self.ready:
                        continue  # the state was exchanged meanwhile: these may not be the next rows of it
                    if not rows:
                        break
                    # Rows of this process may have been queued while these were read.
                    self._queue([(row, None) for row in rows if row.seq > self._queued])
                    await self._until(lambda: len(self._rows) < 1_000)
                self._synced_s = monotonic()
            except StoreUnavailable as error:
                _LOG.warning("the log cannot be followed: %s", error)
            except Exception:
                # Whoever does not follow the log is wrong from then on; the next look may go better.
                _LOG.exception("the log could not be followed")

    async def _until(self, test: Callable[[], bool]) -> None:
        while not test():
            await asyncio.sleep(0.001)

    def _queue(self, rows: list[tuple[Row, Logged | None]]) -> None:
        if not rows:
            return
        self._rows.extend(rows)
        self._queued = rows[-1][0].seq
        if not self._draining:
            self._draining = True
            # After the answers that the same commit has set free.
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        started = perf_counter()
        fold, rows = self.fold, self._rows
        while rows and not fold.due:
            row, made = rows.popleft()
            if row.seq > fold.seq:
                fold.apply(row, made, refit=False)
                self.folded += 1
            if perf_counter() - started > SLICE_S:
                break
        self.fold_s += perf_counter() - started
        if self._waiting:
            self._tell()
        if fold.due:
            self._fitting = asyncio.get_running_loop().create_task(self._refit(fold))
        elif rows:
            asyncio.get_running_loop().call_soon(self._drain)
        else:
            self._draining = False

    async def _refit(self, fold: Fold) -> None:
        """Compute in a thread what is due. Nothing is folded meanwhile, so it is that of this place."""
        for served in tuple(fold.due.values()):
            with contextlib.suppress(Exception):  # the fold tries again, and leaves out the route at fault
                while served.router.needs_refit:
                    served.router.apply_refit(await self._beside(served.router.next_refit))
        fold.refit()
        self._fitting = None
        self._drain()

    def _tell(self) -> None:
        left = []
        for seq, done in self._waiting:
            if seq > self.fold.seq:
                left.append((seq, done))
            elif not done.done():
                done.set_result(None)
        self._waiting = left

    async def until_folded(self, seq: int) -> None:
        """Return once the state holds a place of the log."""
        if seq > self.fold.seq:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((seq, done))
            await done

    def rebuild_where_behind(self, base: int) -> None:
        """Begin again where events that were not folded yet are gone: a base stands for them."""
        if self.ready and base > self._queued:
            _LOG.warning("cut off for longer than events are kept: the state is rebuilt")
            self.ready = False
            self._tasks.append(asyncio.get_running_loop().create_task(self._rebuild()))

    @property
    def lag(self) -> int:
        """Rows that are known to be in the log and not folded yet; one whose beliefs are computed counts."""
        return len(self._rows) + (self._fitting is not None)

    def age_s(self) -> float:
        """Seconds since the state is known to have been all that the log held."""
        if not self._store.shared and not self.lag:
            return 0.0
        return monotonic() - self._synced_s

    def due_prices(self) -> list[Change]:
        """Price lists whose time has come, as the changes that put them in force."""
        due = self.fold.config.due_prices(self.clock())
        return [Change("price", name, "activate", None) for name in due]

    def save_snapshot(self) -> Path | None:
        """Write a snapshot of the state; None where there is nothing to save."""
        if not self.ready or self.lag or self.fold.seq == 0:
            return None
        return snapshots.save(self.fold, self._state_dir, log=snapshots.identity(self._store, self.fold.seq))

    async def close(self) -> None:
        """Stop following the log."""
        self._stop.set()
        tasks = self._tasks + ([self._fitting] if self._fitting is not None else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, done in self._waiting:
            done.cancel()


def configuration_of(store: Store, fold: Fold) -> None:
    """Fold what the log holds of configuration, and nothing else."""
    while rows := store.rows(Query(after=fold.seq, kind="config")):
        for row in rows:
            fold.apply(row)
