"""What is answered about the configuration, the state and the health of the service."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.schemas.base import Answer
from api.schemas.config import KeyIn, PriceIn, ProviderIn, RouteIn


class ProviderOut(ProviderIn):
    """A provider, and the id of the price list in force."""

    price_id: str | None
    routes: list[str] = Field(description="Routes that it is on.")


class PriceOut(PriceIn):
    """A price list, and whether it is in force now."""

    id: str
    effective_from: str
    in_force: bool


class RouteOut(RouteIn):
    """A route, and how wide its features are."""

    feature_width: int = Field(description="Numbers that a decision's `features` must have.")


class KeyOut(KeyIn):
    """A key without its secret, of which only a digest is kept."""

    id: str


class KeyMadeOut(Answer):
    """A new secret. It is shown this once."""

    id: str
    key: str = Field(description="Send it as Authorization: Bearer KEY. It cannot be read again.")
    seq: int


class ChangeOut(Answer):
    """What a change did, or with preview what it would do."""

    preview: bool
    seq: int | None = Field(description="Its place in the log; null for a preview.")
    entity: str
    id: str
    routes: list[str] = Field(description="Routes that it concerns.")
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ProviderListOut(Answer):
    """A page of providers."""

    items: list[ProviderOut]
    next_cursor: str | None


class PriceListOut(Answer):
    """A page of price lists."""

    items: list[PriceOut]
    next_cursor: str | None


class RouteListOut(Answer):
    """A page of routes."""

    items: list[RouteOut]
    next_cursor: str | None


class KeyListOut(Answer):
    """A page of keys."""

    items: list[KeyOut]
    next_cursor: str | None


class AuditOut(Answer):
    """One change of the configuration: who, when, what."""

    seq: int
    at: str
    by: str | None = Field(description="Id of the key; file, clock or command; null: nobody's, without keys.")
    entity: str
    id: str
    action: str
    body: dict[str, Any] | None


class AuditListOut(Answer):
    """A page of changes, the latest first."""

    items: list[AuditOut]
    next_cursor: str | None


class TaskOut(Answer):
    """What is believed of each provider for the mean request of a task."""

    decisions: int
    providers: dict[str, dict[str, float | None]]


class RouteStateOut(Answer):
    """What a route has learned."""

    route: str
    ready: bool
    broken: str | None
    seq: int = Field(description="Place in the log up to which it has learned.")
    age_s: float = Field(description="Seconds since this is known to have been all that the log held.")
    decisions: int
    fallbacks: int
    explored: int
    open_decisions: int
    spent_usd: float = Field(description="Money spent, as far as outcomes said.")
    trust: dict[str, float] = Field(description="Weight of each source of context.")
    shadow_price: float
    budget_usd_per_request: float | None
    budget_spent_usd: float = Field(description="Money booked under the present budget.")
    newcomer_share: float
    providers: dict[str, dict[str, float | int | bool | None]]
    tasks: dict[str, TaskOut]
    alarms: list[dict[str, Any]] = Field(description="Providers found to have changed, the latest last.")


class LiveOut(Answer):
    """The process answers."""

    status: str


class ReadyOut(Answer):
    """Whether decisions come from the learned state, and how old that is."""

    ready: bool
    progress: float = Field(description="Share of the log that is folded, from 0 to 1.")
    seq: int
    age_s: float
    writing: bool = Field(description="Whether the last commit succeeded.")
    problem: str | None
