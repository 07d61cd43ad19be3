"""Background work that keeps the log and the next start small: snapshots, and the removal of old events.

Both fold the log in a process of their own at low priority, so that no request waits for them.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final, TypeVar

from fairlead.api.settings import Settings
from fairlead.api.state import snapshots
from fairlead.api.state.follower import Engine
from fairlead.api.state.text_fit import fit_line, save_texts
from fairlead.api.store import Row, Store, StoreUnavailable, retention
from fairlead.api.store.writer import QueueFull, Writer
from fairlead.experiments.simulation.pool import environment
from fairlead.optimizer.learning.text_learner import TextLearner

T = TypeVar("T")

SLOW_REBUILD: Final = 10_000
"""Events that take about half a second to fold."""

_LOG = logging.getLogger("fairlead.upkeep")
_SPAWN: Final = multiprocessing.get_context("spawn")
_DAY_S: Final = 86_400.0
_MIN_REMOVED: Final = 1_000
"""Events that make it worthwhile to save another base."""
_NICENESS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """The background tasks of one service."""

    settings: Settings
    engine: Engine
    store: Store
    writer: Writer
    clock: Callable[[], float]
    in_thread: Callable[..., Awaitable[Any]]

    async def take_snapshots(self) -> None:
        """Save a snapshot at regular intervals, until cancelled; the first at once after a slow start.

        Otherwise a process that took long to rebuild its state, and dies soon, would take as long again.
        """
        saved = 0
        every_s = self.settings.snapshot_every_s
        while not self.engine.ready:
            await asyncio.sleep(min(every_s, 0.1))
        wait_s = every_s if self.engine.rebuilt < SLOW_REBUILD else 0.0
        while True:
            await asyncio.sleep(wait_s)
            wait_s = every_s
            seq = self.engine.fold.seq
            if self.engine.ready and seq != saved:
                try:
                    await run_in_process(snapshots.take, self.settings)
                    saved = seq
                except (ProcessFailed, OSError) as error:
                    _LOG.warning("no snapshot was saved: %s", error)

    async def fit_texts(self) -> None:
        """Learn features of texts for every route that has seen enough of them, until cancelled."""
        tried: dict[str, tuple[TextLearner, int]] = {}
        while True:
            await asyncio.sleep(self.settings.poll_s)
            if not self.engine.ready or not self.settings.text_features:
                continue
            for name, served in tuple(self.engine.fold.routes.items()):
                text = served.router.text
                if not text.is_due or served.broken is not None or tried.get(name) == (text, text.seen):
                    continue
                tried[name] = text, text.seen
                try:
                    await self._fit_text(name, text)
                except (ProcessFailed, QueueFull, StoreUnavailable, OSError) as error:
                    _LOG.warning("no features of texts were learned for route %s: %s", name, error)

    async def _fit_text(self, name: str, text: TextLearner) -> None:
        """Fit in a process of its own, and log what comes of it; every process folds it from there."""
        state, fits = text.state(), text.fits
        with TemporaryDirectory(prefix="fairlead-texts-") as folder:
            path = Path(folder) / "texts.npz"
            # Not as arguments: the event loop would wait until the process has read them all.
            await self.in_thread(save_texts, path, state)
            line, digest = await run_in_process(fit_line, path)
        if text.fits == fits:  # no other process was quicker
            row = Row.encoder(line, digest=digest, route=name, at_s=self.clock())
            await self.writer.append([row])

    async def remove_old_events(self) -> None:
        """Remove the events older than ``retention_days`` at regular intervals, until cancelled."""
        while True:
            await asyncio.sleep(self.settings.snapshot_every_s)
            try:
                if self.engine.ready:
                    await self.remove_once()
            except (ProcessFailed, StoreUnavailable, OSError, ValueError) as error:
                _LOG.warning("no events were removed: %s", error)

    async def remove_once(self, *, at_least: int = _MIN_REMOVED) -> int:
        """Save a base for the events older than ``retention_days``, and remove them; returns how many.

        If fewer than ``at_least`` are old enough, no new base is saved.
        """
        days = self.settings.retention_days
        assert days is not None
        oldest_s = self.clock() - days * _DAY_S
        until = await self.in_thread(retention.last_before, self.store, oldest_s)
        base = await self.in_thread(retention.base_seq, self.store)
        if until - base >= at_least:
            base = await self._save_base(until) or base
        removed = 0
        while base and (count := await self.writer.run(retention.remove_some, self.store, base)):
            removed += count
        if removed:
            _LOG.info("removed %d events up to seq %d, and saved a base in their place", removed, base)
        return removed

    async def _save_base(self, until: int) -> int | None:
        """Save a base for the log up to ``until``; None if another process has saved a later one."""
        with TemporaryDirectory(prefix="fairlead-base-") as folder:
            rollups = await run_in_process(snapshots.take_base, self.settings, Path(folder), until)
            (path,) = snapshots.paths(Path(folder))
            files = {file.name: file.read_bytes() for file in path.iterdir()}
        seq = int(path.name)

        def save() -> bool:
            return retention.save_base(self.store, seq=seq, files=files, rollups=rollups)

        return seq if await self.writer.run(save) else None


class ProcessFailed(RuntimeError):
    """A process that was started for one function ended without its result."""


async def run_in_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of a module in a new process at low priority, which is killed on cancellation.

    Raises `ProcessFailed` with the reason if the function raises or the process dies.
    """
    receiver, sender = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_call, args=(sender, function, arguments), daemon=True)
    # Nothing that lies in the working directory may be imported by the new interpreter.
    with environment({"PYTHONSAFEPATH": "1"}), _hidden_main_module():
        process.start()
    sender.close()
    try:
        result, failure = await asyncio.to_thread(_receive, receiver)
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
    if failure is not None:
        raise ProcessFailed(failure)
    return result  # type: ignore[no-any-return]


@contextmanager
def _hidden_main_module() -> Iterator[None]:
    """Keep a process started in this block from importing the main module, which its function never needs.

    The program around the service may be a script that would serve once more, or standard input, which cannot
    be read again.
    """
    main_module, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main_module


def _receive(receiver: Connection) -> tuple[Any, str | None]:
    """Wait for the result and the failure of `_call`; ends when the process does."""
    with receiver:
        try:
            result, failure = receiver.recv()
        except EOFError:
            return None, "its process was killed"
    return result, failure


def _call(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run in the new process: call the function and send its result, or why there is none."""
    # Ctrl-C reaches the whole process group; the parent ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        os.nice(_NICENESS)
    try:
        sender.send((function(*arguments), None))
    except Exception as error:
        sender.send((None, f"{type(error).__name__}: {error}"))
