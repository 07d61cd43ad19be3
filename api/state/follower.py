"""The engine: decisions are made from memory, every event goes to the log, and the log is folded into memory.

    request ─► router ─► decision ─► writer ─► log
                                                │
    state ◄─── fold ◄─── rows in their order ◄──┤
    configuration in force ◄─── its changes ◄───┘

The fold runs in the event loop's thread, in slices, so that a decision never sees half of an event. It puts
what a row means for a route into the queue of that route, and the routes learn from their queues in turns.
Refitting a route's beliefs and prices takes milliseconds and runs in another thread: meanwhile its decisions
use the beliefs so far, its queue waits, and no other route does.
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

from fairlead.api.settings import Settings
from fairlead.api.state import snapshots
from fairlead.api.state.configuration import Change
from fairlead.api.state.configuration_view import ConfigurationView
from fairlead.api.state.fold import Fold, Logged
from fairlead.api.state.runtime import warm_up
from fairlead.api.state.served_route import ServedRoute
from fairlead.api.store import Appended, Query, Row, Store, StoreUnavailable
from fairlead.optimizer.features.terms import TermCounter

SLICE_S: Final = 0.002
"""Longest time that the fold holds the event loop, as far as single events allow."""

MAX_QUEUED: Final = 1_000
"""Rows that wait to be folded before more are read from the log."""

MAX_WAITING: Final = 20_000
"""Events that wait in the queues of routes before more rows are folded."""

_LOG = logging.getLogger("fairlead.engine")


class Engine:
    """The served state and how it follows the log; its methods belong to the event loop's thread."""

    term_counter: TermCounter | None = None
    """Hashes the terms of texts; None if no features of texts are learned."""

    def __init__(
        self,
        store: Store,
        *,
        settings: Settings,
        clock: Callable[[], float],
        in_thread: Callable[..., Any],
        fit_in_thread: Callable[..., Any],
    ) -> None:
        self._store, self._state_dir = store, settings.state_dir
        self.clock, self._in_thread, self._fit_in_thread = clock, in_thread, fit_in_thread
        self._new_fold = partial(snapshots.new_fold, settings)
        self.in_force = ConfigurationView()
        """The configuration as far as this process has seen the log, which may be ahead of the fold."""
        self.fold = self._new_fold(learn=False)
        self.ready = False
        self.problem: str | None = None
        """Why the state could not be rebuilt."""
        self.faults: Counter[tuple[str, str]] = Counter()
        """Faults for which the default provider answered, by route and kind."""
        self.rebuilt_to = self.rebuild_until = self.rebuilt = 0
        """Where the running rebuild is in the log, where it ends, and how many rows the last one folded."""
        self.rebuild_s, self.fold_s, self.folded = 0.0, 0.0, 0
        self._rows: deque[tuple[Row, Logged | None]] = deque()
        self._queued = 0
        self._configured = 0
        """Place in the log up to which every change of the configuration is in force."""
        self.written = 0
        """Place in the log of the last row that this process wrote."""
        self.writing: dict[str, tuple[str, Logged]] = {}
        """Events that are being written here, with their lines, by uid: they need not be decoded again."""
        self._draining = False
        self._fits: dict[ServedRoute, asyncio.Task[None]] = {}
        """Routes whose refit is running."""
        self._stale, self._reconfigured = asyncio.Event(), asyncio.Event()
        self._synced_s = monotonic()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._waiting_in_force: list[tuple[int, asyncio.Future[None]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = threading.Event()

    def read_configuration(self) -> None:
        """Read the configuration, before anything is served; `InvalidInput` if a route lacks a file."""
        last = self._store.last_seq()
        while rows := self._store.rows(Query(after=self.in_force.seq, kind="config")):
            self.in_force.follow(rows)
            for row in rows:
                self.fold.apply(row)
        self.in_force.require_files()
        self._queued, self._configured = self.fold.seq, max(last, self.fold.seq)

    def start(self) -> None:
        """Start to rebuild the state and to follow the log; until then the default providers answer."""
        loop = asyncio.get_running_loop()
        work = (self._rebuild(), self._follow(), self._follow_configuration())
        self._tasks = list(map(loop.create_task, work))

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
        self.wake_configuration()
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
            self._see([row for row, _ in new], since=appended.previous)
        if appended.previous != self._queued or not self.ready or len(self._rows) >= MAX_QUEUED:
            self.wake()
            return
        if new:
            self._queue(new)
        self._synced_s = monotonic()

    def wake(self) -> None:
        """Look for rows of the log that are not folded yet."""
        self._stale.set()

    def wake_configuration(self) -> None:
        """Look for changes of the configuration that are not in force yet."""
        self._reconfigured.set()

    def _see(self, rows: list[Row], *, since: int) -> None:
        """Put the changes among rows in force; they are all that the log has from ``since`` to the last."""
        changes = [row for row in rows if row.kind == "config"]
        if since > self._configured:
            # Changes in between were not seen yet, and come first.
            if changes:
                self._reconfigured.set()
            return
        if changes:
            self.in_force.follow(changes)
        self._reach(rows[-1].seq)

    def _reach(self, seq: int) -> None:
        """Note that every change of the configuration up to ``seq`` is in force."""
        self._configured = max(self._configured, seq)
        if self._waiting_in_force:
            self._waiting_in_force = _wake(self._waiting_in_force, self._configured)

    async def _follow_configuration(self) -> None:
        """Read changes of other processes by themselves, ahead of the many other rows."""
        while True:
            await self._reconfigured.wait()
            self._reconfigured.clear()
            try:
                since, until = self._configured, max(self.written, self._queued)
                query = Query(after=since, kind="config")
                while rows := await self._in_thread(self._store.rows, query):
                    self._see(rows, since=since)
                    since = rows[-1].seq
                    query = Query(after=since, kind="config")
                # What was committed before the last reading was seen by it.
                self._reach(until)
            except StoreUnavailable as error:
                _LOG.warning("changes of the configuration cannot be read: %s", error)
            except Exception:
                _LOG.exception("changes of the configuration could not be read")

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
                    self._see(rows, since=query.after)
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
        self._drain_soon()

    def _drain_soon(self) -> None:
        if not self._draining:
            self._draining = True
            # After the answers that the same commit has released.
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        """Fold rows, and let routes learn in turns, for no longer than a slice."""
        self._draining = False
        started = perf_counter()
        fold, rows = self.fold, self._rows
        room = MAX_WAITING - sum(len(served.inbox) for served in fold.busy)
        while rows and room > 0 and perf_counter() - started < SLICE_S / 2:
            row, event = rows.popleft()
            if row.seq > fold.seq:
                fold.dispatch(row, event)
                self.folded += 1
            room -= 1
        learning = deque(served for served in fold.busy if served not in self._fits)
        while learning and perf_counter() - started < SLICE_S:
            served = learning.popleft()
            if served.waits_for_refit:
                self._fits[served] = asyncio.get_running_loop().create_task(self._refit(fold, served))
                continue
            fold.learn_next(served)
            if served in fold.busy:
                learning.append(served)
        self.fold_s += perf_counter() - started
        if self._waiting:
            self._wake_waiting()
        if learning or (rows and room > 0):
            self._drain_soon()

    async def _refit(self, fold: Fold, served: ServedRoute) -> None:
        """Refit a route in a thread; it learns nothing meanwhile, so the result is of its place."""
        try:
            with contextlib.suppress(Exception):  # the fold tries again, and marks the route as broken
                while served.router.needs_refit:
                    served.router.apply_refit(await self._fit_in_thread(served.router.next_refit))
            if served.router.needs_refit:
                fold.refit_route(served)
        finally:
            del self._fits[served]
        self._drain_soon()

    def _wake_waiting(self) -> None:
        self._waiting = _wake(self._waiting, self.fold.seq)

    async def wait_until_folded(self, seq: int) -> None:
        """Wait until the row at ``seq`` is folded."""
        if seq > self.fold.seq:
            await _wait_among(self._waiting, seq)

    async def wait_until_in_force(self, seq: int) -> None:
        """Wait until the change of the configuration at ``seq`` is in force, or known to be impossible."""
        if seq > self._configured:
            await _wait_among(self._waiting_in_force, seq)

    def rebuild_if_behind(self, base: int) -> None:
        """Start again if rows that are not folded yet were removed because a base stands for them."""
        if self.ready and base > self._queued:
            _LOG.warning("cut off from the log for longer than events are kept: rebuilding the state")
            self.ready = False
            self._tasks.append(asyncio.get_running_loop().create_task(self._rebuild()))

    @property
    def lag(self) -> int:
        """Number of rows known to be in the log and not folded yet, and of what waits in queues of routes."""
        return len(self._rows) + sum(map(self.lag_of, self.fold.busy))

    def lag_of(self, served: ServedRoute) -> int:
        """Return the number of events that wait in the queue of a route, or 1 for a refit alone."""
        return len(served.inbox) or int(served in self.fold.busy)

    def age_s(self, served: ServedRoute | None = None) -> float:
        """Seconds since the state, or that of one route, last held the whole log, as far as is known."""
        behind = self.lag if served is None else len(self._rows) + self.lag_of(served)
        if not self._store.shared and not behind:
            return 0.0
        age_s = monotonic() - self._synced_s
        if served is None or not served.inbox:
            return age_s
        return max(age_s, self.clock() - served.inbox[0].at_s)

    def prices_to_activate(self) -> list[Change]:
        """Return the changes that put price lists in force whose time has come."""
        names = self.in_force.config.prices_to_activate(self.clock())
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
        tasks = [*self._tasks, *self._fits.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, done in self._waiting + self._waiting_in_force:
            done.cancel()


async def _wait_among(waiting: list[tuple[int, asyncio.Future[None]]], seq: int) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting.append((seq, done))
    await done


def _wake(
    waiting: list[tuple[int, asyncio.Future[None]]], seq: int
) -> list[tuple[int, asyncio.Future[None]]]:
    """Wake whoever waits for a place up to ``seq``; returns those who still wait."""
    later = []
    for wanted, done in waiting:
        if wanted > seq:
            later.append((wanted, done))
        elif not done.done():
            done.set_result(None)
    return later
