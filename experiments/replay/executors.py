"""Where the parts of a replay run: in this process or on dask workers, with the same results bit for bit.

Results come in the order of the tasks and are merged in it, so neither the number of workers nor who finishes
first changes a single bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from fairlead.optimizer.errors import InvalidInput, require

R = TypeVar("R")
Tick = Callable[[int], None]


class Engine(Protocol):
    """Calls a function with the arguments of every task."""

    def map(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]], tick: Tick) -> list[R]:
        """The results in the order of the tasks; ``tick`` is told of each task that is done."""
        ...


class LocalEngine:
    """One task after the other, here."""

    def map(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]], tick: Tick) -> list[R]:
        """The results in the order of the tasks."""
        found = []
        for task in tasks:
            found.append(function(*task))
            tick(1)
        return found


class DaskEngine:
    """The tasks on the workers of a dask cluster, which must see the same files at the same paths."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def map(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]], tick: Tick) -> list[R]:
        """The results in the order of the tasks."""
        import distributed

        if not tasks:
            return []
        futures = [self._client.submit(function, *task, pure=False) for task in tasks]
        try:
            for _ in distributed.as_completed(futures, loop=self._client.loop):
                tick(1)
            found: list[R] = self._client.gather(futures)
        finally:
            self._client.cancel(futures)
        return found


@contextmanager
def make_engine(name: str, *, scheduler: str | None, workers: int) -> Iterator[Engine]:
    """`local`, or `dask` on the cluster at ``scheduler``, else on ``workers`` processes started for it."""
    if name == "local":
        if scheduler is not None:
            raise InvalidInput(f"a scheduler {scheduler!r} is given to the local engine: add --engine dask")
        yield LocalEngine()
        return
    if name != "dask":
        raise InvalidInput(f"there is no engine {name!r}: choose local or dask")
    if workers < 1:
        raise InvalidInput(f"the number of workers is {workers}: give at least 1")
    require("distributed", purpose="the engine dask")
    import distributed

    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout=10, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise InvalidInput(
                f"no dask scheduler answers at {scheduler!r} ({error}): start one with `dask scheduler`, "
                "or leave "
                "--scheduler out"
            ) from None
        with client:
            yield DaskEngine(client)
        return
    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield DaskEngine(client)
