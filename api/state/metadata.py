"""The metadata of an event: what the service keeps beside its line, in the column ``extra`` of the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec


class DecisionMetadata(msgspec.Struct):
    """The part of a decision's metadata that the fold needs."""

    session_id: str | None = None
    explored: bool = False


class ReportMetadata(msgspec.Struct):
    """The part of the metadata of an outcome or feedback that the fold needs."""

    key: str | None = None
    """Id of the key that sent it; None if there were no keys yet."""
    routes: tuple[str, ...] | None = None
    """The routes that the key may report on; None for all of them."""
    session_id: str | None = None


decode_decision_metadata: Final = msgspec.json.Decoder(DecisionMetadata).decode
"""Read the metadata of a decision."""

decode_report_metadata: Final = msgspec.json.Decoder(ReportMetadata).decode
"""Read the metadata of an outcome or feedback."""

_ENCODER: Final = msgspec.json.Encoder()


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    """Encode metadata as the log keeps it, leaving out values that are None."""
    return _ENCODER.encode({name: value for name, value in metadata.items() if value is not None}).decode()
