"""Events that arrive before their decision, and the ids of decisions that take no more events."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Generic, TypeVar

MAX_REMEMBERED_IDS: Final = 100_000

T = TypeVar("T")


class PendingEvents(Generic[T]):
    """Parks events until their decision opens, and remembers which decisions are closed.

    At most ``limit`` events wait, each for at most ``wait_s`` seconds on the clock of the log. Beyond that,
    the decision that has been waited for longest is given up with all its events. Of closed decisions and of
    those given up, the latest `MAX_REMEMBERED_IDS` ids are remembered. An event may be anything that has a
    hash; one that is equal to an event that waits already is not parked again.
    """

    def __init__(self, *, limit: int, wait_s: float = math.inf) -> None:
        self.limit, self.wait_s = limit, wait_s
        self._groups: OrderedDict[str, tuple[float, dict[T, None]]] = OrderedDict()
        # OrderedDicts, because the first of a dict is found only after all that was removed before it.
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._given_up: OrderedDict[str, None] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for _, events in self._groups.values():
            yield from events

    def groups(self) -> Iterator[tuple[str, list[T]]]:
        """Yield each decision that is waited for, longest first, with the events that wait for it."""
        return ((decision_id, list(events)) for decision_id, (_, events) in self._groups.items())

    def waiting(self, decision_id: str) -> Collection[T]:
        """Return the events that wait for a decision, in the order of their arrival."""
        group = self._groups.get(decision_id)
        return () if group is None else group[1].keys()

    def park(self, decision_id: str, event: T, *, at_s: float = 0.0) -> None:
        """Let an event wait for its decision; call `expire` afterwards to keep the limits."""
        group = self._groups.get(decision_id)
        if group is None:
            group = self._groups[decision_id] = (at_s, {})
        if event not in group[1]:
            group[1][event] = None
            self._count += 1

    def join(self, decision_id: str) -> Collection[T]:
        """Remove and return the events that waited for a decision, in the order of their arrival."""
        group = self._groups.pop(decision_id, None)
        if group is None:
            return ()
        self._count -= len(group[1])
        return group[1]

    def expire(self, now_s: float = 0.0) -> list[T]:
        """Give up decisions until the limits are kept; returns the events that waited for them."""
        expired: list[T] = []
        while self._groups:
            decision_id, (since_s, _) = next(iter(self._groups.items()))
            if self._count <= self.limit and now_s - since_s <= self.wait_s:
                break
            expired += self.join(decision_id)
            _remember(self._given_up, decision_id)
        return expired

    def close(self, decision_id: str) -> None:
        """Remember that a decision takes no more events; drop those that wait for it."""
        self.join(decision_id)
        _remember(self._closed, decision_id)

    def is_closed(self, decision_id: str) -> bool:
        """Whether the decision was closed, as far as that is remembered."""
        return decision_id in self._closed

    def is_given_up(self, decision_id: str) -> bool:
        """Whether events waited for the decision in vain, as far as that is remembered."""
        return decision_id in self._given_up

    @property
    def closed(self) -> list[str]:
        """Ids of closed decisions, the longest closed first."""
        return list(self._closed)

    @property
    def given_up(self) -> list[str]:
        """Ids of decisions given up, the longest ago first."""
        return list(self._given_up)

    def remember(self, *, closed: Iterable[str], given_up: Iterable[str] = ()) -> None:
        """Restore the ids that `closed` and `given_up` gave."""
        self._closed, self._given_up = OrderedDict.fromkeys(closed), OrderedDict.fromkeys(given_up)


def _remember(ids: OrderedDict[str, None], decision_id: str) -> None:
    ids[decision_id] = None
    if len(ids) > MAX_REMEMBERED_IDS:
        ids.popitem(last=False)
