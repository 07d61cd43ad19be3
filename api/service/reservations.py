"""Reservations: what decisions are expected to cost until the account of a hard budget has booked them.

A decision is booked once it is in the log and folded, some milliseconds after it was made. Decisions made
meanwhile, such as the others of a batch, would each see the whole rest of the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from fairlead.optimizer.types import Decision

MOST_S: Final = 600.0
"""Seconds after which a reservation lapses, in case that the decision never gets into the log."""

SWEEP_S: Final = 1.0
"""Seconds between two looks at all reservations; otherwise the oldest alone are looked at."""


class Reservations:
    """Expected cost in USD of decisions that were made in this process and are in no account yet.

    ``is_booked`` says of a route and the id of a decision whether the account has booked it.
    """

    def __init__(self, is_booked: Callable[[str, str], bool]) -> None:
        self._is_booked = is_booked
        self._by_route: dict[str, dict[str, tuple[float, float]]] = {}
        """Expected cost and time of the decisions of each route, in the order in which they were made."""
        self._usd: dict[str, float] = {}
        self._swept_s = -math.inf

    def add(self, decision: Decision) -> None:
        """Reserve what a decision is expected to cost."""
        self.drop(decision)
        name, usd = decision.route, decision.expected_usd
        self._by_route.setdefault(name, {})[decision.id] = usd, decision.at_s or 0.0
        self._usd[name] = self._usd.get(name, 0.0) + usd

    def drop(self, decision: Decision) -> None:
        """Release a reservation, if there is one: the decision will not be logged."""
        if decision.id in self._by_route.get(decision.route, {}):
            self._remove(decision.route, decision.id)

    def usd(self, at_s: float) -> Mapping[str, float]:
        """Return what is reserved at a time, by route; nothing for routes without reservations."""
        must_sweep = not 0.0 <= at_s - self._swept_s < SWEEP_S
        self._swept_s = at_s if must_sweep else self._swept_s
        for route, entries in list(self._by_route.items()):
            while entries and self._is_over(route, next(iter(entries)), at_s):
                self._remove(route, next(iter(entries)))
            # They are booked nearly in order: what lies behind one that was never logged is found later.
            for name in [name for name in entries if self._is_over(route, name, at_s)] if must_sweep else ():
                self._remove(route, name)
        return self._usd

    def _is_over(self, route: str, name: str, at_s: float) -> bool:
        return abs(at_s - self._by_route[route][name][1]) > MOST_S or self._is_booked(route, name)

    def _remove(self, route: str, name: str) -> None:
        usd, _ = self._by_route[route].pop(name)
        self._usd[route] -= usd
        if not self._by_route[route]:
            del self._by_route[route], self._usd[route]
