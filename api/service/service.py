"""One process of the service: store, writer, engine and what runs beside them, opened and closed together."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, Final

from fairlead.api.http.middleware import Load
from fairlead.api.metrics import EngineCollector, Metrics
from fairlead.api.problems import Problem
from fairlead.api.service.auth import Allowance, Authority, Caller
from fairlead.api.service.declared import declared_changes
from fairlead.api.service.randomness import Randomness
from fairlead.api.service.upkeep import Upkeep
from fairlead.api.settings import Settings
from fairlead.api.state.configuration import Change
from fairlead.api.state.fold import Logged
from fairlead.api.state.follower import Engine
from fairlead.api.state.runtime import lower_thread_priority
from fairlead.api.store import Query, Row, StoreUnavailable, open_store, retention
from fairlead.api.store.writer import QueueFull, Writer, Written
from fairlead.optimizer.types import Prices

_LOG = logging.getLogger("fairlead.service")
_READERS: Final = 4
_DECLARED_WAIT_S: Final = 5.0


class Service:
    """Everything behind the endpoints. Opens the store at once, so that a fault is said at the start."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        self.store = open_store(settings.database_url)
        self.load = Load()
        self.changing = asyncio.Lock()
        """Held from reading what is configured until it is changed: two would undo one another."""
        self.metrics = Metrics()
        self.random = Randomness()
        self.allowance = Allowance()
        self.feedback_allowance = Allowance(burst_s=60.0)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="fairlead-reader")
        self._fitter = ThreadPoolExecutor(
            1, thread_name_prefix="fairlead-fit", initializer=lower_thread_priority
        )
        self.engine = Engine(
            self.store,
            state_dir=settings.state_dir,
            parked_wait_s=settings.parked_wait_s,
            parked_limit=settings.parked_limit,
            clock=clock,
            in_thread=self.in_thread,
            fit_in_thread=self.beside,
        )

        def timed(seconds: float, rows: int) -> None:
            self.metrics.stages.timed("commit", seconds)
            self.metrics.commit_rows.observe(rows)

        self.writer = Writer(
            self.store,
            queue_limit=settings.queue_limit,
            in_flight=lambda: self.load.requests,
            committed=self.engine.on_commit,
            timed=timed,
        )
        self.upkeep = Upkeep(
            settings=settings,
            engine=self.engine,
            store=self.store,
            writer=self.writer,
            clock=clock,
            in_thread=self.in_thread,
        )
        self.authority = Authority(lambda: self.engine.fold.config, clock)
        self.metrics.registry.register(EngineCollector(self.engine, self.writer, self.load))
        self._tasks: list[asyncio.Task[None]] = []
        try:
            self.engine.read_configuration()
            self._declared = declared_changes(settings, self.engine.fold, now_s=clock())
        except BaseException:
            self.store.close()
            raise

    @property
    def has_keys(self) -> bool:
        """Whether a key is needed for everything."""
        return bool(self.engine.fold.config.keys)

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be taken in to be written."""
        return self.writer.depth >= self.settings.queue_limit

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run something that waits for the disk or the network, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)

    async def beside(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run something that takes the processor for long, in a thread that waits for the others."""
        return await asyncio.get_running_loop().run_in_executor(self._fitter, work, *arguments)

    async def start(self) -> None:
        """Begin to write, to follow the log and to rebuild what was learned."""
        self.writer.start()
        self.engine.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._tick()), loop.create_task(self.upkeep.take_snapshots())]
        if self.settings.retention_days is not None:
            self._tasks.append(loop.create_task(self.upkeep.remove_old_events()))
        if self.store.shared:
            from fairlead.api.store.postgres import listen

            self._tasks.append(loop.create_task(listen(self.settings.database_url, self.engine.wake)))
        last = 0
        for uid, change in self._declared:
            ((row, _),) = await self.append([self.change_row(change, by="file", uid=uid)])
            last = row.seq
        if self._declared:
            self.engine.wake()
            # So that the first request finds the routes that the file declares.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DECLARED_WAIT_S):
                    await self.engine.wait_until_folded(last)

    async def stop(self) -> None:
        """Write what waits, save a snapshot, and close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.writer.close()
        # What the last commits brought is folded first, so that the snapshot has it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                while self.engine.lag:
                    await asyncio.sleep(0.001)
        await self.engine.close()
        try:
            self.engine.save_snapshot()
        except (OSError, StoreUnavailable) as error:
            _LOG.warning("no snapshot was saved (%s): the next start takes longer", type(error).__name__)
        self._fitter.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self.store.close()

    # What goes into the log

    async def append(
        self, rows: Sequence[Row], *, made: Logged | None = None, needs_answer: bool = True
    ) -> Written:
        """Write rows; a problem where that is not possible now.

        ``made``: what the line of the one row would be read as. ``needs_answer``: it matters whether they
        are new, so that even ``relaxed`` waits for the commit.
        """
        if made is not None:
            self.engine.writing[rows[0].uid] = rows[0].line, made
        try:
            return await self._append(rows, needs_answer)
        except BaseException:
            self.engine.writing.pop(rows[0].uid, None)
            raise

    async def _append(self, rows: Sequence[Row], needs_answer: bool) -> Written:
        try:
            if self.settings.durability == "relaxed" and not needs_answer:
                self.writer.post(rows)
                return [(row, True) for row in rows]
            return await self.writer.append(rows)
        except QueueFull:
            raise Problem("overloaded", "Too much waits to be written.", retry_after_s=1) from None
        except StoreUnavailable as error:
            _LOG.warning("%s", error)
            raise Problem(
                "unavailable", "The log cannot be written now; send it again.", retry_after_s=1
            ) from None

    def change_row(self, change: Change, *, by: str | None, uid: str | None = None) -> Row:
        """The event of a change of the configuration."""
        name = uid or self.random.name("c:")
        return Row.config(change.line(), uid=name, at_s=self.clock(), by=by)

    async def rows(self, query: Query) -> list[Row]:
        """Read the log; a problem where that is not possible now."""
        try:
            found: list[Row] = await self.in_thread(self.store.rows, query)
            return found
        except StoreUnavailable as error:
            _LOG.warning("%s", error)
            raise Problem("unavailable", "The log cannot be read now.", retry_after_s=1) from None

    def is_open(self, row: Row) -> bool:
        """Whether anything may still come of a decision of the log."""
        served = self.engine.fold.routes.get(row.route or "")
        if served is None:
            return False
        recent = self.clock() - row.at_s <= served.body.reward_wait_s
        return recent and (row.decision_id in self.engine.fold.open or row.seq > self.engine.fold.seq)

    def prices_of(self, row: Row) -> Mapping[str, Prices]:
        """The prices in force at a decision of the log, while it is open."""
        served = self.engine.fold.routes.get(row.route or "")
        one = None if served is None else served.router.open_decision(row.decision_id or "")
        return {} if one is None else one.prices

    def check_batch(self, count: int, caller: Caller) -> None:
        """A problem for a batch that is too long; its items count as requests of the key."""
        most = self.settings.max_batch
        if count > most:
            raise Problem("invalid", f"A batch may have {most} items, and this one has {count}.")
        per_s = caller.requests_per_s or self.settings.requests_per_s
        wait_s = self.allowance.take(caller.key, per_s=per_s, count=count)
        if wait_s > 0:
            raise Problem(
                "too-many-requests", f"The limit is {per_s:g} requests/s.", retry_after_s=int(wait_s) + 1
            )

    @staticmethod
    async def each(work: Sequence[Awaitable[object]], *, name: str) -> list[dict[str, Any]]:
        """The items of a batch side by side, so that they share commits: an answer or a problem for each."""

        async def one(item: Awaitable[object]) -> dict[str, Any]:
            try:
                return {"status": 200, name: await item, "problem": None}
            except Problem as problem:
                return {"status": problem.status, name: None, "problem": problem.body()}

        return list(await asyncio.gather(*map(one, work)))

    # What runs beside the requests

    async def _tick(self) -> None:
        """Look for prices whose time has come, and for what other processes wrote."""
        while True:
            started = perf_counter()
            try:
                for change in self.engine.prices_to_activate():
                    # The uid is the same in every process, so that it is written once.
                    await self.append([self.change_row(change, by="clock", uid=f"activate:{change.id}")])
                if self.store.shared:
                    self.engine.rebuild_if_behind(await self.in_thread(retention.base_seq, self.store))
                if self.store.shared or self.engine.lag == 0:
                    self.engine.wake()
            except (Problem, StoreUnavailable) as problem:
                _LOG.warning("%s", problem)
            except Exception:
                _LOG.exception("the regular look at prices and log failed")
            await asyncio.sleep(max(self.settings.poll_s - (perf_counter() - started), 0.01))


def idempotent_id(prefix: str, caller: str | None, given: str) -> str:
    """An id that the same key gets for the same Idempotency-Key, and nobody else."""
    return f"{prefix}_{hashlib.sha256(f'{caller}:{given}'.encode()).hexdigest()[:32]}"
