"""How Python runs in a process that keeps open decisions and writes a log."""

from __future__ import annotations

import gc
import sys


def for_serving() -> None:
    """Look for garbage seldom, and hand over between threads soon, from now on.

    Open decisions are hundreds of thousands of objects that stay. To look through all of them as often as
    Python does by itself took a fifth of the time, and stopped everything for up to a tenth of a second.
    And the thread that writes would wait for its turn for up to 5 ms several times in each commit.
    """
    gc.set_threshold(20_000, 50, 10)
    sys.setswitchinterval(0.0005)
