"""Answers about the configuration: what is declared, what a change does, and the audit trail."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from fairlead.api.schemas.base import Answer
from fairlead.api.schemas.declarations import PriceIn, ProviderIn, RouteIn

_BEFORE: Final = {
    "name": "openai/gpt-5-mini",
    "capabilities": [],
    "context_window_tokens": 400_000,
    "tags": ["eu"],
    "paused": False,
}
_AFTER: Final = {**_BEFORE, "paused": True}


class ProviderOut(ProviderIn):
    """A provider, and the id of the price list in force."""

    price_id: str | None = Field(examples=["price_9d1c"])
    routes: list[str] = Field(description="Routes that the provider is on.", examples=[["support-chat"]])


class PriceOut(PriceIn):
    """A price list, and whether it is in force now."""

    id: str = Field(examples=["price_9d1c"])
    effective_from: str = Field(examples=["2026-04-01T00:00:00.000000Z"])
    in_force: bool = Field(examples=[False])


class RouteOut(RouteIn):
    """A route, and the width of its features."""

    feature_width: int = Field(description="Number of values that `features` must have.", examples=[60])


class ChangeOut(Answer):
    """The effect of a change, or for a preview the effect that it would have."""

    preview: bool = Field(examples=[False])
    seq: int | None = Field(description="Its position in the log; null for a preview.", examples=[12])
    entity: str = Field(examples=["provider"])
    id: str = Field(examples=["openai/gpt-5-mini"])
    routes: list[str] = Field(description="Routes that the change affects.", examples=[["support-chat"]])
    before: dict[str, Any] | None = Field(examples=[_BEFORE])
    after: dict[str, Any] | None = Field(examples=[_AFTER])


class AuditOut(Answer):
    """One change of the configuration: what, when, and by which key."""

    seq: int = Field(examples=[12])
    at: str = Field(examples=["2026-03-02T09:30:00.000000Z"])
    by: str | None = Field(
        description="Id of the key; or file, clock or command; null: there were no keys yet.",
        examples=["5d2f9c0e1a7b"],
    )
    entity: str = Field(examples=["provider"])
    id: str = Field(examples=["openai/gpt-5-mini"])
    action: str = Field(examples=["put"])
    body: dict[str, Any] | None = Field(examples=[_AFTER])
