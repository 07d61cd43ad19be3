"""Power cuts: only the synced part of the log survives, and every acknowledged event must be in it.

A library that is loaded into the service keeps a copy of the log's files as of each fsync. The process is
held for a moment, the copies are taken away, and what is in them is compared with what clients were told.
Every few cuts the service dies and goes on from the copies. With ``synchronous=NORMAL`` the same trial must
find rows that are lost, or it could find none in any case.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

from fairlead.api.store import open_store
from fairlead.optimizer.errors import InvalidInput
from tests.trials import states
from tests.trials.acknowledged import MOST_SHOWN, Ledger
from tests.trials.servers import Server
from tests.trials.settings import ROUTE, settings
from tests.trials.traffic import Traffic

CUTS_OF_A_LIFE: Final = 10
_CLIENTS: Final = 6
_SOURCE: Final = Path(__file__).with_name("shadow.c")


@dataclass
class Cut:
    """Result of the cuts. ``lost`` counts acknowledged events that were not in the log after a cut."""

    cuts: int = 0
    lives: int = 0
    acknowledged: int = 0
    lost: int = 0
    rows: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def power_cuts(
    folder: Path,
    *,
    cuts: int,
    seed: int,
    synchronous: str = "FULL",
    progress: Callable[[Cut], None] = lambda result: None,
) -> Cut:
    """Cut the power ``cuts`` times; stops after the life in which something was lost."""
    started = perf_counter()
    result, ledger, rng = Cut(), Ledger(), random.Random(seed)
    work, shadow = folder.absolute() / "work", folder.absolute() / "shadow"
    for path in (work, shadow):
        path.mkdir(parents=True, exist_ok=True)
    environment = {"SHADOW_OF": str(work), "SHADOW_TO": str(shadow), "LD_PRELOAD": str(compiled(folder))}
    # Commands of a process whose database is weaker than the service allows, for the negative control.
    command = (
        None if synchronous == "FULL" else f"from tests.trials.power import weaker; weaker({synchronous!r})"
    )
    while result.cuts < cuts and not result.problems:
        server = Server(work, settings(work), environment=environment, command=command)
        traffic = Traffic(ledger, rng, name=f"{seed}-{result.lives}")
        some = min(CUTS_OF_A_LIFE, cuts - result.cuts)
        try:
            server.start()
            asyncio.run(
                _life(server, traffic, rng, cuts=some, folder=folder, result=result, progress=progress)
            )
        finally:
            if server.alive():
                server.kill()
        result.lives += 1
        for path in work.glob("log.db*"):
            path.unlink()
        for path in shadow.glob("log.db*"):
            shutil.copy(path, work / path.name)
    result.acknowledged = len(ledger.acknowledged)
    result.seconds = perf_counter() - started
    return result


async def _life(
    server: Server,
    traffic: Traffic,
    rng: random.Random,
    *,
    cuts: int,
    folder: Path,
    result: Cut,
    progress: Callable[[Cut], None],
) -> None:
    await server.until_ready()
    await traffic.settle(server.port)
    before = len(traffic.ledger.acknowledged)
    load = asyncio.ensure_future(traffic.run(server.port, clients=_CLIENTS))
    while len(traffic.ledger.acknowledged) < before + _CLIENTS and not load.done():
        await asyncio.sleep(0.01)  # a cut before anything was acknowledged shows nothing
    for _ in range(cuts):
        await asyncio.sleep(rng.uniform(0.02, 0.3))
        os.kill(server.pid, signal.SIGSTOP)
        try:
            _look(folder, traffic.ledger, result)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        result.cuts += 1
        progress(result)
    server.kill()
    await load


def _look(folder: Path, ledger: Ledger, result: Cut) -> None:
    """Compare what the disk would hold now with what was acknowledged."""
    after = folder / "after"
    shutil.rmtree(after, ignore_errors=True)
    shutil.copytree(folder / "shadow", after)
    url = settings(after)["database_url"]
    store = open_store(url)
    try:
        rows = states.all_rows(store)
        again = states.rebuild_state(folder / "work" / "state", store)
    finally:
        store.close()
    problems = ledger.compare(rows)
    uids = {row.uid for row in rows}
    result.lost += sum(uid not in uids for uid in ledger.acknowledged)
    result.rows = len(rows)
    clean = states.fold_rows(rows)
    if ROUTE in clean.routes:
        problems += states.effects_differ(rows, clean)
        wrong = states.differences(states.arrays_of(again), states.arrays_of(clean))
        problems += [f"the rebuilt state has another {name}" for name in wrong]
    result.problems += problems[: MOST_SHOWN - len(result.problems)]


def compiled(folder: Path) -> Path:
    """Compile the library for this machine."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        raise InvalidInput("power cuts need Linux and a C compiler: install gcc, or run the trial elsewhere")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder.absolute() / "shadow.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InvalidInput(f"the library for power cuts does not compile: {done.stderr[:500]}")
    return library


def weaker(synchronous: str) -> None:
    """Serve with a database that syncs less than the service does, which the trial must notice."""
    import sqlite3

    from fairlead.api.cli.main import main
    from fairlead.api.store.sqlite import SQLiteStore

    as_it_is = SQLiteStore._open_writer

    def weak(self: SQLiteStore) -> sqlite3.Connection:
        connection = as_it_is(self)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        return connection

    SQLiteStore._open_writer = weak  # type: ignore[method-assign]
    main()
