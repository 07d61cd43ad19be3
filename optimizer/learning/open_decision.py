"""One decision and what is in force for it, and what an event changed about that."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fairlead.optimizer.types.events import Feedback, FloatArray, Outcome


class Opening(Protocol):
    """The part of a decision that the ledger keeps; a `Decision` has it, and so has an `Entry`."""

    @property
    def id(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def selected(self) -> str: ...
    @property
    def features(self) -> FloatArray: ...


class Entry:
    """One decision and what is in force for it. Only the ledger writes to it.

    ``quality`` is the reward in [0, 1], None until something was reported. ``provider`` is who
    learning credits: the one that served, and until an outcome says so the selected one.
    """

    __slots__ = ("_feedback", "features", "id", "outcome", "provider", "quality", "selected", "seq")

    def __init__(self, id: str, seq: int, selected: str, features: FloatArray) -> None:
        self.id = id
        self.seq = seq
        self.selected = selected
        self.features = features
        self.provider = selected
        self.quality: float | None = None
        self.outcome: Outcome | None = None
        self._feedback: dict[tuple[str, str], tuple[Feedback, float | None]] | None = None

    @property
    def feedback(self) -> tuple[Feedback, ...]:
        """The feedback in force, one per metric and source, in the order of their names."""
        kept = self._feedback or {}
        return tuple(kept[key][0] for key in sorted(kept))


class Change(NamedTuple):
    """What an event changed: take the old contribution of the entry out, and put the new one in."""

    entry: Entry
    old_quality: float | None
    new_quality: float | None
    old_outcome: Outcome | None
    new_outcome: Outcome | None
    old_provider: str
    new_provider: str
