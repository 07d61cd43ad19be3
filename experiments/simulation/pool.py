"""Tasks run in this process, in several, or on a dask cluster, with the same results bit for bit.

Results come in the order of the tasks, so neither the number of workers nor which of them finishes first
changes them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import util
from typing import Any, Final, Protocol, TypeVar

from fairlead.optimizer.errors import InvalidInput, require

R = TypeVar("R")
Tick = Callable[[int], None]
"""Is called with the number of units, usually tasks, that have just been done."""

# One thread each, as they share the cores; and no module of the working directory may stand in for another's.
_WORKER_ENVIRONMENT: Final = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONSAFEPATH"), "1"
)
_WORK: list[Any] = []  # what a worker process received at its start: function, shared, counter, reports


def ignore(units: int) -> None:
    """Show no progress."""


class Pool(Protocol):
    """Calls a function with the arguments of every task."""

    def map(
        self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]], tick: Tick = ignore
    ) -> list[R]:
        """Return the results in the order of the tasks; ``tick`` is called for each task that is done."""
        ...


class LocalPool:
    """One task after the other, in this process.

    >>> LocalPool().map(pow, [(2, 3), (3, 2)])
    [8, 9]
    """

    def map(
        self,
        function: Callable[..., R],
        tasks: Sequence[tuple[Any, ...]],
        tick: Tick = ignore,
        *,
        shared: tuple[Any, ...] = (),
        reports: bool = False,
    ) -> list[R]:
        """Return the results in the order of the tasks; see `ProcessPool.map`."""
        return [_run(function, (*shared, *task), tick, reports=reports) for task in tasks]


class ProcessPool:
    """Several tasks at once, each in a process of its own that is started for one call of `map`."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def map(
        self,
        function: Callable[..., R],
        tasks: Sequence[tuple[Any, ...]],
        tick: Tick = ignore,
        *,
        shared: tuple[Any, ...] = (),
        reports: bool = False,
    ) -> list[R]:
        """Return ``function(*shared, *task)`` of every task, in their order.

        The function belongs to a module. ``shared`` is sent once to each process. With ``reports`` the
        function also takes a keyword ``tick``, which it calls with the units that it has done; without it a
        task is one unit. An exception of a task ends all of them and is raised here.
        """
        if not tasks:
            return []
        # Spawned, not forked: DuckDB and the progress bar have threads. Workers inherit the environment.
        context = multiprocessing.get_context("spawn")
        workers = min(self._workers, len(tasks))
        with environment(_WORKER_ENVIRONMENT):
            # Inside, since the first counter starts a process too, which tracks it.
            counter = context.Value("q", 0)
            work = (function, shared, counter, reports)
            pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=work)
            try:
                with _uninterrupted():
                    futures = [pool.submit(_work, task) for task in tasks]
                _follow(futures, counter, tick)
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                # Nothing of a run that was broken off is used, so there is no reason to wait for the rest.
                for worker in multiprocessing.active_children():
                    worker.terminate()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


class DaskPool:
    """The tasks on the workers of a dask cluster, which must see the same files at the same paths."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def map(
        self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]], tick: Tick = ignore
    ) -> list[R]:
        """Return the results in the order of the tasks; ``tick`` is called for each task that is done."""
        import distributed

        if not tasks:
            return []
        futures = [self._client.submit(function, *task, pure=False) for task in tasks]
        try:
            for _ in distributed.as_completed(futures, loop=self._client.loop):
                tick(1)
            results: list[R] = self._client.gather(futures)
        finally:
            self._client.cancel(futures)
        return results


@contextmanager
def open_pool(engine: str, *, scheduler: str | None, workers: int) -> Iterator[Pool]:
    """Open a pool by name: `local`, or `dask` on the cluster at ``scheduler``, else on new processes."""
    if engine == "local":
        if scheduler is not None:
            raise InvalidInput(f"a scheduler {scheduler!r} is given to the local engine: add --engine dask")
        yield LocalPool()
        return
    if engine != "dask":
        raise InvalidInput(f"there is no engine {engine!r}: choose local or dask")
    if workers < 1:
        raise InvalidInput(f"the number of workers is {workers}: give at least 1")
    require("distributed", purpose="--engine dask")
    import distributed

    if scheduler is None:
        with (
            environment({"PYTHONSAFEPATH": "1"}),
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any free port, not always 8787
                silence_logs=logging.ERROR,
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield DaskPool(client)
        return
    try:
        client = distributed.Client(scheduler, timeout=10, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InvalidInput(
            f"no dask scheduler answers at {scheduler!r} ({error}): start one with `dask scheduler`, or "
            "leave --scheduler out"
        ) from None
    with client:
        yield DaskPool(client)


def _run(function: Callable[..., R], arguments: tuple[Any, ...], tick: Tick, *, reports: bool) -> R:
    if reports:
        return function(*arguments, tick=tick)
    result = function(*arguments)
    tick(1)
    return result


def _begin(*work: Any) -> None:
    _WORK[:] = work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The thread keeps modules alive: while Python takes the process down around it, extension modules would
    # complain on stderr that they leak.
    util.Finalize(None, _leave, exitpriority=-1_000)


def _leave() -> None:
    """End this worker, which is done, as one that was forked ends."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed: it would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a worker"
    parent.join()
    os._exit(1)


def _work(task: tuple[Any, ...]) -> Any:
    function, shared, counter, reports = _WORK

    def tick(units: int) -> None:
        with counter.get_lock():
            counter.value += units

    return _run(function, (*shared, *task), tick, reports=reports)


def _follow(futures: Sequence[Future[Any]], counter: Any, tick: Tick) -> None:
    """Wait for all tasks and pass their progress on; the first that fails raises its exception here."""
    reported = 0
    running = set(futures)
    while running:
        done, running = wait(running, timeout=0.2, return_when="FIRST_EXCEPTION")
        for future in done:
            future.result()
        tick(int(counter.value) - reported)
        reported = int(counter.value)


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change the environment for processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C from processes that start meanwhile, since this process ends them.

    One that is pressed meanwhile takes effect when all have started.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
