"""The engine: decisions are made from memory, every event goes to the log, and the log is folded into memory.

    request ─► router ─► decision ─► writer ─► log
                                                │
    state ◄─── fold ◄─── rows in their order ◄──┘

The fold runs in the event loop's thread, in slices, so that a decision never sees half of an event. Refitting
a route's beliefs and prices takes milliseconds and runs in another thread: meanwhile decisions use the
beliefs so far, and rows wait.
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
from fairlead.api.state.runtime import warm_up
from fairlead.api.store import Appended, Query, Row, Store, StoreUnavailable

SLICE_S: Final = 0.002
"""Longest time that the fold holds the event loop, as far as single events allow."""

MAX_QUEUED: Final = 1_000
"""Rows that wait to be folded before more are read from the log."""

_LOG = logging.getLogger("fairlead.engine")


class Engine:
    """The served state and how it follows the log; its methods belong to the event loop's thread."""

    def __init__(
        self,
        store: Store,
        *,
        state_dir: Path,
        parked_wait_s: float,
        parked_limit: int,
        clock: Callable[[], float],
        in_thread: Callable[..., Any],
        fit_in_thread: Callable[..., Any],
    ) -> None:
        self.clock = clock
        self._store, self._state_dir = store, state_dir
        self._in_thread, self._fit_in_thread = in_thread, fit_in_thread
        self._new_fold = partial(Fold, parked_wait_s=parked_wait_s, parked_limit=parked_limit)
        self.fold = self._new_fold(learn=False)
        self.ready = False
        self.problem: str | None = None
        """Why the state could not be rebuilt."""
        self.faults: Counter[tuple[str, str]] = Counter()
        """Faults for which the default provider answered, by route and kind."""
        self.rebuilt_to = self.rebuild_until = 0
        """Where the running rebuild is in the log, and where it ends."""
        self.rebuilt = 0
        """Number of rows that the last rebuild folded on top of a snapshot."""
        self.rebuild_s = self.fold_s = 0.0
        self.folded = 0
        self._rows: deque[tuple[Row, Logged | None]] = deque()
        self._queued = 0
        self.written = 0
        """Place in the log of the last row that this process wrote."""
        self.writing: dict[str, tuple[str, Logged]] = {}
        """Events that are being written here, with their lines, by uid: they need not be decoded again."""
        self._draining = False
        self._fitting: asyncio.Task[None] | None = None
        self._stale = asyncio.Event()
        self._synced_s = monotonic()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = threading.Event()

    def read_configuration(self) -> None:
        """Fold the configuration, before anything is served."""
        fold_configuration(self._store, self.fold)
        self._queued = self.fold.seq

    def start(self) -> None:
        """Start to rebuild the state and to follow the log; until then the default providers answer."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._rebuild()), loop.create_task(self._follow())]

    async def wait_until_ready(self, *, seconds: float) -> None:
        """Wait until the state is rebuilt, the rebuild has failed, or ``seconds`` have passed."""
        end = monotonic() + seconds
        while not self.ready and self.problem is None and monotonic() < end:
            await asyncio.sleep(0.005)

    async def _rebuild(self) -> None:
        started = perf_counter()
        while True:
            try:
                fold = await self._in_thread(self._rebuild_fold)
                while fold.seq < self.fold.seq:
                    # Routes configured meanwhile are served already, and must not vanish for a moment.
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
        self.problem = None
        # Decisions made meanwhile are in the log already; the follower reads on from here.
        self._rows.clear()
        self.fold, self._queued, self.ready = fold, fold.seq, True
        self.rebuild_s = perf_counter() - started
        self._wake_waiting()
        _LOG.info("ready after %.1f s, at seq %d of the log", self.rebuild_s, fold.seq)
        self.wake()

    def _rebuild_fold(self) -> Fold:
        warm_up()
        last = self._store.last_seq()
        fold = snapshots.latest_fold(self._state_dir, self._store, self._new_fold)
        began = self.rebuilt_to = fold.seq
        self.rebuild_until = last

        def progress(seq: int) -> None:
            self.rebuilt_to = seq
            if self._stop.is_set():
                raise StoreUnavailable("the process is ending")

        fold = snapshots.rebuild(fold, self._store, until=last, progress=progress)
        self.rebuilt = fold.seq - began
        return fold

    def on_commit(self, appended: Appended) -> None:
        """Fold rows that this process has written, or read the log if others wrote in between."""
        new = []
        for row, fresh in zip(appended.rows, appended.fresh, strict=True):
            line, event = self.writing.pop(row.uid, ("", None))
            if fresh:
                # Another event may have been written under the uid.
                new.append((row, event if line is row.line else None))
        if new:
            self.written = new[-1][0].seq
        if appended.previous != self._queued or not self.ready:
            self.wake()
            return
        if new:
            self._queue(new)
        self._synced_s = monotonic()

    def wake(self) -> None:
        """Look for rows of the log that are not folded yet."""
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
                        continue  # the state was exchanged meanwhile: these may not be its next rows
                    if not rows:
                        break
                    # Rows of this process may have been queued while these were read.
                    self._queue([(row, None) for row in rows if row.seq > self._queued])
                    while len(self._rows) >= MAX_QUEUED:
                        await asyncio.sleep(0.001)
                self._synced_s = monotonic()
            except StoreUnavailable as error:
                _LOG.warning("the log cannot be followed: %s", error)
            except Exception:
                # A process that stops following the log serves a stale state for good; try again later.
                _LOG.exception("the log could not be followed")

    def _queue(self, rows: list[tuple[Row, Logged | None]]) -> None:
        if not rows:
            return
        self._rows.extend(rows)
        self._queued = rows[-1][0].seq
        if not self._draining:
            self._draining = True
            # After the answers that the same commit has released.
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        started = perf_counter()
        fold, rows = self.fold, self._rows
        while rows and not fold.stale:
            row, event = rows.popleft()
            if row.seq > fold.seq:
                fold.apply(row, event, refit=False)
                self.folded += 1
            if perf_counter() - started > SLICE_S:
                break
        self.fold_s += perf_counter() - started
        if self._waiting:
            self._wake_waiting()
        if fold.stale:
            self._fitting = asyncio.get_running_loop().create_task(self._refit(fold))
        elif rows:
            asyncio.get_running_loop().call_soon(self._drain)
        else:
            self._draining = False

    async def _refit(self, fold: Fold) -> None:
        """Refit stale routes in a thread; nothing is folded meanwhile, so the result is of this place."""
        for served in tuple(fold.stale.values()):
            with contextlib.suppress(Exception):  # the fold tries again, and marks the route as broken
                while served.router.needs_refit:
                    served.router.apply_refit(await self._fit_in_thread(served.router.next_refit))
        fold.refit()
        self._fitting = None
        self._drain()

    def _wake_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for seq, done in waiting:
            if seq > self.fold.seq:
                self._waiting.append((seq, done))
            elif not done.done():
                done.set_result(None)

    async def wait_until_folded(self, seq: int) -> None:
        """Wait until the row at ``seq`` is folded."""
        if seq > self.fold.seq:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((seq, done))
            await done

    def rebuild_if_behind(self, base: int) -> None:
        """Start again if rows that are not folded yet were removed because a base stands for them."""
        if self.ready and base > self._queued:
            _LOG.warning("cut off from the log for longer than events are kept: rebuilding the state")
            self.ready = False
            self._tasks.append(asyncio.get_running_loop().create_task(self._rebuild()))

    @property
    def lag(self) -> int:
        """Number of rows known to be in the log and not folded yet, with one whose refit is running."""
        return len(self._rows) + (self._fitting is not None)

    def age_s(self) -> float:
        """Seconds since the state last held the whole log, as far as is known."""
        if not self._store.shared and not self.lag:
            return 0.0
        return monotonic() - self._synced_s

    def prices_to_activate(self) -> list[Change]:
        """Return the changes that put price lists in force whose time has come."""
        names = self.fold.config.prices_to_activate(self.clock())
        return [Change("price", name, "activate", None) for name in names]

    def save_snapshot(self) -> Path | None:
        """Write a snapshot of the state, and return its folder; None if there is nothing to save."""
        if not self.ready or self.lag or self.fold.seq == 0:
            return None
        return snapshots.save(
            self.fold, self._state_dir, log=snapshots.log_fingerprint(self._store, self.fold.seq)
        )

    async def close(self) -> None:
        """Stop following the log."""
        self._stop.set()
        tasks = self._tasks + ([self._fitting] if self._fitting is not None else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, done in self._waiting:
            done.cancel()


def fold_configuration(store: Store, fold: Fold | None = None) -> Fold:
    """Fold the changes of the configuration in a log, and nothing else; without a ``fold``, in a new one."""
    fold = fold or Fold(parked_wait_s=1.0, parked_limit=1, learn=False)
    while rows := store.rows(Query(after=fold.seq, kind="config")):
        for row in rows:
            fold.apply(row)
    return fold
