"""One process of the service: store, writer, engine and background tasks, opened and closed together."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from math import ceil
from time import perf_counter
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from fairlead.api.metrics import Metrics
from fairlead.api.problems import Problem
from fairlead.api.schemas.base import ProblemOut
from fairlead.api.service.auth import Authenticator, Principal, TokenBucket
from fairlead.api.service.budget_watch import BudgetWatch
from fairlead.api.service.circuit_watch import CircuitWatch
from fairlead.api.service.declared import declared_changes
from fairlead.api.service.drift_watch import DriftWatch
from fairlead.api.service.quarantine_watch import QuarantineWatch
from fairlead.api.service.text_watch import TextWatch
from fairlead.api.service.upkeep import Upkeep
from fairlead.api.settings import Settings
from fairlead.api.state.configuration import Change
from fairlead.api.state.fold import Logged
from fairlead.api.state.follower import Engine
from fairlead.api.state.runtime import lower_thread_priority
from fairlead.api.state.text_key import term_counter
from fairlead.api.store import Query, Row, StoreUnavailable, open_store, retention
from fairlead.api.store.writer import QueueFull, Writer, Written
from fairlead.optimizer.features.terms import TermCounter
from fairlead.optimizer.types import Prices

_LOG = logging.getLogger("fairlead.service")
_READERS: Final = 4
_DECLARED_WAIT_S: Final = 5.0


Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Service:
    """Everything behind the endpoints. Opens the store at once, so that a fault shows at the start."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings, self.clock = settings, clock
        self.store, self.metrics = open_store(settings.database_url), Metrics()
        self.changing = asyncio.Lock()
        """Held from reading the configuration until it is changed: two changes would undo one another."""
        self.requests, self.feedback, self.outcomes = TokenBucket(), _report_bucket(), _report_bucket()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="fairlead-reader")
        self._fitter = ThreadPoolExecutor(
            1, thread_name_prefix="fairlead-fit", initializer=lower_thread_priority
        )
        self.engine = Engine(
            self.store,
            settings=settings,
            clock=clock,
            in_thread=self.in_thread,
            fit_in_thread=self.fit_in_thread,
        )
        self.engine.term_counter = self._term_counter()
        self.writer = Writer(
            self.store,
            queue_limit=settings.queue_limit,
            in_flight=lambda: self.metrics.in_flight,
            committed=self.engine.on_commit,
            timed=self.metrics.observe_commit,
        )
        self.upkeep = Upkeep(
            settings=settings,
            engine=self.engine,
            store=self.store,
            writer=self.writer,
            clock=clock,
            in_thread=self.in_thread,
        )
        self.authenticator = Authenticator(lambda: self.engine.in_force.config, clock)
        self.metrics.watch(self.engine, self.writer)
        self.budget_watch, self.quarantine_watch = BudgetWatch(self.engine), QuarantineWatch(self.engine)
        self.circuit_watch, self.drift_watch = CircuitWatch(self.engine), DriftWatch(self.engine)
        self.text_watch = TextWatch(self.engine)
        self._tasks: list[asyncio.Task[None]] = []
        self._declared = self._read_declarations()

    def _term_counter(self) -> TermCounter | None:
        try:
            return term_counter(self.settings)
        except BaseException:
            self.store.close()
            raise

    def terms_of(self, text: str | None) -> bytes | None:
        """Return the hashed terms of a text; None without a text, or if none are learned from."""
        counter = self.engine.term_counter
        return None if text is None or counter is None else counter.count(text)

    def _read_declarations(self) -> list[tuple[str, Change]]:
        """Read the configuration from the log; return the changes that the settings declare on top."""
        try:
            self.engine.read_configuration()
            return declared_changes(self.settings, self.engine.in_force, now_s=self.clock())
        except BaseException:
            self.store.close()
            raise

    @property
    def has_keys(self) -> bool:
        """Whether every request needs a key."""
        return bool(self.engine.in_force.config.keys)

    @property
    def is_full(self) -> bool:
        """Whether the queue of events to be written is full."""
        return self.writer.depth >= self.settings.queue_limit

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function that waits for the disk or the network in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)

    async def fit_in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run a long computation in a thread that gives way to the others."""
        return await asyncio.get_running_loop().run_in_executor(self._fitter, work, *arguments)

    async def start(self) -> None:
        """Start the writer, the background tasks and the rebuild of the state."""
        self.writer.start()
        self.engine.start()
        loop = asyncio.get_running_loop()
        work = (self._tick(), self.upkeep.take_snapshots(), self.upkeep.fit_texts())
        self._tasks = list(map(loop.create_task, work))
        if self.settings.retention_days is not None:
            self._tasks.append(loop.create_task(self.upkeep.remove_old_events()))
        if self.store.shared:
            from fairlead.api.store.postgres import CHANNEL, CONFIGURATION_CHANNEL, listen

            wakes = {CONFIGURATION_CHANNEL: self.engine.wake_configuration, CHANNEL: self.engine.wake}
            self._tasks.append(loop.create_task(listen(self.settings.database_url, wakes)))
        last = 0
        for uid, change in self._declared:
            ((row, _),) = await self.append([self.change_row(change, by="file", uid=uid)])
            last = row.seq
        if self._declared:
            self.engine.wake()
            # The first request should find the routes that the file declares.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DECLARED_WAIT_S):
                    await self.engine.wait_until_folded(last)

    async def stop(self) -> None:
        """Write what is queued, save a snapshot, and close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.writer.close()
        # The events of the last commits are folded first, so that the snapshot has them.
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

    # The log

    async def append(
        self, rows: Sequence[Row], *, event: Logged | None = None, needs_answer: bool = True
    ) -> Written:
        """Write rows to the log; a problem if the log cannot be written.

        ``event`` is what the line of the only row decodes to, if that is at hand. ``needs_answer``: the
        caller needs to know whether the rows are new, so that even ``relaxed`` waits for the commit.
        """
        if event is not None:
            self.engine.writing[rows[0].uid] = rows[0].line, event
        try:
            if self.settings.durability == "relaxed" and not needs_answer:
                self.writer.post(rows)
                return [(row, True) for row in rows]
            return await self.writer.append(rows)
        except BaseException as error:
            self.engine.writing.pop(rows[0].uid, None)
            if isinstance(error, QueueFull):
                raise Problem("overloaded", "The queue of the log is full.", retry_after_s=1) from None
            if isinstance(error, StoreUnavailable):
                _LOG.warning("%s", error)
                raise Problem(
                    "unavailable", "The log cannot be written now: send it again.", retry_after_s=1
                ) from None
            raise

    def change_row(self, change: Change, *, by: str | None, uid: str | None = None) -> Row:
        """Return the event of a change of the configuration."""
        return Row.config(change.line(), uid=uid or new_id("c:"), at_s=self.clock(), by=by)

    async def rows(self, query: Query) -> list[Row]:
        """Read the log; a problem if that is impossible now."""
        try:
            rows: list[Row] = await self.in_thread(self.store.rows, query)
            return rows
        except StoreUnavailable as error:
            _LOG.warning("%s", error)
            raise Problem(
                "unavailable", "The log cannot be read now: send it again.", retry_after_s=1
            ) from None

    def is_open(self, row: Row) -> bool:
        """Whether a decision of the log still accepts outcomes and feedback."""
        served = self.engine.fold.routes.get(row.route or "")
        if served is None:
            return False
        recent = self.clock() - row.at_s <= served.body.reward_wait_s
        return recent and (row.decision_id in self.engine.fold.open or row.seq > self.engine.fold.seq)

    def prices_of(self, row: Row) -> Mapping[str, Prices]:
        """Return the prices in force at a decision of the log, while it is open."""
        served = self.engine.fold.routes.get(row.route or "")
        decision = None if served is None else served.router.open_decision(row.decision_id or "")
        return {} if decision is None else decision.prices

    # Limits

    def take_requests(self, principal: Principal, count: int = 1) -> None:
        """Count requests of a key; a problem if they are more than its rate allows."""
        per_s = principal.requests_per_s or self.settings.requests_per_s
        _take(self.requests, principal, per_s=per_s, count=count, limit=f"{per_s:g} requests/s")

    def take_feedback(self, principal: Principal) -> None:
        """Count one piece of feedback of a key; a problem if it is more than its rate allows."""
        per_minute = principal.feedback_per_minute or self.settings.feedback_per_minute
        limit = f"{per_minute} feedback events per minute"
        _take(self.feedback, principal, per_s=per_minute / 60.0, limit=limit)

    def take_outcome(self, principal: Principal) -> None:
        """Count one outcome of a key; a problem if it is more than its rate allows."""
        per_minute = principal.outcomes_per_minute or self.settings.outcomes_per_minute
        _take(self.outcomes, principal, per_s=per_minute / 60.0, limit=f"{per_minute} outcomes per minute")

    def check_batch(self, count: int, principal: Principal) -> None:
        """Raise a problem for a batch that is too long; its items count as requests of the key."""
        most = self.settings.max_batch
        if count > most:
            raise Problem("invalid", f"A batch may have at most {most} items, and this one has {count}.")
        self.take_requests(principal, count)

    @staticmethod
    async def gather(
        work: Iterable[Awaitable[Answer]], item: Callable[[int, Answer | None, ProblemOut | None], Item]
    ) -> list[Item]:
        """Run the items of a batch side by side, so that they share commits: an answer or a problem each."""

        async def settle(awaitable: Awaitable[Answer]) -> Item:
            try:
                return item(200, await awaitable, None)
            except Problem as problem:
                return item(problem.status, None, problem.details())

        return await asyncio.gather(*map(settle, work))

    # Background tasks

    def check_watches(self) -> None:
        """Log a warning of each alarm that was raised since the last look."""
        for watch in (
            self.budget_watch,
            self.quarantine_watch,
            self.circuit_watch,
            self.drift_watch,
            self.text_watch,
        ):
            watch.check()

    async def _tick(self) -> None:
        """Activate price lists whose time has come, and look for events of other processes."""
        while True:
            started = perf_counter()
            try:
                for change in self.engine.prices_to_activate():
                    # The uid is the same in every process, so that it is written once.
                    await self.append([self.change_row(change, by="clock", uid=f"activate:{change.id}")])
                self.check_watches()
                if self.store.shared:
                    self.engine.rebuild_if_behind(await self.in_thread(retention.base_seq, self.store))
                if self.store.shared or self.engine.lag == 0:
                    self.engine.wake()
                self.engine.wake_configuration()
            except (Problem, StoreUnavailable) as problem:
                _LOG.warning("%s", problem)
            except Exception:
                _LOG.exception("a regular check of prices and log failed")
            await asyncio.sleep(max(self.settings.poll_s - (perf_counter() - started), 0.01))


