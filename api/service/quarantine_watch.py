"""Warnings in the log of the process when outcomes of a new kind cannot be right."""

from __future__ import annotations

import logging
from typing import Final

from fairlead.api.state.follower import Engine
from fairlead.optimizer.types import ImplausibleOutcome

_LOG: Final = logging.getLogger("fairlead.quarantine")


class QuarantineWatch:
    """Warns once of each kind of outcome in quarantine, by route, provider, quantity and likely error."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: set[tuple[str, str, str, str]] | None = None
        """None before the first look: what was in quarantine then is old news."""

    def check(self) -> None:
        """Log a warning for each new kind."""
        if not self._engine.ready:
            return
        doubts = [
            (route, doubt)
            for route, served in self._engine.fold.routes.items()
            for doubt in served.router.quarantine
        ]
        kinds = {(route, *doubt.kind) for route, doubt in doubts}
        before, self._seen = self._seen, (self._seen or set()) | kinds
        if before is None:
            return
        for route, doubt in doubts:
            if (route, *doubt.kind) not in before:
                _LOG.warning("route %s: %s", route, sentence(doubt))


def sentence(doubt: ImplausibleOutcome) -> str:
    """Say what is in doubt; the size of it, and nothing else that a client sent."""
    ratio = doubt.value / doubt.expected if doubt.expected > 0 else float("inf")
    why = f" ({doubt.likely_error})" if doubt.likely_error else ""
    if doubt.quantity == "prices":
        return f"calls of {doubt.provider} cost {ratio:.2g} times what its price list says{why}"
    return (
        f"a {doubt.quantity} of {doubt.provider} is {ratio:.0e} times what was expected{why}: it is in "
        "quarantine until others confirm it"
    )
