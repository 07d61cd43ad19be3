"""What is kept with an event of the log beside its line: how it is written, and what is read of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec


class OfDecision(msgspec.Struct):
    """Of all that is kept with a decision."""

    session_id: str | None = None
    explored: bool = False


class OfEvent(msgspec.Struct):
    """Of all that is kept with an outcome or a judgement."""

    key: str | None = None
    """Id of the key that sent it; None while there were none."""
    routes: tuple[str, ...] | None = None
    """Patterns of the routes that the key may speak of; None: of all."""
    session_id: str | None = None


_WRITER: Final = msgspec.json.Encoder()
_OF_DECISION: Final = msgspec.json.Decoder(OfDecision)
_OF_EVENT: Final = msgspec.json.Decoder(OfEvent)


def written(notes: Mapping[str, Any]) -> str:
    """Notes as they are kept; what is None is left out."""
    return _WRITER.encode({name: value for name, value in notes.items() if value is not None}).decode()


def of_decision(extra: str) -> OfDecision:
    """What was kept with a decision."""
    return _OF_DECISION.decode(extra)


def of_event(extra: str) -> OfEvent:
    """What was kept with an outcome or a judgement."""
    return _OF_EVENT.decode(extra)
