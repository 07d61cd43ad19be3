"""How often a process that keeps open decisions looks for garbage."""

from __future__ import annotations

import gc


def seldom_collect() -> None:
    """Look for garbage seldom from now on.

    Open decisions are hundreds of thousands of objects that stay. To look through all of them as often as
    Python does by itself took a fifth of the time, and stopped everything for up to a tenth of a second.
    """
    gc.set_threshold(20_000, 50, 10)
