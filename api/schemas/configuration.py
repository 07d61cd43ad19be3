"""What is answered about the configuration, the state and the health of the service."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fairlead.api.schemas.base import Answer
from fairlead.api.schemas.declarations import KeyIn, PriceIn, ProviderIn, RouteIn


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


class BeliefOut(Answer):
    """What is believed of a provider for the mean request of a route; null where nothing is known."""

    quality: float = Field(description="Expected quality; a call that fails has none.")
    quality_sd: float = Field(description="How unsure that is: its standard deviation.")
    cost_usd: float | None = Field(description="Expected USD of a call with 100 input tokens.")
    latency_s: float | None = Field(description="Mean seconds of a call.")
    tail_latency_s: float | None = Field(description="Seconds that 95 % of its calls stay below.")
    failure: float = Field(description="Share of calls that fail.")
    feedback: int = Field(description="Decisions that it served and that were judged.")
    floor: float = Field(description="Least propensity that it has at present.")
    newcomer: bool = Field(description="Whether it was added later and its share is capped.")


class TaskBeliefOut(Answer):
    """What is believed of a provider for the mean request of a task."""

    propensity: float = Field(description="With what probability it would be drawn.")
    quality: float | None
    quality_sd: float | None
    cost_usd: float | None


class TaskOut(Answer):
    """What is believed of each provider for the mean request of a task."""

    decisions: int
    providers: dict[str, TaskBeliefOut]


class AlarmOut(Answer):
    """A provider was found to have changed; what was seen of it before counts for little since."""

    provider: str = Field(description="Who changed.")
    quantity: str = Field(description="What changed; quality alone is watched.")
    since_order: int = Field(description="The decision from which on it is taken to have changed.")
    at_order: int = Field(description="The decision whose feedback told.")
    before: float = Field(description="Mean until then.")
    after: float = Field(description="Mean since then.")


class RouteStateOut(Answer):
    """What a route has learned."""

    route: str
    ready: bool = Field(description="False while the state is being rebuilt.")
    broken: str | None = Field(description="Why the default provider answers for good; null: it does not.")
    seq: int = Field(description="Place in the log up to which it has learned.")
    age_s: float = Field(description="Seconds since this is known to have been all that the log held.")
    decisions: int
    fallbacks: int = Field(description="Decisions that the default provider answered.")
    explored: int = Field(description="Decisions for another provider than the best expected.")
    open_decisions: int = Field(description="Decisions that something may still come of.")
    spent_usd: float = Field(description="Money spent, as far as outcomes said.")
    trust: dict[str, float] = Field(
        description="Weight of each source of context: none (no context), task, attributes, surface, or all; "
        "after the @ how strongly it is held to 0, and pooled with a part common to all providers."
    )
    shadow_price: float = Field(description="Quality that one USD must bring at present.")
    budget_usd_per_request: float | None = Field(description="What a request may cost now; null: no budget.")
    budget_spent_usd: float = Field(description="Money booked under the present budget.")
    newcomer_share: float = Field(description="Quota of requests for providers added later.")
    providers: dict[str, BeliefOut]
    tasks: dict[str, TaskOut] = Field(description="By task label, of the first 64 labels.")
    alarms: list[AlarmOut] = Field(description="Providers found to have changed, the latest last.")


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
