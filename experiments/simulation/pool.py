"""Plays in several processes at once, with progress, and gone as soon as they are broken off."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

Tick = Callable[[int], None]
T = TypeVar("T")

_ONE_THREAD: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_GIVEN: list[Any] = []  # what a worker process was given at its start: work, what all tasks share, progress


class _Counter(Protocol):
    value: int

    def get_lock(self) -> Any: ...


def in_processes(
    work: Callable[..., T],
    shared: tuple[Any, ...],
    tasks: Sequence[tuple[Any, ...]],
    *,
    jobs: int,
    progress: Tick,
) -> list[T]:
    """``work(*shared, *task, tick=...)`` of every task, in their order, by so many processes.

    ``work`` is a function of a module; it calls ``tick`` with rounds it has played, and ``progress`` hears
    of them. An exception of a task ends all of them and is raised here.
    """
    # Spawned, not forked: DuckDB and the progress bar have threads. Workers inherit the environment.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    reported = 0
    workers = min(jobs, len(tasks))
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(work, shared, counter))
    try:
        with _uninterrupted():
            futures: list[Future[T]] = [pool.submit(_work, task) for task in tasks]
        running = set(futures)
        while running:
            done, running = wait(running, timeout=0.2, return_when="FIRST_EXCEPTION")
            for future in done:
                future.result()
            progress(int(counter.value) - reported)
            reported = int(counter.value)
        return [future.result() for future in futures]
    except KeyboardInterrupt:
        # Nothing of a run that was broken off is used, so nobody waits for the rest of it.
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that start meanwhile never see an interruption from the keyboard: this one ends them.

    One that comes meanwhile waits until all have started.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(work: Callable[..., Any], shared: tuple[Any, ...], counter: _Counter) -> None:
    _GIVEN[:] = [work, shared, counter]


def _work(task: tuple[Any, ...]) -> Any:
    work, shared, counter = _GIVEN

    def tick(rounds: int) -> None:
        with counter.get_lock():
            counter.value += rounds

    return work(*shared, *task, tick=tick)
