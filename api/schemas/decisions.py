"""A decision as it is asked for and answered."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from api.schemas.base import (
    Answer,
    Id,
    Label,
    Pattern,
    RouteName,
    Seconds,
    Strict,
    Tokens,
    Usd,
    Word,
    _no_nul,
)
from api.schemas.config import ObjectiveIn

MOST_PATTERNS: Final = 500
"""Patterns of one batch in `candidates` and `constraints.ignore`; one that is repeated counts once."""

Prompt = Annotated[str, StringConstraints(max_length=50_000_000)]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]


class TextPart(Strict):
    """A part of a message; only text is looked at."""

    type: Label
    text: Prompt | None = None


class Message(Strict):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Prompt | Annotated[tuple[TextPart, ...], Field(max_length=1_000)]


class RequestConstraints(Strict):
    """What this choice must satisfy, on top of the route's own rules."""

    max_cost_usd: Usd | None = None
    max_latency_s: Seconds | None = None
    capabilities: tuple[Word, ...] = Field(default=(), max_length=64)
    ignore: tuple[Pattern, ...] = Field(
        default=(), max_length=100, description="Providers not to choose; wildcards as in openai/*."
    )


class DecisionIn(Strict):
    """Which provider shall serve this request?"""

    route: RouteName = Field(examples=["quickstart"])
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=10_000)] | None = None
    prompt: Prompt | None = Field(default=None, examples=["Where is my parcel?"])
    features: Annotated[tuple[Number, ...], Field(max_length=4_096)] | None = Field(
        default=None, description="The features themselves, of the width that the route states."
    )
    embedding: Annotated[tuple[Number, ...], Field(max_length=4_096)] | None = None
    task: Label | None = Field(default=None, examples=["shipping"])
    attributes: dict[
        Word, Annotated[str, StringConstraints(max_length=200), AfterValidator(_no_nul)] | bool | Number
    ] = Field(default_factory=dict, max_length=64, examples=[{"tier": "gold"}])
    input_tokens: Tokens | None = Field(default=None, description="Length of the request; null: estimated.")
    tags: dict[Word, Label] = Field(
        default_factory=dict, max_length=32, description="Kept with the decision, not looked at."
    )
    session_id: Id | None = None
    candidates: Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Choose among these only; wildcards as in openai/*."
    )
    constraints: RequestConstraints | None = None
    objective: ObjectiveIn | None = None
    dry_run: bool = Field(default=False, description="Answer without writing or learning anything.")
    id: Id | None = Field(
        default=None, description="Your own id. The same request with the same id gets the same answer again."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        given = [
            name
            for name in ("messages", "prompt", "features", "embedding")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} are given: give one of messages, prompt, features, embedding"
            )
        if not given and self.task is None and not self.attributes:
            raise ValueError(
                "nothing is said of the request: give one of messages, prompt, features, embedding"
            )
        if self.dry_run and self.id is not None:
            raise ValueError("a dry run is not kept, so it has no id: leave the id out")
        return self


class DecisionBatchIn(Strict):
    """Several decisions, each made and kept by itself."""

    decisions: tuple[DecisionIn, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _few_patterns(self) -> Self:
        # Each is compiled, which takes half a millisecond: ten thousand held everybody for seconds.
        found: set[str] = set()
        for one in self.decisions:
            found.update(one.candidates or (), one.constraints.ignore if one.constraints else ())
        if len(found) > MOST_PATTERNS:
            raise ValueError(f"a batch may name {MOST_PATTERNS} different patterns: send several batches")
        return self


class ExpectedOut(Answer):
    """What is expected of a provider for this request, each with its standard deviation where known."""

    quality: float | None = Field(
        description="Like all of these null where nothing is known, as of a fallback."
    )
    quality_sd: float | None
    cost_usd: float | None
    cost_usd_sd: float | None
    latency_s: float | None
    failure: float | None = Field(description="Share of calls that fail.")


class CandidateOut(Answer):
    """A provider as this decision saw it."""

    provider: str
    propensity: float
    expected: ExpectedOut
    eligible: bool
    reason: str | None = Field(description="Why it was ruled out.")


class DecisionOut(Answer):
    """The choice, and the distribution that it was drawn from."""

    id: str | None = Field(description="null for a dry run.")
    created_at: str
    route: str
    selected: str
    propensity: float
    candidates: list[CandidateOut]
    fallbacks: list[str] = Field(description="Whom to try next, in this order, should the selected one fail.")
    explored: bool = Field(description="Whether another provider was expected to be better.")
    fallback_used: str | None = Field(
        description="Why the route's default was answered; null for a routed choice."
    )
    shadow_price: float = Field(description="Quality that one USD had to bring.")
    model_version: int = Field(
        description="Which beliefs and prices made it: rises whenever they are computed anew."
    )
    state_seq: int = Field(description="Place in the log up to which the state had learned.")
    task: str | None
    session_id: str | None
    tags: dict[str, str]


class ProblemOut(Answer):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = Field(
        default=None, description="The first ten, with where each is."
    )


class DecisionItemOut(Answer):
    """One item of a batch: a decision, or the problem with it."""

    status: int
    decision: DecisionOut | None = None
    problem: ProblemOut | None = None


class DecisionBatchOut(Answer):
    """The items in the order in which they were asked for."""

    decisions: list[DecisionItemOut]


class EventOut(Answer):
    """Something that followed a decision."""

    seq: int
    kind: str
    at: str
    body: dict[str, Any]


class DecisionFullOut(Answer):
    """A decision with everything that followed."""

    decision: DecisionOut
    events: list[EventOut]
    status: Literal["open", "closed"] = Field(description="Whether what comes of it still counts.")
