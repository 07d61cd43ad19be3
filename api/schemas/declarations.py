"""Providers, prices, routes and keys, as an operator declares them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fairlead.api.schemas.base import Label, Note, Pattern, ProviderName, RouteName, Strict, Usd, Word

WillingnessToPay = Annotated[float, Field(ge=1e-9, le=1e9)]
Dial = Annotated[float, Field(ge=0, le=10)]
Source = Literal["human", "judge", "code"]
LatencyWeight = Annotated[float, Field(ge=0, le=1e6)]


def _check_time(name: str, given: datetime | None) -> None:
    if given is None:
        return
    if given.tzinfo is None:
        raise ValueError(f"{name} has no time zone: end it with Z, as in 2026-01-01T00:00:00Z")
    try:
        given.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name} is in no year from 1 to 9999 in UTC: give a nearer one") from None


class ProviderIn(Strict):
    """A choosable model endpoint."""

    name: ProviderName = Field(description="Its name on routes and in answers.")
    capabilities: tuple[Word, ...] = Field(
        default=(), max_length=64, description="What it can do; a request can ask for some of it."
    )
    context_window_tokens: int | None = Field(
        default=None, ge=1, le=10**9, description="Longer requests rule it out; null: not known."
    )
    tags: tuple[Word, ...] = Field(default=(), max_length=64, description="For people; not looked at.")
    paused: bool = Field(
        default=False, description="A paused provider is not chosen, and keeps what was learned."
    )


class PriceIn(Strict):
    """A price list of one provider from a date on. Lists are never changed, only followed by others."""

    provider: ProviderName = Field(description="Whose list it is.")
    input_usd_per_mtok: Usd = Field(description="USD per million input tokens.")
    output_usd_per_mtok: Usd = Field(description="USD per million output tokens, reasoning included.")
    cached_usd_per_mtok: Usd | None = Field(
        default=None, description="USD per million input tokens read from a cache; null: the input price."
    )
    per_call_usd: Usd = Field(default=0.0, description="USD for each call, whatever its length.")
    effective_at: Annotated[datetime, Field(strict=False)] | None = Field(
        default=None, description="From when the list is in force, with a time zone; null: from now on."
    )

    @model_validator(mode="after")
    def _with_zone(self) -> Self:
        _check_time("effective_at", self.effective_at)
        return self


class Worth(Strict):
    """What quality is worth in USD, in one of two ways."""

    willingness_to_pay_usd: WillingnessToPay | None = Field(
        default=None, description="USD that one whole point of quality is worth; null: cost does not count."
    )
    dial: Dial | None = Field(
        default=None,
        description="Instead of it: 0 is cheapest, 10 is best quality, "
        "each step is worth 2.5 times as much, 5 is 0.01 USD per point.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.dial is not None and self.willingness_to_pay_usd is not None:
            raise ValueError("dial and willingness_to_pay_usd say the same twice: give one of them")
        return self


class ObjectiveIn(Worth):
    """How quality, cost and latency are weighed: quality − cost / willingness_to_pay − latency × weight."""

    latency_weight: LatencyWeight = Field(default=0.0, description="Points of quality per second.")


class BudgetIn(Strict):
    """What may be spent: exactly one of both."""

    usd_per_request: Annotated[float, Field(ge=1e-12, le=1e9)] | None = Field(
        default=None, description="USD that a request may cost on average."
    )
    usd_per_day: Annotated[float, Field(ge=1e-12, le=1e9)] | None = Field(
        default=None, description="USD that all requests of a day may cost together."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.usd_per_request is None) == (self.usd_per_day is None):
            raise ValueError("give exactly one of usd_per_request and usd_per_day")
        return self


class ConstraintsIn(Strict):
    """What a choice must satisfy on a route."""

    allow: tuple[Pattern, ...] = Field(
        default=("*",), min_length=1, max_length=100, description="Providers to choose from, by patterns."
    )
    deny: tuple[Pattern, ...] = Field(
        default=(), max_length=100, description="Providers not to choose; wildcards as in openai/*."
    )
    capabilities: tuple[Word, ...] = Field(
        default=(), max_length=64, description="What a provider must be able to do."
    )
    max_cost_usd: Usd | None = Field(default=None, description="Most USD that the call is expected to cost.")
    max_latency_s: Usd | None = Field(
        default=None,
        description="Most seconds that a call may be expected to take; who has no latency yet is ruled out.",
    )
    max_tail_latency_s: Usd | None = Field(
        default=None, description="Most seconds that 95 % of a provider's calls may take."
    )


class MetricIn(Strict):
    """One judgement that counts towards the reward."""

    name: Word = Field(default="quality", description="What feedback names it by.")
    low: Annotated[float, Field(ge=-1e9, le=1e9)] = Field(default=0.0, description="Its lowest value.")
    high: Annotated[float, Field(ge=-1e9, le=1e9)] = Field(default=1.0, description="Its highest value.")
    higher_is_better: bool = Field(default=True, description="Its direction.")
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] = Field(
        default=1.0, description="How much it counts in the reward, against the other metrics."
    )


class FeaturesIn(Strict):
    """What is looked at in a request. Fixed for the life of a route, since it learns on these numbers."""

    surface: bool = Field(default=True, description="Size, characters and signs of the kind of a prompt.")
    task: Annotated[int, Field(ge=0, le=256)] = Field(
        default=16, description="Coordinates of the task label; 0: none."
    )
    attributes: Annotated[int, Field(ge=0, le=256)] = Field(
        default=16, description="Coordinates of the attributes; 0: none."
    )
    embedding: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="Width of the caller's embedding."
    )
    projection: Label | None = Field(
        default=None, description="File of a text projection, made by `fairlead fit-features`."
    )
    vector: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        description="Width of vectors that the caller sends as `features`, in place of all the others.",
    )


class RouteIn(Strict):
    """One decision point of a product: its providers, objective, budget and rules."""

    name: RouteName = Field(description="What decisions name it by.")
    providers: tuple[ProviderName, ...] = Field(
        min_length=1, max_length=200, description="Who may be chosen; they must have been created."
    )
    default_provider: ProviderName | None = Field(
        default=None, description="Answers when routing fails or is paused; null: the first provider."
    )
    objective: ObjectiveIn = Field(
        default=ObjectiveIn(), description="How quality, cost and latency are weighed."
    )
    budget: BudgetIn | None = Field(default=None, description="What may be spent; null: no limit.")
    constraints: ConstraintsIn = Field(default=ConstraintsIn(), description="What every choice must satisfy.")
    metrics: tuple[MetricIn, ...] = Field(
        default=(MetricIn(),), min_length=1, max_length=32, description="What feedback may judge."
    )
    sources: dict[Source, Annotated[float, Field(ge=1e-6, le=1e6)]] = Field(
        default={"human": 1.0, "judge": 1.0, "code": 1.0},
        description="Weight of each source of feedback within a metric; one that is left out weighs 1.",
    )
    features: FeaturesIn = Field(default=FeaturesIn(), description="What is looked at in a request.")
    reward_wait_s: Annotated[float, Field(ge=1, le=1e9)] = Field(
        default=604_800.0, description="Seconds in which feedback on a decision is accepted."
    )
    reward_default: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Quality of a decision without feedback after that time; null: missing."
    )
    max_open_decisions: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        default=50_000, description="Decisions kept open for feedback; beyond it the oldest is closed early."
    )
    newcomer_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.2,
        description="Most of the requests, and of a budget, for getting to know providers added later.",
    )
    exploration_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.002,
        description="Share of the requests, and of a budget, for a floor under every propensity, "
        "so that other policies can be judged from the log; 0: no floor.",
    )
    paused: bool = Field(default=False, description="A paused route answers its default provider.")


Scope = Literal["decide", "feedback", "read", "admin"]


class KeyIn(Strict):
    """What an API key may do."""

    name: Label = Field(description="Whose it is, for people.")
    scopes: tuple[Scope, ...] = Field(
        min_length=1, max_length=4, description="What it may do; admin includes the others."
    )
    routes: tuple[RouteName, ...] | None = Field(
        default=None, max_length=200, description="Routes that it may be used for; null: all."
    )
    sources: tuple[Source, ...] | None = Field(
        default=None, description="Sources that it may send feedback as; null: all."
    )
    expires_at: Annotated[datetime, Field(strict=False)] | None = Field(
        default=None, description="Until when it is valid, with a time zone; null: until it is removed."
    )
    requests_per_s: Annotated[float, Field(ge=1e-6, le=1e6)] | None = Field(
        default=None, description="Most requests a second; null: as the settings say."
    )
    feedback_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description="Most feedback a minute; null: as the settings say."
    )
    note: Note = Field(default="", description="For people.")

    @model_validator(mode="after")
    def _with_zone(self) -> Self:
        _check_time("expires_at", self.expires_at)
        return self
