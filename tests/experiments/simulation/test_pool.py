"""One pool: results in the order of the tasks, progress, errors, and no module of the working directory."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from fairlead.experiments.simulation.pool import LocalPool, ProcessPool, Tick


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
