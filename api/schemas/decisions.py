"""A decision as it is asked for and answered."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from fairlead.api.schemas.base import (
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
from fairlead.api.schemas.declarations import LatencyWeight, WillingnessToPay, Worth

MOST_PATTERNS: Final = 500
"""Patterns of one batch in `candidates` and `constraints.ignore`; one that is repeated counts once."""

Prompt = Annotated[str, StringConstraints(max_length=50_000_000)]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]


def _unread(kind: str) -> Any:
    return Field(default=None, description=f"{kind}; taken, and neither looked at nor kept.")


class Part(Strict):
    """A part of a message, in the form that chat APIs have; only text is looked at."""

    type: Label = Field(description="Its kind, such as text or image_url.")
    text: Prompt | None = Field(default=None, description="Its text, where it has one.")
    image_url: dict[str, Any] | None = _unread("An image")
    input_audio: dict[str, Any] | None = _unread("A recording")
    file: dict[str, Any] | None = _unread("A file")
    refusal: Prompt | None = _unread("Why a model refused")


class Message(Strict):
    """One message of a conversation, in the form that chat APIs have."""

    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(description="Who says it.")
    content: Prompt | Annotated[tuple[Part, ...], Field(max_length=1_000)] | None = Field(
        default=None, description="What is said: a text, or parts; null where there are only calls of tools."
    )
    name: Label | None = _unread("Its author's name")
    tool_calls: Annotated[tuple[dict[str, Any], ...], Field(max_length=1_000)] | None = _unread(
        "Calls of tools"
    )
    tool_call_id: Label | None = _unread("The call that it answers")
    refusal: Prompt | None = _unread("Why a model refused")


class RequestConstraints(Strict):
    """What this choice must satisfy, on top of the route's own rules."""

    max_cost_usd: Usd | None = Field(default=None, description="Most USD that the call is expected to cost.")
    max_latency_s: Seconds | None = Field(
        default=None,
        description="Most seconds that a call may be expected to take; who has no latency yet is ruled out.",
    )
    capabilities: tuple[Word, ...] = Field(
        default=(), max_length=64, description="What the provider must be able to do."
    )
    ignore: tuple[Pattern, ...] = Field(
        default=(), max_length=100, description="Providers not to choose; wildcards as in openai/*."
    )


_CONTENTS = ("messages", "prompt", "features", "embedding")


class RequestObjective(Worth):
    """How this choice weighs quality, cost and latency, where otherwise than the route."""

    willingness_to_pay_usd: WillingnessToPay | None = Field(
        default=None,
        description="USD that one whole point of quality is worth; null: what the route says. "
        "For a cost that does not count, give a dial of 10.",
    )
    latency_weight: LatencyWeight | None = Field(
        default=None, description="Points of quality per second; null: what the route says."
    )


class DecisionIn(Strict):
    """Which provider shall serve this request?"""

    route: RouteName = Field(description="The route that it is made on.")
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=10_000)] | None = Field(
        default=None, description="The conversation; one of this, prompt, features and embedding."
    )
    prompt: Prompt | None = Field(default=None, description="The request as one text.")
    features: Annotated[tuple[Number, ...], Field(max_length=4_096)] | None = Field(
        default=None, description="The features themselves, of the width that the route states."
    )
    embedding: Annotated[tuple[Number, ...], Field(max_length=4_096)] | None = Field(
        default=None, description="An embedding of the text, of the width that the route declares."
    )
    task: Label | None = Field(default=None, description="Kind of request, to learn by; any short text.")
    attributes: dict[
        Word, Annotated[str, StringConstraints(max_length=200), AfterValidator(_no_nul)] | bool | Number
    ] = Field(default_factory=dict, max_length=64, description="Facts to learn by, such as a tier.")
    input_tokens: Tokens | None = Field(default=None, description="Length of the request; null: estimated.")
    tags: dict[Word, Label] = Field(
        default_factory=dict, max_length=32, description="Kept with the decision, not looked at."
    )
    session_id: Id | None = Field(
        default=None, description="A session of several decisions, which feedback can judge together."
    )
    candidates: Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Choose among these only; wildcards as in openai/*."
    )
    constraints: RequestConstraints | None = Field(
        default=None, description="What the choice must satisfy, on top of the route's rules."
    )
    objective: RequestObjective | None = Field(
        default=None, description="How the choice is weighed, where otherwise than on the route."
    )
    dry_run: bool = Field(default=False, description="Answer without writing or learning anything.")
    id: Id | None = Field(
        default=None, description="Your own id. The same request with the same id gets the same answer again."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        contents = (self.messages, self.prompt, self.features, self.embedding)
        count = 4 - contents.count(None)
        if count > 1:
            given = [name for name, content in zip(_CONTENTS, contents, strict=True) if content is not None]
            raise ValueError(
                f"{' and '.join(given)} are given: give one of messages, prompt, features, embedding"
            )
        if count == 0 and self.task is None and not self.attributes:
            raise ValueError(
                "nothing is said of the request: give one of messages, prompt, features, embedding"
            )
        if self.dry_run and self.id is not None:
            raise ValueError("a dry run is not kept, so it has no id: leave the id out")
        return self


class DecisionBatchIn(Strict):
    """Several decisions, each made and kept by itself."""

    decisions: tuple[DecisionIn, ...] = Field(min_length=1, description="At most `max_batch`.")

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
    latency_s_sd: float | None = Field(description="Of single calls; null before the second.")
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
