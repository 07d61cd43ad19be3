"""How long it takes to rebuild the state from a long log, and whether it is the same to the last bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

from fairlead.api.state import snapshots
from fairlead.api.store import open_store
from tests.trials import states
from tests.trials.logs import write_log
from tests.trials.settings import read_back, settings


@dataclass
class Rebuilt:
    """Seconds of rebuilding, in processor time and by the clock."""

    rounds: int = 0
    write_s: float = 0.0
    rebuild_cpu_s: float = 0.0
    rebuild_wall_s: float = 0.0
    cpu_s_per_million: float = 0.0
    snapshot_s: float = 0.0
    """Seconds by the clock of a start from a whole snapshot."""
    log_bytes_per_round: float = 0.0
    problems: list[str] = field(default_factory=list)


def rebuild(
    folder: Path,
    *,
    rounds: int,
    seed: int,
    open_decisions: int = 50_000,
    url: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Rebuilt:
    """Write a log of ``rounds`` rounds, fold it from nothing, and start from a snapshot of it."""
    content = settings(folder, url)
    content["routes"][0]["max_open_decisions"] = open_decisions
    service_settings, result = read_back(content, folder), Rebuilt(rounds=rounds)
    store = open_store(service_settings.database_url)
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    try:
        started = perf_counter()
        served = write_log(store, service_settings, rounds=rounds, seed=seed, progress=progress)
        result.write_s = perf_counter() - started
        wall, cpu = perf_counter(), process_time()
        again = states.rebuild_state(state, store)
        result.rebuild_wall_s, result.rebuild_cpu_s = perf_counter() - wall, process_time() - cpu
        result.cpu_s_per_million = result.rebuild_cpu_s * 1e6 / rounds
        expected = states.arrays_of(served)
        wrong = states.differences(states.arrays_of(again), expected)
        result.problems += [f"the rebuilt state has another {name}" for name in wrong]
        snapshots.save(again, state, log=snapshots.log_fingerprint(store, again.seq))
        wall = perf_counter()
        loaded = states.rebuild_state(state, store)
        result.snapshot_s = perf_counter() - wall
        wrong = states.differences(states.arrays_of(loaded), expected)
        result.problems += [f"the state from the snapshot has another {name}" for name in wrong]
    finally:
        store.close()
    if url is None:
        result.log_bytes_per_round = (folder / "log.db").stat().st_size / rounds
    return result
