"""Warnings in the log of the process when the texts of a route are not read."""

from __future__ import annotations

import logging
from typing import Final

from fairlead.api.state.follower import Engine
from fairlead.api.state.text_key import text_problem

_LOG: Final = logging.getLogger("fairlead.text")


class TextWatch:
    """Warns once of each route whose texts were hashed with another key than that of the process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._warned: dict[str, str] = {}

    def check(self) -> None:
        """Log a warning for each problem that is new."""
        counter = self._engine.term_counter
        if not self._engine.ready or counter is None:
            return
        problems = {
            name: problem
            for name, served in self._engine.fold.routes.items()
            if (problem := text_problem(served, counter)) is not None
        }
        for name, problem in sorted(problems.items()):
            if self._warned.get(name) != problem:
                _LOG.warning("route %s: its texts are not read: %s", name, problem)
        self._warned = problems
