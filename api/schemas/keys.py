"""API keys: what they allow, and the answer with a new secret."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fairlead.api.schemas.base import Answer, Label, Note, RouteName, Strict
from fairlead.api.schemas.declarations import Source, check_time

Scope = Literal["decide", "outcome", "feedback", "read", "admin"]


class KeyIn(Strict):
    """What an API key allows."""

    name: Label = Field(description="Name of the key, or of its owner.", examples=["checkout service"])
    scopes: tuple[Scope, ...] = Field(
        min_length=1,
        max_length=5,
        description="What the key allows; admin includes the others.",
        examples=[["decide", "outcome", "feedback"]],
    )
    routes: tuple[RouteName, ...] | None = Field(
        default=None,
        max_length=200,
        description="Routes that the key gives access to; null: all.",
        examples=[["support-chat"]],
    )
    tenant: RouteName | None = Field(
        default=None,
        description="Keys of one tenant share their ids of decisions and sessions; null: those that are "
        "limited to the same routes do, and those without limits.",
        examples=["support-team"],
    )
    sources: tuple[Source, ...] | None = Field(
        default=None, description="Sources that the key may send feedback as; null: all.", examples=[["code"]]
    )
    expires_at: Annotated[datetime, Field(strict=False)] | None = Field(
        default=None,
        description="When the key expires, with a time zone; null: never.",
        examples=["2027-01-01T00:00:00Z"],
    )
    requests_per_s: Annotated[float, Field(ge=1e-6, le=1e6)] | None = Field(
        default=None, description="Limit of requests per second; null: as in the settings.", examples=[50.0]
    )
    feedback_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description="Limit of feedback events per minute; null: as in the settings."
    )
    outcomes_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description="Limit of outcomes per minute; null: as in the settings."
    )
    note: Note = Field(default="", description="Free text.")

    @model_validator(mode="after")
    def _with_zone(self) -> Self:
        check_time("expires_at", self.expires_at)
        return self


class RotateIn(Strict):
    """How a key gets a new secret."""

    overlap_s: Annotated[int, Field(ge=0, le=604_800)] = Field(
        default=3_600, description="Seconds for which the old secret stays valid.", examples=[3_600]
    )


class KeyOut(KeyIn):
    """A key without its secret, of which only a digest is stored."""

    id: str = Field(examples=["5d2f9c0e1a7b"])


class KeyMadeOut(Answer):
    """A new secret. It cannot be shown again."""

    id: str = Field(examples=["5d2f9c0e1a7b"])
    key: str = Field(
        description="Send it as Authorization: Bearer KEY. It cannot be read again.",
        examples=["flk_5d2f9c0e1a7b.SECRET"],
    )
    seq: int = Field(examples=[12])
