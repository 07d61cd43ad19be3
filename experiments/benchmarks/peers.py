"""Hands the same features to the peers, each in a process of another interpreter, and reads their choices."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from fairlead.experiments.benchmarks.tables import PEER, Options
from fairlead.experiments.benchmarks.task import Task
from fairlead.experiments.simulation.records import Record, measure
from fairlead.experiments.simulation.scenario import Settings, goals
from fairlead.experiments.simulation.stream import Stream, make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.experiments.tables.price_list import price_list

_SCRIPT: Final = Path(__file__).with_name("peer_process.py")
_ABSENT: Final = (
    "The peers are left out: no interpreter has them. Run `make peers`, or name one in FAIRLEAD_PEERS_PYTHON."
)
_TYPICAL_TOKENS: Final = 1_000.0
_TIMEOUT_S: Final = 3_600.0
_ONE_THREAD: Final = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def play_paretobandit(
    options: Options, table: OutcomeTable, settings: Settings
) -> tuple[list[Record], list[str]]:
    """ParetoBandit on the same streams and budgets, and notes; no records where it is not installed."""
    if options.peers is None:
        return [], [_ABSENT]
    python = options.peers
    wanted = goals(table, settings)
    budgets = [goal.budget_usd or 0.0 for goal in wanted]

    def play_stream(seed: int) -> tuple[list[Record], list[str]]:
        stream = make_stream(table, settings, seed)
        answer = ask(python, _SCRIPT, "paced", arrays=_stream_arrays(table, stream, budgets))
        played = answer.get(PEER, {}).get("chosen", [])
        records = [
            measure(
                table, settings, stream, policy=PEER, goal=goal, columns=np.asarray(chosen, dtype=np.intp)
            )
            for goal, chosen in zip(wanted, played, strict=bool(played))
        ]
        return records, list(answer.get("notes", []))

    with ThreadPoolExecutor(max(options.jobs, 1)) as pool:
        results = list(pool.map(play_stream, settings.seed_list))
    notes = sorted({note for _, some in results for note in some})
    return [record for records, _ in results for record in records], notes


def play_tasks(
    options: Options, task: Task, seed: int
) -> tuple[dict[str, tuple[list[int], float]], list[str]]:
    """Every peer on the synthetic task: its choices and the median microseconds of its decision."""
    if options.peers is None:
        return {}, [_ABSENT]
    arrays = {"features": task.features, "observed": task.observed, "seed": np.array(seed)}
    answer = ask(options.peers, _SCRIPT, "task", arrays=arrays)
    notes = list(answer.pop("notes", []))
    return {name: (results["chosen"], results["decide_p50_us"]) for name, results in answer.items()}, notes


def _stream_arrays(table: OutcomeTable, stream: Stream, budgets: Sequence[float]) -> dict[str, Any]:
    prices = price_list(table)
    rates = []
    for name in table.providers:
        price = prices[name]
        # Per million tokens; a price per call at a typical length.
        rate = (price.usd_per_call or 0.0) * 1e6 / _TYPICAL_TOKENS
        by_tokens = (price.usd_per_million_input, price.usd_per_million_output)
        rates.append([(by_token or 0.0) + rate for by_token in by_tokens])
    segments = {f"features_{i}": segment.features for i, segment in enumerate(stream.segments)}
    return {
        **segments,
        "stops": np.array([segment.stop for segment in stream.segments]),
        "quality": stream.quality,
        "cost_usd": stream.cost_usd,
        "budgets_usd": np.array(budgets),
        "names": np.array(table.providers),
        "rates": np.array(rates),
        "seed": np.array(stream.seed),
    }


def ask(python: Path, script: Path, mode: str, *, arrays: dict[str, Any]) -> dict[str, Any]:
    """Run the script on the arrays; one thread, and nothing of this package on its path."""
    with tempfile.TemporaryDirectory() as folder:
        input_path, answer = Path(folder) / "given.npz", Path(folder) / "answer.json"
        np.savez(input_path, **arrays)
        command = [str(python), "-P", str(script), mode, str(input_path), str(answer)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=os.environ | _ONE_THREAD,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return {"notes": [f"The peers' process failed ({reason}): run `make peers` again."]}
        content: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return content
