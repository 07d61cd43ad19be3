"""Weeks of a company's traffic through the real service, with every fault at once.

The same requests are served twice, with and without the faults of `office`; half-way the service restarts
from its snapshot and the application's key is replaced. Judged are quality, spend, recovery, answers, alarms,
and whether the state that was served is that of a rebuild, to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fairlead.api.settings import Settings
from fairlead.api.store import open_store
from tests.trials import states, wire
from tests.trials.operations import verdicts
from tests.trials.operations.arrivals import DAY_S, HOUR_S, MONDAY_S
from tests.trials.operations.life import Keys, Life, make_keys
from tests.trials.operations.office import WEEKS, Plan, offices, settings_of
from tests.trials.operations.result import Progress, Result, joined
from tests.trials.operations.simulated_service import SimulatedClock, SimulatedService, serving
from tests.trials.settings import read_back


def run(seeds: Sequence[int], progress: Progress, plan: Plan = WEEKS) -> Result:
    """Live through the weeks of a plan, for each seed."""
    results = {}
    for seed in seeds:
        faulty, well = (_life(replace(plan, faults=faults), seed, progress) for faults in (True, False))
        results[f"seed {seed}"] = verdicts.judge(faulty, well)
    return next(iter(results.values())) if len(results) == 1 else joined(results)


def _life(plan: Plan, seed: int, progress: Progress) -> verdicts.Lived:
    with TemporaryDirectory(prefix="fairlead-weeks-") as folder:
        return wire.run(_live(plan, seed, Path(folder), progress))


async def _live(plan: Plan, seed: int, folder: Path, progress: Progress) -> verdicts.Lived:
    routes = offices(plan, seed=seed)
    life, clock = Life(routes, plan, seed=seed), SimulatedClock()
    settings = _settings(folder, settings_of(routes))
    half_s, end_s = MONDAY_S + plan.days * DAY_S / 2.0, MONDAY_S + (plan.days + 1) * DAY_S
    problems: list[str] = []
    async with serving(settings, clock) as service:
        keys = await make_keys(service)
        await _days(life, service, keys, until_s=half_s, progress=progress)
        keys = await _replace_key(service, keys, problems)
        before = states.arrays_of(service.service.engine.fold)
    async with serving(settings, clock) as service:
        after = states.arrays_of(service.service.engine.fold)
        problems += [
            f"after the restart the state has another {name}" for name in states.differences(before, after)
        ]
        await _days(life, service, keys, until_s=end_s, progress=progress)
        await life.look(service, keys)
        served = states.arrays_of(service.service.engine.fold)
    store = open_store(settings.database_url)
    try:
        rebuilt = states.arrays_of(states.fold_rows(states.all_rows(store)))
    finally:
        store.close()
    problems += [f"the state of a rebuild has another {name}" for name in states.differences(served, rebuilt)]
    return verdicts.Lived(plan=plan, life=life, problems=problems)


async def _days(
    life: Life, service: SimulatedService, keys: Keys, *, until_s: float, progress: Progress
) -> None:
    while service.clock.now_s < until_s and life.busy:
        day = int((service.clock.now_s - MONDAY_S) // DAY_S)
        progress(f"{life.name}, day {day + 1}")
        stop_s = min(MONDAY_S + (day + 1) * DAY_S, until_s)
        await life.live(service, keys, until_s=stop_s, look_every_s=HOUR_S)
        service.clock.now_s = max(service.clock.now_s, stop_s)


async def _replace_key(service: SimulatedService, keys: Keys, problems: list[str]) -> Keys:
    """Revoke the application's key, and see that it is refused at once; return the keys with a new one."""
    gone = await service.request("DELETE", f"/v1/keys/{keys.app_id}", key=keys.admin)
    refused = await service.request("POST", "/v1/decisions", {"route": "chat", "task": "code"}, key=keys.app)
    if (gone.status, refused.status) != (200, 401):
        problems.append(f"revoking a key answers {gone.status}, and its next request {refused.status}")
    return await make_keys(service, keys.admin)


def _settings(folder: Path, declared: Mapping[str, Any]) -> Settings:
    content = {
        "database_url": f"sqlite:///{folder}/log.db",
        "state_dir": str(folder / "state"),
        # Weeks pass in minutes: what is limited or repeated by the clock on the wall is out of proportion.
        "requests_per_s": 1e6,
        "feedback_per_minute": 10**9,
        "snapshot_every_s": 1e6,
        "log_level": "error",
        **declared,
    }
    return read_back(content, folder)
