"""An outcome table played through the service, over HTTP, beside the same table played by `simulate`.

A route is created with nothing but its providers, their price lists and a budget, and is asked one prompt
after another. What it earns must be what docs/benchmarks.md publishes.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np

from fairlead.api.app import create_app
from fairlead.api.service.service import Service
from fairlead.experiments.simulation.records import measure
from fairlead.experiments.simulation.run import simulate
from fairlead.experiments.simulation.scenario import Goal, Settings, goals
from fairlead.experiments.simulation.stream import Stream, make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable, read_outcome_table
from fairlead.experiments.tables.price_list import price_list
from tests.paths import HANGS_S
from tests.trials import settings as trial

ROUTE = "table"
MOST_BEHIND = 12
"""Events that the route may have still to learn when the next prompt comes: those of four."""


@dataclass
class Served:
    """Second-half lift by budget and seed, served and simulated, and how long decisions took."""

    table: str = ""
    served: list[list[float]] = field(default_factory=list)
    """By seed, then by budget."""
    simulated: list[list[float]] = field(default_factory=list)
    served_mean: float = 0.0
    simulated_mean: float = 0.0
    fits: int = 0
    decide_p99_ms: float = 0.0
    decide_p99_while_fitting_ms: float = 0.0
    """Over decisions during which features of texts were being learned, or everything encoded anew."""
    while_fitting: int = 0
    problems: list[str] = field(default_factory=list)


def served_table(
    folder: Path,
    path: Path,
    *,
    seeds: int,
    budgets: int,
    first_seed: int = 0,
    rate: float | None = None,
    providers: tuple[str, ...] | None = None,
    most: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Served:
    """Play a table for each seed and budget; with ``rate``, so many decisions per second.

    With ``most``, only so many of its prompts, the first.
    """
    table = read_outcome_table(path, providers=providers, distinct_prompts=True)
    table = table.take(np.arange(len(table))[:most])
    settings = Settings(seeds=seeds, first_seed=first_seed, supervised=False)
    some = goals(table, settings)[:budgets]
    budgets_usd = tuple(goal.budget_usd or 0.0 for goal in some)
    settings = replace(settings, budgets_usd=budgets_usd)
    result = Served(table=path.stem)
    times: list[tuple[float, bool]] = []
    for seed in settings.seed_list:
        # The features of this stream are not looked at: the service computes its own.
        stream = make_stream(table, replace(settings, features="surface"), seed)
        lifts = []
        for i, goal in enumerate(some):
            work = _play(table, stream, goal, folder / f"{seed}-{i}", rate=rate, result=result, times=times)
            columns = asyncio.run(work)
            record = measure(table, settings, stream, policy="served", goal=goal, columns=columns)
            lifts.append(float(record.values["lift_second_half"] or 0.0))
            progress(f"seed {seed}, budget {goal}: second-half lift {lifts[-1]:.4f}")
        result.served.append(lifts)
    for seed in settings.seed_list:
        own = replace(settings, seeds=1, first_seed=seed)
        records = simulate(table, own).records
        result.simulated.append([float(record.values["lift_second_half"] or 0.0) for record in records])
    result.served_mean = float(np.mean(result.served))
    result.simulated_mean = float(np.mean(result.simulated))
    result.decide_p99_ms, _ = _p99_ms(times, fitting=False)
    result.decide_p99_while_fitting_ms, result.while_fitting = _p99_ms(times, fitting=True)
    if not result.fits:
        result.problems.append("no features of texts were learned")
    return result


def _p99_ms(times: list[tuple[float, bool]], *, fitting: bool) -> tuple[float, int]:
    some = [seconds for seconds, was_fitting in times if was_fitting is fitting]
    if len(some) < 2:
        return 0.0, len(some)
    return 1e3 * statistics.quantiles(some, n=100)[98], len(some)


def _content(table: OutcomeTable, goal: Goal, folder: Path) -> dict[str, Any]:
    prices = []
    for name, price in price_list(table).items():
        if price.usd_per_call is None:
            list_of = {
                "input_usd_per_mtok": price.usd_per_million_input,
                "output_usd_per_mtok": price.usd_per_million_output,
            }
        else:
            list_of = {
                "input_usd_per_mtok": 0.0,
                "output_usd_per_mtok": 0.0,
                "per_call_usd": price.usd_per_call,
            }
        prices.append({"provider": name, **list_of})
    return {
        "database_url": f"sqlite:///{folder.absolute()}/log.db",
        "state_dir": str(folder.absolute() / "state"),
        "poll_s": 0.2,
        "durability": "relaxed",
        "requests_per_s": 1_000_000.0,
        "providers": [{"name": name} for name in table.providers],
        "prices": prices,
        "routes": [
            {
                "name": ROUTE,
                "providers": list(table.providers),
                "budget": {"usd_per_request": goal.budget_usd},
            }
        ],
    }


async def _play(
    table: OutcomeTable,
    stream: Stream,
    goal: Goal,
    folder: Path,
    *,
    rate: float | None,
    result: Served,
    times: list[tuple[float, bool]],
) -> np.ndarray[Any, np.dtype[np.intp]]:
    service = Service(trial.read_back(_content(table, goal, folder), folder))
    app = create_app(service.settings, service=service)
    await service.start()
    await service.engine.wait_until_ready(seconds=60.0)
    columns = []
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        began = perf_counter()
        for step, row in enumerate(stream.rows.tolist()):
            if rate is not None:
                await asyncio.sleep(max(began + step / rate - perf_counter(), 0.0))
            while rate is None and service.engine.lag > MOST_BEHIND:
                await asyncio.sleep(0.005)  # without a pause, prompts come faster than in any traffic
            router = service.engine.fold.routes[ROUTE].router
            fitting = router.text.is_due or router.must_reencode
            body = {"route": ROUTE, "prompt": table.prompts[row]}
            started = perf_counter()
            decision = (await client.post("/v1/decisions", json=body)).raise_for_status().json()
            times.append((perf_counter() - started, fitting))
            column = table.providers.index(decision["selected"])
            columns.append(column)
            await _report(client, decision["id"], table, stream, (step, row, column))
    text = service.engine.fold.routes[ROUTE].router.text
    while text.is_due and perf_counter() - began < HANGS_S:
        await asyncio.sleep(0.1)  # a fit that is late is a fit
    result.fits += text.fits
    await service.stop()
    return np.array(columns, dtype=np.intp)


async def _report(
    client: httpx.AsyncClient,
    decision_id: str,
    table: OutcomeTable,
    stream: Stream,
    at: tuple[int, int, int],
) -> None:
    """Report what a call cost and took, and how good its answer was."""
    step, row, column = at
    outcome: dict[str, Any] = {"cost_usd": float(stream.cost_usd[step, column])}
    tokens = table.input_tokens[row, column], table.output_tokens[row, column]
    if np.isfinite(tokens).all():
        outcome["usage"] = {"input_tokens": round(tokens[0]), "output_tokens": round(tokens[1])}
    if np.isfinite(latency := table.latency_s[row, column]):
        outcome["latency_s"] = float(latency)
    (await client.post(f"/v1/decisions/{decision_id}/outcome", json=outcome)).raise_for_status()
    feedback = {"decision_id": decision_id, "value": float(stream.quality[step, column])}
    (await client.post("/v1/feedback", json=feedback)).raise_for_status()
