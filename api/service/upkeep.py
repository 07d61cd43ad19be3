"""What keeps the log and the next start small: snapshots, and the removal of old events.

Both are folded by a process of their own, at a low priority, so that nobody who asks waits for them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from fairlead.api.state import snapshots
from fairlead.api.store import StoreUnavailable, retention

if TYPE_CHECKING:
    from fairlead.api.service.service import Service

_LOG = logging.getLogger("fairlead.upkeep")
_DAY_S: Final = 86_400.0
MANY: Final = 10_000
"""Events that take about half a second to fold."""

_LEAST_REMOVED: Final = 1_000
"""Events for which it is worth while to make another base."""


async def take_snapshots(service: Service) -> None:
    """Save a snapshot now and then, until cancelled; the first at once where `MANY` events were folded.

    Who took long to begin is not to take as long again, should it die before the next snapshot.
    """
    saved = 0
    every_s = service.settings.snapshot_every_s
    while not service.engine.ready:
        await asyncio.sleep(min(every_s, 0.1))
    wait_s = every_s if service.engine.rebuilt < MANY else 0.0
    while True:
        await asyncio.sleep(wait_s)
        wait_s = every_s
        seq = service.engine.fold.seq
        if service.engine.ready and seq != saved and await _fold(service):
            saved = seq


async def remove_old_events(service: Service, *, least: int = _LEAST_REMOVED) -> None:
    """Remove what is older than is to be kept, now and then, until cancelled."""
    while True:
        await asyncio.sleep(service.settings.snapshot_every_s)
        try:
            if service.engine.ready:
                await remove_once(service, least=least)
        except (StoreUnavailable, OSError, ValueError) as error:
            _LOG.warning("no events were removed (%s)", type(error).__name__)


async def remove_once(service: Service, *, least: int = _LEAST_REMOVED) -> int:
    """Make a base of what is older than is to be kept, and remove what it stands for; how many went."""
    days = service.settings.retention_days
    assert days is not None
    oldest_s = service.clock() - days * _DAY_S
    until = await service.in_thread(retention.last_before, service.store, oldest_s)
    base = await service.in_thread(retention.base_seq, service.store)
    if until - base >= least:
        with TemporaryDirectory(prefix="fairlead-base-") as folder:
            if not await _fold(service, "--until", str(until), "--base", folder):
                return 0
            (path,) = snapshots.paths(Path(folder))
            files = {file.name: file.read_bytes() for file in path.iterdir()}
            rows = json.loads((Path(folder) / "rollups.json").read_text(encoding="utf-8"))
        if await service.writer.run(retention.keep_base, service.store, int(path.name), files, rows):
            base = int(path.name)
    removed = 0
    while base and (some := await service.writer.run(retention.remove_some, service.store, base)):
        removed += some
    if removed:
        _LOG.info("removed %d events up to place %d; a base stands for them", removed, base)
    return removed


async def _fold(service: Service, *arguments: str) -> bool:
    settings = service.settings
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")},
        "FAIRLEAD_CONFIG": os.devnull,
        "FAIRLEAD_DATABASE_URL": settings.database_url,
        "FAIRLEAD_STATE_DIR": str(settings.state_dir),
        "FAIRLEAD_PARKED_WAIT_S": repr(settings.parked_wait_s),
        "FAIRLEAD_PARKED_LIMIT": str(settings.parked_limit),
    }
    command = [sys.executable, "-c", "from fairlead.api.cli.main import main; main()", "snapshot", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if code != 0:
        _LOG.warning("no snapshot was saved: `fairlead snapshot` ended with code %s", code)
    return code == 0
