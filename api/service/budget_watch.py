"""Warnings in the log of the process when a budget raises an alarm."""

from __future__ import annotations

import logging
from typing import Final

from fairlead.api.state.follower import Engine
from fairlead.optimizer.types import BudgetAlarm

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
        accounts = self._accounts()
        counts = {name: sum(raised.values()) for name, (_, raised) in accounts.items()}
        before, self._counts = self._counts, counts
        if before is None:
            return
        for name, (alarms, _) in accounts.items():
            new = counts[name] - before.get(name, 0)
            for alarm in alarms[-new:] if new > 0 else ():
                _LOG.warning("%s: %s", name, alarm.sentence)

    def _accounts(self) -> dict[str, tuple[list[BudgetAlarm], dict[str, int]]]:
        """Return by name the alarms of each budget, and how many there were by level."""
        fold = self._engine.fold
        routes = {
            f"budget of route {name}": (served.router.budget_alarms, served.router.budget_alarm_counts)
            for name, served in fold.routes.items()
        }
        shared = {
            f"budget {name}": (budget.pacer.alarms, budget.pacer.account.raised)
            for name, budget in fold.shared.by_name.items()
        }
        return routes | shared
