"""Work in a process of its own: its value, its failures, its cancellation, and what it imports."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairlead.api.service.upkeep import ProcessFailed, run_in_process
from fairlead.api.settings import Settings
from fairlead.api.state import snapshots
from fairlead.api.store import open_store
from tests.api.cli.command_line import plant_traps


def test_a_function_returns_its_value_from_a_process_at_low_priority() -> None:
    async def play() -> tuple[int, int]:
        return await run_in_process(os.getpid), await run_in_process(os.getpriority, os.PRIO_PROCESS, 0)

    pid, priority = asyncio.run(play())
    assert pid != os.getpid()
    assert priority == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)


def test_a_failure_comes_with_its_reason() -> None:
    with pytest.raises(ProcessFailed, match=r"ZeroDivisionError: .*by zero"):
        asyncio.run(run_in_process(divmod, 1, 0))
    with pytest.raises(ProcessFailed, match="killed"):
        asyncio.run(run_in_process(os.abort))


def test_cancelling_kills_the_process_without_waiting_for_it() -> None:
    async def play() -> None:
        task = asyncio.create_task(run_in_process(time.sleep, 3_600))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(play())


PROGRAM = """
import asyncio, os
from fairlead.api.service.upkeep import run_in_process
print(asyncio.run(run_in_process(os.getpid)) != os.getpid())
"""


@pytest.mark.parametrize("start", ["standard input", "a script without a guard"])
def test_the_program_around_the_service_is_not_run_again(start: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    program = "-" if start == "standard input" else str(tmp_path / "program.py")
    result = subprocess.run(
        [sys.executable, program], input=PROGRAM, capture_output=True, text=True, timeout=600, check=False
    )
    assert (result.stdout, result.returncode) == ("True\n", 0), result.stderr


def test_modules_in_the_working_directory_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's own `api`, or a file named like a module of Python, neither runs nor gets in the way."""
    plant_traps(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = Settings(database_url=f"sqlite:///{tmp_path}/log.db", state_dir=tmp_path / "state")
    open_store(settings.database_url).close()
    assert asyncio.run(run_in_process(snapshots.take, settings)).is_dir()
    path = asyncio.run(run_in_process(import_path))
    assert "" not in path
    assert str(tmp_path) not in path
    assert not (tmp_path / "ran").exists()


def import_path() -> list[str]:
    """Return the path from which a process imports."""
    return sys.path
