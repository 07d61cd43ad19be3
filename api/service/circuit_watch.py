"""Warnings in the log of the process when the circuit of a provider changes."""

from __future__ import annotations

import logging
from typing import Final

from fairlead.api.state.follower import Engine

_LOG: Final = logging.getLogger("fairlead.circuits")


class CircuitWatch:
    """Warns of each circuit that is another than at the last look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[tuple[str, str], str] | None = None
        """None before the first look: circuits that were open then are old news."""

    def check(self) -> None:
        """Log a warning for each circuit that has changed."""
        if not self._engine.ready:
            return
        now: dict[tuple[str, str], str] = {
            (route, provider.name): circuits[provider.name].state if provider.name in circuits else "closed"
            for route, served in self._engine.fold.routes.items()
            for circuits in [served.router.circuits]
            for provider in served.router.route.providers
        }
        before, self._seen = self._seen, now
        if before is None:
            return
        for (route, provider), state in sorted(now.items()):
            if state != before.get((route, provider), "closed"):
                _LOG.warning("route %s: the circuit of %s is %s", route, provider, state.replace("_", " "))
