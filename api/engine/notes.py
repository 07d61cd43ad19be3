"""What is kept with an event of the log and looked at by the fold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec


class OfDecision(msgspec.Struct):
    """Of all that is kept with a decision."""

    session_id: str | None = None
    explored: bool = False


_OF_DECISION: Final = msgspec.json.Decoder(OfDecision)


def of_decision(extra: str) -> OfDecision:
    """What the fold looks at of what was kept with a decision."""
    return _OF_DECISION.decode(extra)


@lru_cache(maxsize=256)
def of_event(extra: str) -> Mapping[str, Any]:
    """What was kept with an outcome or a judgement: of most it is the same text."""
    found: dict[str, Any] = json.loads(extra)
    return found
