"""Providers, prices and routes, as an operator declares them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fairlead.api.schemas.base import Label, Pattern, ProviderName, RouteName, Strict, Usd, Word
from fairlead.optimizer.types.budget import Budget, Window

WillingnessToPay = Annotated[float, Field(ge=1e-9, le=1e9)]
Dial = Annotated[float, Field(ge=0, le=10)]
Source = Literal["human", "judge", "code"]
BudgetUsd = Annotated[float, Field(le=1e9)]
LatencyWeight = Annotated[float, Field(ge=0, le=1e6)]


def check_time(name: str, time: datetime | None) -> None:
    """Raise `ValueError` for a time without a zone, or one that UTC has no year for."""
    if time is None:
        return
    if time.tzinfo is None:
        raise ValueError(f"{name} has no time zone: end it with Z, as in 2026-01-01T00:00:00Z")
    try:
        time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name} lies outside the years 1 to 9999 in UTC: give a nearer one") from None


class ProviderIn(Strict):
    """A choosable model endpoint."""

    name: ProviderName = Field(
        description="Its name on routes and in answers.", examples=["openai/gpt-5-mini"]
    )
    capabilities: tuple[Word, ...] = Field(
        default=(),
        max_length=64,
        description="What it can do; a request can require some of these.",
        examples=[["tools", "vision"]],
    )
    context_window_tokens: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Longest request that it accepts; null: unknown.",
        examples=[400_000],
    )
    tags: tuple[Word, ...] = Field(
        default=(), max_length=64, description="Your own labels; not used.", examples=[["eu"]]
    )
    paused: bool = Field(
        default=False,
        description="A paused provider is not chosen, but keeps its learned state.",
        examples=[False],
    )


class PriceIn(Strict):
    """The prices of one provider from a date on. A list never changes; a later one replaces it."""

    provider: ProviderName = Field(
        description="The provider that it belongs to.", examples=["openai/gpt-5-mini"]
    )
    input_usd_per_mtok: Usd = Field(description="USD per million input tokens.", examples=[0.25])
    output_usd_per_mtok: Usd = Field(
        description="USD per million output tokens, including reasoning.", examples=[2.0]
    )
    cached_usd_per_mtok: Usd | None = Field(
        default=None,
        description="USD per million input tokens read from a cache; null: the input price.",
        examples=[0.025],
    )
    per_call_usd: Usd = Field(
        default=0.0, description="USD for each call, whatever its length.", examples=[0.0]
    )
    effective_at: Annotated[datetime, Field(strict=False)] | None = Field(
        default=None,
        description=(
            "When the list comes into force, with a time zone; null: now. Of the lists whose time has come "
            "the one with the latest date applies, and of one date the one declared last."
        ),
        examples=["2026-04-01T00:00:00Z"],
    )

    @model_validator(mode="after")
    def _with_zone(self) -> Self:
        check_time("effective_at", self.effective_at)
        return self

    def effective_from_s(self, now_s: float) -> float:
        """When the list comes into force, in seconds since 1970: ``now_s`` unless it has a date."""
        return now_s if self.effective_at is None else self.effective_at.timestamp()


class Worth(Strict):
    """The worth of quality in USD, in one of two forms."""

    willingness_to_pay_usd: WillingnessToPay | None = Field(
        default=None, description="USD that one whole point of quality is worth; null: cost does not count."
    )
    dial: Dial | None = Field(
        default=None,
        description=(
            "Instead of willingness_to_pay_usd: 0 is cheapest, 10 is best quality, each step is worth "
            "2.5 times as much, 5 is 0.01 USD per point."
        ),
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.dial is not None and self.willingness_to_pay_usd is not None:
            raise ValueError("dial and willingness_to_pay_usd set the same thing: give only one of them")
        return self

    @property
    def worth_usd(self) -> float | None:
        """USD that a point of quality is worth; None: cost does not count, as with a dial of 10."""
        if self.dial is None:
            return self.willingness_to_pay_usd
        return None if self.dial == 10 else 10.0 ** (-4.0 + 0.4 * self.dial)


class ObjectiveIn(Worth):
    """The weights in utility = quality − cost / willingness_to_pay − latency × weight."""

    latency_weight: LatencyWeight = Field(default=0.0, description="Points of quality per second.")


class BudgetIn(Strict):
    """A spending limit, in exactly one of three forms: usd_per_request, usd_per_day, or usd with a window."""

    usd_per_request: BudgetUsd | None = Field(
        default=None, description="USD that a request may cost on average."
    )
    usd_per_day: BudgetUsd | None = Field(
        default=None, description="USD that all requests of a day may cost together."
    )
    usd: BudgetUsd | None = Field(default=None, description="USD for each period of the window.")
    window: Window | None = Field(
        default=None, description="The period that usd is for: day, week or calendar_month."
    )
    time_zone: Annotated[str, Field(min_length=1, max_length=60)] = Field(
        default="UTC", description="IANA name of the zone whose clock the periods follow."
    )
    start_hour: Annotated[int, Field(ge=0, le=23)] = Field(
        default=0, description="Local hour at which a period begins."
    )
    start_day: Annotated[int, Field(ge=1, le=28)] = Field(
        default=1, description="ISO weekday (1: Monday) on which a week begins, or day on which a month does."
    )
    hard: bool = Field(
        default=False,
        description=(
            "Whether no provider may serve whose expected cost does not fit what is left of the period; "
            "false: at the limit the cheapest goes on."
        ),
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        # One set of rules: those of the optimizer, whose errors say what to do.
        Budget(**self.model_dump(include=set(BudgetIn.model_fields)))
        return self


class ConstraintsIn(Strict):
    """Rules that every choice on a route must satisfy."""

    allow: tuple[Pattern, ...] = Field(
        default=("*",), min_length=1, max_length=100, description="Providers to choose from, by patterns."
    )
    deny: tuple[Pattern, ...] = Field(
        default=(), max_length=100, description="Providers to exclude, by name or pattern, such as openai/*."
    )
    capabilities: tuple[Word, ...] = Field(
        default=(), max_length=64, description="Capabilities that a provider must have."
    )
    max_cost_usd: Usd | None = Field(default=None, description="Highest expected cost of the call, in USD.")
    max_latency_s: Usd | None = Field(
        default=None, description="Longest expected duration of a call in seconds, on average."
    )
    max_tail_latency_s: Usd | None = Field(
        default=None, description="Seconds within which 95 % of a provider's calls must end."
    )
    strict: bool = Field(
        default=False,
        description=(
            "Whether the limits above must be met: 422 if no provider is known to meet them, as on a new "
            "route. Otherwise a provider that is not serves a few requests, or all if there is no other."
        ),
    )


class MetricIn(Strict):
    """One measure that feedback reports and that counts towards the reward."""

    name: Word = Field(default="quality", description="Its name in feedback.")
    low: Annotated[float, Field(ge=-1e9, le=1e9)] = Field(default=0.0, description="Its lowest value.")
    high: Annotated[float, Field(ge=-1e9, le=1e9)] = Field(default=1.0, description="Its highest value.")
    higher_is_better: bool = Field(default=True, description="Its direction.")
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] = Field(
        default=1.0, description="Its weight in the reward, relative to the other metrics."
    )


class FeaturesIn(Strict):
    """The features of a request. Fixed for the life of a route, since it learns from these numbers."""

    surface: bool = Field(default=True, description="Size and characters of a prompt, and signs of its kind.")
    text: bool = Field(
        default=True,
        description=(
            "32 directions in which texts of the route differ most, learned from its own requests; with "
            "`surface` only, and not beside a `projection`."
        ),
    )
    task: Annotated[int, Field(ge=0, le=256)] = Field(
        default=16, description="Coordinates of the task label; 0: none."
    )
    attributes: Annotated[int, Field(ge=0, le=256)] = Field(
        default=16, description="Coordinates of the attributes; 0: none."
    )
    embedding: Annotated[int, Field(ge=1, le=3072)] | None = Field(
        default=None, description="Width of the client's embedding; beyond 192 it is sketched."
    )
    projection: Label | None = Field(
        default=None, description="File of a text projection from `fairlead fit-features`."
    )
    vector: Annotated[int, Field(ge=1, le=3072)] | None = Field(
        default=None,
        description=(
            "Width of the vectors that the client sends as `features`, instead of all others; beyond 192 "
            "they are sketched."
        ),
    )


class RouteIn(Strict):
    """One decision point of a product: its providers, objective, budget and rules."""

    name: RouteName = Field(description="Its name in requests for decisions.", examples=["support-chat"])
    providers: tuple[ProviderName, ...] = Field(
        min_length=1,
        max_length=200,
        description="Providers to choose from; they must have been created.",
        examples=[["small", "large"]],
    )
    default_provider: ProviderName | None = Field(
        default=None,
        description="The answer if routing fails or is paused; null: the first provider.",
        examples=["large"],
    )
    objective: ObjectiveIn = Field(
        default=ObjectiveIn(),
        description="How quality, cost and latency are weighed.",
        examples=[{"willingness_to_pay_usd": 0.01, "latency_weight": 0.02}],
    )
    budget: BudgetIn | None = Field(
        default=None, description="Spending limit; null: none.", examples=[{"usd_per_request": 0.002}]
    )
    constraints: ConstraintsIn = Field(
        default=ConstraintsIn(),
        description="Rules that every choice must satisfy.",
        examples=[{"deny": ["*-preview"], "max_latency_s": 20.0}],
    )
    metrics: tuple[MetricIn, ...] = Field(
        default=(MetricIn(),),
        min_length=1,
        max_length=32,
        description="Metrics that feedback may report.",
        examples=[[{"name": "solved", "weight": 2.0}, {"name": "stars", "low": 1.0, "high": 5.0}]],
    )
    sources: dict[Source, Annotated[float, Field(ge=1e-6, le=1e6)]] = Field(
        default={"human": 1.0, "judge": 1.0, "code": 1.0},
        description="Weight of each source of feedback within a metric; a missing one weighs 1.",
        examples=[{"human": 3.0, "judge": 1.0, "code": 1.0}],
    )
    features: FeaturesIn = Field(default=FeaturesIn(), description="The features of a request.")
    reward_wait_s: Annotated[float, Field(ge=1, le=1e9)] = Field(
        default=604_800.0,
        description="Seconds for which feedback on a decision is accepted.",
        examples=[86_400.0],
    )
    reward_default: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Quality of a decision without feedback after that time; null: missing.",
        examples=[0.0],
    )
    max_open_decisions: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        default=50_000,
        description="Maximum number of decisions open for feedback; beyond it the oldest is closed early.",
    )
    newcomer_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.2,
        description="Largest share of requests, and of a budget, for exploring providers added later.",
    )
    exploration_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.002,
        description=(
            "Share of requests, and of a budget, for a floor under every propensity, so that other policies "
            "can be evaluated from the log; 0: no floor."
        ),
    )
    paused: bool = Field(default=False, description="A paused route answers with its default provider.")
    tags: tuple[Word, ...] = Field(
        default=(),
        max_length=64,
        description="Your own labels; a shared budget may be of all routes with one of them.",
        examples=[["support"]],
    )
