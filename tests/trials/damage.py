"""Damaged snapshots: bits flip, files end early, files of another snapshot slip in; all must be noticed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

from fairlead.api.state import snapshots
from fairlead.api.state.fold import Fold
from fairlead.api.store import Store, open_store
from tests.trials import states
from tests.trials.logs import write_log
from tests.trials.settings import read_back, settings

KINDS: Final = ("bit", "cut", "bit", "cut", "missing", "foreign")


@dataclass
class Damaged:
    """How many damages were done, noticed, and answered with the state of the log."""

    damages: int = 0
    detected: int = 0
    rebuilt: int = 0
    rounds: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def damaged_snapshots(
    folder: Path,
    *,
    times: int,
    seed: int,
    rounds: int = 150,
    progress: Callable[[Damaged], None] = lambda r: None,
) -> Damaged:
    """Damage a copy of the latest snapshot ``times`` times, each differently, and start from it."""
    started = perf_counter()
    rng, result = random.Random(seed), Damaged(rounds=rounds)
    service_settings = read_back(settings(folder), folder)
    store = open_store(service_settings.database_url)
    try:
        fold = write_log(store, service_settings, rounds=rounds, seed=seed)
        log, clean = snapshots.log_fingerprint(store, fold.seq), states.arrays_of(fold)
        older = states.fold_rows(states.all_rows(store)[: fold.seq // 2])
        foreign = snapshots.save(older, folder / "foreign", log=log)
        whole = snapshots.save(fold, folder / "whole", log=log)
        if states.differences(states.arrays_of(_loaded(whole, log)), clean):
            result.problems.append("a snapshot that is whole gives another state")
        for i in range(times):
            state = folder / "state"
            shutil.rmtree(state, ignore_errors=True)
            shutil.copytree(whole, state / whole.name)
            what = damage(state / whole.name, KINDS[i % len(KINDS)], foreign=foreign, rng=rng)
            _start_from(state, what, store=store, log=log, clean=clean, result=result)
            progress(result)
    finally:
        store.close()
    result.seconds = perf_counter() - started
    return result


def _loaded(path: Path, log: str) -> Fold:
    return snapshots.load(path, states.new_fold, log=log)


def _start_from(
    state: Path, what: str, *, store: Store, log: str, clean: dict[str, states.Array], result: Damaged
) -> None:
    result.damages += 1
    try:
        _loaded(snapshots.paths(state)[0], log)
        result.problems.append(f"not noticed: {what}")
    except Exception:
        # Of any kind: the start below must survive it.
        result.detected += 1
    try:
        wrong = states.differences(states.arrays_of(states.rebuild_state(state, store)), clean)
    except Exception as error:
        result.problems.append(f"the start failed with {type(error).__name__}: {what}")
        return
    result.rebuilt += not wrong
    result.problems += [f"after {what} the state has another {name}" for name in wrong[:3]]


def damage(snapshot: Path, kind: str, *, foreign: Path, rng: random.Random) -> str:
    """Damage one file of a snapshot; returns what was done."""
    path = rng.choice(sorted(snapshot.iterdir()))
    content = bytearray(path.read_bytes())
    if kind == "bit":
        index, bit = rng.randrange(len(content)), rng.randrange(8)
        content[index] ^= 1 << bit
        path.write_bytes(content)
        return f"bit {bit} of byte {index} of {path.name} flipped"
    if kind == "cut":
        length = rng.randrange(len(content))
        path.write_bytes(content[:length])
        return f"{path.name} cut to {length} of {len(content)} bytes"
    if kind == "missing":
        path.unlink()
        return f"{path.name} is missing"
    path.write_bytes((foreign / path.name).read_bytes())
    return f"{path.name} is that of an older snapshot"
