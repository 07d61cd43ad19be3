"""One pool: results in the order of the tasks, progress, errors, and no module of the working directory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairlead.experiments.simulation.pool import LocalPool, ProcessPool, Tick
from fairlead.experiments.simulation.run import simulate
from fairlead.experiments.simulation.scenario import Settings
from fairlead.experiments.tables.outcome_table import read_outcome_table
from tests.paths import HANGS_S, ROOT


def slow_square(offset: float, value: int) -> float:
    time.sleep(0.2 / (1 + value))  # the first tasks take longest
    return offset + value**2


def count(value: int, *, tick: Tick) -> int:
    tick(value)
    return os.getpid()


def fail(value: int) -> None:
    raise ValueError(f"no {value}")


def folder_on_path(folder: str) -> bool:
    return folder in sys.path or "" in sys.path


def note_process(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(HANGS_S)


def is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    here = "tests.experiments.simulation.test_pool"
    program = f"from {here} import *; ProcessPool(2).map(note_process, [({str(tmp_path)!r},)] * 2)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / '.package'}{os.pathsep}{ROOT}"}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        end = time.monotonic() + HANGS_S / 2
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    while any(map(is_running, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


@pytest.mark.parametrize("pool", [LocalPool(), ProcessPool(2)])
def test_results_keep_the_order_and_progress_adds_up(pool: LocalPool | ProcessPool) -> None:
    ticks: list[int] = []
    results = pool.map(slow_square, [(i,) for i in range(4)], ticks.append, shared=(0.5,))
    assert results == [0.5, 1.5, 4.5, 9.5]
    assert sum(ticks) == 4
    ticks.clear()
    processes = pool.map(count, [(3,), (4,)], ticks.append, reports=True)
    assert sum(ticks) == 7
    assert (os.getpid() in processes) == isinstance(pool, LocalPool)
    with pytest.raises(ValueError, match="no 1"):
        pool.map(fail, [(1,), (1,)])
    assert pool.map(fail, []) == []


def test_the_working_directory_stands_in_for_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("struct", "pickle", "api", "optimizer", "experiments"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a module of the working directory')\n")
    monkeypatch.chdir(tmp_path)
    assert ProcessPool(1).map(folder_on_path, [(str(tmp_path),)]) == [False]
    assert "PYTHONSAFEPATH" not in os.environ


def test_workers_end_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    """DuckDB's module would list what it leaks, once for each worker, below whatever a command prints."""
    table = read_outcome_table(ROOT / "data/synthetic_support.parquet")
    settings = Settings(policies=("uniform",), seeds=2, budget_count=1, supervised=False, features="surface")
    assert len(simulate(table, settings, jobs=2).records) == 2
    assert capfd.readouterr().err == ""
