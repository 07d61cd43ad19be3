"""Warnings in the log of the process when a provider has changed."""

from __future__ import annotations

import logging
from typing import Final

from fairlead.api.state.follower import Engine

_LOG: Final = logging.getLogger("fairlead.drift")


class DriftWatch:
    """Warns of each drift alarm that was raised since the last look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counts: dict[str, int] | None = None
        """None before the first look: alarms of before are old news."""

    def check(self) -> None:
        """Log a warning for each new alarm."""
        if not self._engine.ready:
            return
        alarms = {name: served.router.alarms for name, served in self._engine.fold.routes.items()}
        before, self._counts = self._counts, {name: len(raised) for name, raised in alarms.items()}
        if before is None:
            return
        for route, raised in sorted(alarms.items()):
            for alarm in raised[before.get(route, 0) :]:
                _LOG.warning("route %s: %s", route, alarm.sentence)
