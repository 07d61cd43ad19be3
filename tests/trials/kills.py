"""Kill cycles: the service dies by ``kill -9`` at random moments under load, again and again on one log.

After each death everything that was acknowledged must be in the log, once; and what the next start would
rebuild must be a clean fold of the log, bit for bit. Every so often the service is asked to end instead, with
requests in flight: then the snapshot that it leaves must be that fold.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

from fairlead.api.state.fold import Fold
from fairlead.api.store import Row, open_store
from tests.trials import states
from tests.trials.acknowledged import Ledger
from tests.trials.servers import Server
from tests.trials.settings import ROUTE, settings
from tests.trials.traffic import Traffic

CLIENTS: Final = 6
_LONGEST_S: Final = 0.8


@dataclass
class Killed:
    """Result of the cycles. ``problems`` is empty if nothing was lost, doubled or learned differently."""

    cycles: int = 0
    kills: int = 0
    stops: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    rows: int = 0
    states: int = 0
    """How often the whole state was compared."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class _Trial:
    """One log, and what must be in it after each life of the service."""

    def __init__(self, folder: Path, url: str | None, *, seed: int, result: Killed) -> None:
        self._folder, self._result, self._seed = folder, result, seed
        self._settings = settings(folder, url, snapshot_every_s=2.0)
        self._rng = random.Random(seed)
        self.ledger = Ledger()
        self.rows: list[Row] = []
        self.clean = states.new_fold()

    def life(self, *, stop: bool) -> None:
        """Run the service under load until it is killed, or asked to end if ``stop``."""
        traffic = Traffic(self.ledger, self._rng, name=f"{self._seed}-{self._result.cycles}")
        server = Server(self._folder, self._settings)
        try:
            server.start()
            asyncio.run(_life(server, traffic, self._rng, stop=stop))
        finally:
            if server.alive():
                server.kill()
        self._result.cycles += 1
        self._result.kills += not stop
        self._result.stops += stop

    def look(self, *, stopped: bool, whole_state: bool) -> list[str]:
        """Return what is wrong with the log now, and with the state that the next start would have."""
        store = open_store(self._settings["database_url"], read_only=True)
        try:
            since = self.clean.seq
            new = states.all_rows(store, after=since)
            self.rows += new
            states.fold_rows(new, self.clean)
            problems = self.ledger.compare(self.rows, since=since)
            if stopped:
                problems += _saved_differs(self._folder / "state", self.rows, self.clean)
            elif whole_state:
                again = states.arrays_of(states.rebuild_state(self._folder / "state", store))
                wrong = states.differences(again, states.arrays_of(self.clean))
                problems += [f"the rebuilt state has another {name}" for name in wrong]
        finally:
            store.close()
        self._result.states += stopped or whole_state
        self._result.acknowledged, self._result.rows = len(self.ledger.acknowledged), len(self.rows)
        self._result.unanswered = len(self.ledger.open) + self.ledger.nameless
        return problems

    def final(self) -> list[str]:
        """Compare everything once more, from nothing."""
        problems = self.ledger.compare(self.rows) + states.effects_differ(self.rows, self.clean)
        kept = states.arrays_of(self.clean)
        again = states.arrays_of(states.fold_rows(self.rows))
        problems += [f"a fold from nothing has another {name}" for name in states.differences(again, kept)]
        once = states.clean_sums(self.rows, self.clean.routes[ROUTE])
        wrong = states.differences(once, states.sums_of(kept))
        return problems + [f"a log without repeats has another {name}" for name in wrong]


def kill_cycles(
    folder: Path,
    *,
    cycles: int,
    seed: int,
    url: str | None = None,
    progress: Callable[[Killed], None] = lambda result: None,
) -> Killed:
    """Run cycles on one log, ``url`` or a SQLite file in ``folder``; stops at the first problem."""
    started = perf_counter()
    result = Killed()
    trial = _Trial(folder, url, seed=seed, result=result)
    every = max(2, cycles // 20)
    for cycle in range(cycles):
        stop = cycle % every == every - 1
        trial.life(stop=stop)
        result.problems += trial.look(stopped=stop, whole_state=cycle % every == 0)
        result.seconds = perf_counter() - started
        progress(result)
        if result.problems:
            return result
    result.problems += trial.final()
    result.seconds = perf_counter() - started
    return result


async def _life(server: Server, traffic: Traffic, rng: random.Random, *, stop: bool) -> None:
    """Keep the service under load for a while, then end it."""
    # One that is asked to end before it has learned anything leaves no snapshot; one that is killed may be at
    # any point of its start.
    if stop or rng.random() < 0.8:
        await server.until_ready()
    await traffic.settle(server.port)
    load = asyncio.ensure_future(traffic.run(server.port, clients=CLIENTS))
    await asyncio.sleep(rng.uniform(0.0, _LONGEST_S))
    if stop:
        code = await asyncio.to_thread(server.stop)
        # uvicorn ends by the signal that asked it to, once everything is closed.
        if code not in (0, -signal.SIGTERM):
            traffic.ledger.problems.append(f"the service ended with code {code}: {server.report()[-500:]}")
    else:
        server.kill()
    await load


def _saved_differs(folder: Path, rows: Sequence[Row], clean: Fold) -> list[str]:
    try:
        saved = states.load_snapshot(folder, rows)
    except (IndexError, ValueError, OSError) as error:
        return [f"no snapshot was left that can be used ({error})"]
    if saved.seq != clean.seq:
        return [f"the snapshot stands for place {saved.seq} of {clean.seq}"]
    wrong = states.differences(states.arrays_of(saved), states.arrays_of(clean))
    return [f"the served state had another {name}" for name in wrong]
