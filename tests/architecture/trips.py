"""Record which files a trip through the code visits, and count how often it changes file and room.

A *room* is a top-level file or folder of a package: `optimizer/router`, `optimizer/selection`, `api/http`. A
trip visits a file when one of its functions is called or resumed; a return to the caller is no visit. Only
our own packages count: what the standard library or a dependency does in between is no visit.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from types import FrameType
from typing import Final

PACKAGES: Final = ("optimizer", "api", "experiments")

Locate = Callable[[str], str | None]
"""From the file name of a code object to the path below the repository; None for code of others."""


def locate_installed(file_name: str) -> str | None:
    """Return `optimizer/router.py` for the file of `fairlead.optimizer.router`."""
    _, separator, path = file_name.replace("\\", "/").rpartition("/fairlead/")
    return path if separator and path.startswith(tuple(f"{name}/" for name in PACKAGES)) else None


def room_of(path: str) -> str:
    """Return `optimizer/selection` for `optimizer/selection/pacer.py`."""
    package, _, rest = path.partition("/")
    return f"{package}/{rest.partition('/')[0].removesuffix('.py')}"


@dataclass(frozen=True, kw_only=True)
class Trip:
    """The files that one trip visited in each thread, in the order of the visits."""

    visits: tuple[tuple[str, ...], ...]

    def without_store_threads(self) -> Trip:
        """Leave out the threads that begin in the store: they work for many requests at once."""
        return Trip(visits=tuple(line for line in self.visits if room_of(line[0]) != "api/store"))

    @property
    def files(self) -> int:
        """Number of distinct files."""
        return len({path for thread in self.visits for path in thread})

    @property
    def file_changes(self) -> int:
        """How often the next visit is to another file; a change of thread counts as one."""
        return _changes(self._line())

    @property
    def returns(self) -> int:
        """How many changes of file lead to a file that was left before."""
        return self.file_changes - max(self.files - 1, 0)

    @property
    def rooms(self) -> int:
        """Number of distinct rooms."""
        return len(set(self._rooms()))

    @property
    def room_changes(self) -> int:
        """How often the next visit is to another room."""
        return _changes(self._rooms())

    @property
    def passages(self) -> int:
        """Number of distinct ordered pairs of rooms between which the trip changes."""
        return len({pair for pair in pairwise(self._rooms()) if pair[0] != pair[1]})

    def _line(self) -> list[str]:
        return [path for thread in self.visits for path in thread]

    def _rooms(self) -> list[str]:
        return [room_of(path) for path in self._line()]


def _changes(line: list[str]) -> int:
    return sum(before != after for before, after in pairwise(line))


class Recorder:
    """Record the visits of every thread that starts while it is installed."""

    def __init__(self, locate: Locate = locate_installed) -> None:
        self._locate = locate
        self._paths: dict[str, str | None] = {}
        self._visits: dict[int, list[str]] | None = None

    @contextmanager
    def installed(self, *, own_thread: bool = True) -> Iterator[Recorder]:
        """Set the profile function of threads that start meanwhile; if ``own_thread``, of this one too."""
        threading.setprofile(self._on_event)
        if own_thread:
            sys.setprofile(self._on_event)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]

    def start(self) -> None:
        """Begin a trip."""
        self._visits = {}

    def stop(self) -> Trip:
        """End the trip and return it."""
        visits, self._visits = self._visits or {}, None
        return Trip(visits=tuple(tuple(line) for line in visits.values()))

    def _on_event(self, frame: FrameType, event: str, _argument: object) -> None:
        visits = self._visits
        if visits is None or event != "call":
            return
        name = frame.f_code.co_filename
        if name not in self._paths:
            self._paths[name] = self._locate(name)
        path = self._paths[name]
        if path is not None:
            visits.setdefault(threading.get_ident(), []).append(path)
