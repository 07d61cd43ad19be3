"""`python -m fairlead.experiments.benchmarks.replay_scale`: a large log, and a sweep on workers.

memory   writes a log of ROWS decisions, replays it in a process of its own, and prints its peak memory
sweep    replays one log for many goals on one dask worker and on two, and prints the ratio of the times
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import distributed
import numpy as np

from fairlead.experiments.files import bundled_path, sql_text
from fairlead.experiments.logs.log import open_log
from fairlead.experiments.logs.source import bounded
from fairlead.experiments.logs.write import write_log
from fairlead.experiments.replay import export
from fairlead.experiments.replay.run import learn_target, replay
from fairlead.experiments.replay.settings import ReplayJob, ReplaySettings
from fairlead.experiments.simulation.pool import DaskPool
from fairlead.experiments.simulation.run import simulated_lines
from fairlead.experiments.simulation.scenario import Goal, Settings
from fairlead.experiments.tables.outcome_table import read_outcome_table
from fairlead.experiments.targets.base import goals_of, target_specs

_PATTERNS: Final = 256
_LIMIT_GIB: Final = 2.0
_LIMIT_RATIO: Final = 0.6


def write_large_log(path: Path, *, rows: int, providers: int) -> None:
    """Write a Parquet log of a known world.

    Provider j of k has quality 0.2 + 0.6 j / k and costs 10^(−4 + 2 j / k) USD.
    Propensities are one of 256 distributions, and everything else follows from hashes of the row's number.
    """
    rng = np.random.default_rng(0)
    shares = 0.5 / providers + 0.5 * rng.dirichlet(np.ones(providers), size=_PATTERNS)
    shares /= shares.sum(axis=1, keepdims=True)
    names = [f"maker/model-{j:02d}" for j in range(providers)]
    uniform = "(hash(i * 8 + {0})::DOUBLE / 18446744073709551616.0)".format
    with bounded(path.parent) as connection:
        patterns, sums = _sql(shares), _sql(np.cumsum(shares, axis=1)[:, :-1])
        listed = "[" + ", ".join(f"'{name}'" for name in names) + "]"
        query = f"""
            SELECT 'd' || i AS decision_id,
                TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_milliseconds(i * 100) AS decided_at,
                'large' AS route, {{'task': 't' || (i % 5)}} AS context, {listed} AS providers,
                ({patterns})[which] AS propensities, ({listed})[1 + j] AS provider,
                ({uniform(2)} < 0.2 + 0.6 * j / {providers})::INTEGER::DOUBLE AS reward,
                pow(10, -4 + 2.0 * j / {providers}) * (0.5 + {uniform(3)}) AS cost_usd
            FROM (SELECT *, len(list_filter(({sums})[which], lambda edge: edge <= {uniform(1)})) AS j
                  FROM (SELECT range AS i, 1 + (range % {_PATTERNS}) AS which FROM range({rows})))
        """
        connection.execute(f"COPY ({query}) TO {sql_text(path)} (FORMAT parquet, COMPRESSION zstd)")


def _sql(matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return "[" + ", ".join(f"[{', '.join(map(repr, row))}]" for row in matrix.tolist()) + "]"


def memory(rows: int, providers: int, folder: Path) -> bool:
    """Replay a large log in a process of its own; return whether its peak stayed below 2 GiB."""
    path = folder / "large.parquet"
    started = time.perf_counter()
    write_large_log(path, rows=rows, providers=providers)
    wrote = time.perf_counter() - started
    targets = ["--target", "uniform", "--target", f"fixed:maker/model-{providers - 1:02d}"]
    settings = ["--wtp", "0.01", "--by", "task", "--resamples", "0", "--model", "mean"]
    settings += ["--estimators", "ips,snips,dr,sndr"]
    # -P: nothing of the working directory may stand in for what is imported.
    command = [sys.executable, "-P", "-c", "from fairlead.api.cli.main import main; main()", "replay"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, str(path), *targets, *settings])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took, peak = time.perf_counter() - started, usage.ru_maxrss / 2**20
    print(
        f"{rows:,} decisions × {providers} providers ({path.stat().st_size / 1e9:.2f} GB of Parquet, written "
        f"in {wrote:.0f} s): replayed in {took:.0f} s, processor {usage.ru_utime:.1f} s, peak memory "
        f"{peak:.2f} GiB (limit {_LIMIT_GIB:g})"
    )
    return process.returncode == 0 and peak < _LIMIT_GIB


def sweep(points: int, folder: Path) -> bool:
    """Replay targets at many goals on one worker and on two; return whether two take .6 of the time."""
    table = read_outcome_table(bundled_path("synthetic_support.parquet"))
    settings = Settings(wtp_usd=(0.02,), features="surface", task_labels=True)
    path, goal = folder / "log.parquet", Goal(wtp_usd=0.02)
    write_log(path, simulated_lines(table, settings, policy="epsilon-greedy:0.3", goal=goal, seed=0))
    with open_log(path, part_rows=750) as log:
        goals = goals_of(log, wtp_usd=None, budget_usd=None, frontier=points)
        specs = target_specs(["default", "greedy"], goals, feedback_delay=0)
        job = ReplayJob(log=log, settings=ReplaySettings(targets=tuple(specs), resamples=0, model="mean"))
        (wall, busy, text), (wall_of_two, busy_of_two, text_of_two) = (_sweep_on(n, job) for n in (1, 2))
    ratio = busy_of_two / busy
    print(
        f"{len(specs)} policies × {len(table):,} decisions: one worker {wall:.1f} s, two {wall_of_two:.1f} "
        f"(ratio {wall_of_two / wall:.2f}); processor seconds of driver and busiest worker, which load does "
        f"not change: {busy:.1f} and {busy_of_two:.1f} (ratio {ratio:.2f}, limit {_LIMIT_RATIO:g}); results "
        f"{'identical' if text == text_of_two else 'DIFFER'}"
    )
    return text == text_of_two and ratio <= _LIMIT_RATIO


def _sweep_on(workers: int, job: ReplayJob) -> tuple[float, float, str]:
    """Replay on so many workers: seconds, processor seconds of driver and busiest worker, and the result."""
    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        pool = DaskPool(client)
        # Workers import and compile once; a sweep of hours does not notice, one of seconds would.
        pool.map(learn_target, [(job, 0)] * (2 * workers))
        before, started, own = client.run(time.process_time), time.perf_counter(), time.process_time()
        text = export.json_text(replay(job.log, job.settings, pool))
        wall, own = time.perf_counter() - started, time.process_time() - own
        after = client.run(time.process_time)
        return wall, own + max(after[name] - before[name] for name in before), text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two; return 1 if its limit was missed."""
    parser = argparse.ArgumentParser(
        prog="python -m fairlead.experiments.benchmarks.replay_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["memory", "sweep"])
    parser.add_argument("--rows", type=int, default=10_000_000, metavar="N")
    parser.add_argument("--providers", type=int, default=20, metavar="K")
    parser.add_argument("--points", type=int, default=8, metavar="N", help="goals of the sweep")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fairlead-") as folder:
        if options.what == "memory":
            return int(not memory(options.rows, options.providers, Path(folder)))
        return int(not sweep(options.points, Path(folder)))


if __name__ == "__main__":
    raise SystemExit(main())