def _report_bucket() -> TokenBucket:
    return TokenBucket(burst_s=60.0)


def _take(bucket: TokenBucket, principal: Principal, *, per_s: float, limit: str, count: int = 1) -> None:
    """Take tokens of a key from a bucket; a problem that names the ``limit`` if there are not enough."""
    wait_s = bucket.take(principal.key, per_s=per_s, count=count)
    if wait_s > 0:
        raise Problem("too-many-requests", f"The limit is {limit}.", retry_after_s=ceil(wait_s))


# Random numbers, ids and digests of requests; in the event loop's thread

_RANDOM: Final = BytesIO()


def _random_bytes(count: int) -> bytes:
    """Return bytes of the operating system's generator, which are fetched many at a time.

    Each fetch lets other threads run, and under load waits ten times as long as it takes for its turn.
    """
    fetched = _RANDOM.read(count)
    if len(fetched) < count:
        _RANDOM.seek(0)
        _RANDOM.write(os.urandom(8_192))
        _RANDOM.seek(0)
        fetched = _RANDOM.read(count)
    return fetched


def draw_uniform() -> float:
    """Return a random number in [0, 1) that is as hard to predict as a secret."""
    return (int.from_bytes(_random_bytes(8)) >> 11) * 2.0**-53


def new_id(prefix: str) -> str:
    """Return a new id: the prefix and 96 random bits in hexadecimal."""
    return prefix + _random_bytes(12).hex()


def idempotent_id(prefix: str, key_id: str | None, idempotency_key: str) -> str:
    """Return the id that one API key always gets for the same Idempotency-Key, and no other key gets."""
    return f"{prefix}_{hashlib.sha256(f'{key_id}:{idempotency_key}'.encode()).hexdigest()[:32]}"


def digest_of(body: BaseModel) -> str:
    """Digest of a body without its id: equal if two requests under one id ask for the same."""
    return hashlib.blake2b(body.model_dump_json(exclude={"id"}).encode(), digest_size=16).hexdigest()
