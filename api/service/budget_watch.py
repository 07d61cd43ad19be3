"""Warnings in the log of the process when a budget raises an alarm."""

from __future__ import annotations

import logging
from typing import Final

from fairlead.api.state.follower import Engine

_LOG: Final = logging.getLogger("fairlead.budgets")


class BudgetWatch:
    """Looks for alarms that were raised since the last look; those of before the start are old news."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counts: dict[str, int] | None = None

    def check(self) -> None:
        """Log a warning for each new alarm."""
        if not self._engine.ready:
            return
        routers = {name: served.router for name, served in self._engine.fold.routes.items()}
        counts = {name: sum(router.budget_alarm_counts.values()) for name, router in routers.items()}
        before, self._counts = self._counts, counts
        if before is None:
            return
        for name, router in routers.items():
            new = counts[name] - before.get(name, 0)
            for alarm in router.budget_alarms[-new:] if new > 0 else ():
                _LOG.warning("budget of route %s: %s", name, alarm.sentence)
