"""How Python runs in a process that keeps open decisions and writes a log."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def for_serving() -> None:
    """Look for garbage seldom, and hand over between threads soon, from now on.

    Open decisions are hundreds of thousands of objects that stay. To look through all of them as often as
    Python does by itself took a fifth of the time, and stopped everything for up to a tenth of a second.
    And the thread that writes would wait for its turn for up to 5 ms several times in each commit.
    """
    gc.set_threshold(20_000, 50, 10)
    sys.setswitchinterval(0.001)


@contextmanager
def without_collection() -> Iterator[None]:
    """Look for no garbage meanwhile: folding makes millions of objects that stay, and none in circles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def yield_to_others() -> None:
    """Let this thread run only where the others leave the processor idle, as far as the system can do so.

    With as many busy threads as cores, a thread that fits beliefs delayed every answer for as long as it ran.
    """
    if sys.platform == "linux":
        # Of Linux alone: elsewhere the priority is that of the whole process.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
