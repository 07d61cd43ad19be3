"""Requests for decisions, and their answers."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

import msgspec
from msgspec import Meta
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from fairlead.api.schemas.base import (
    Id,
    Label,
    Pattern,
    ProblemOut,
    QuickAnswer,
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
"""Most different patterns in `candidates` and `constraints.ignore` of one batch."""

Prompt = Annotated[str, StringConstraints(max_length=50_000_000)]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]


class ChatBody(Strict):
    """A part of a conversation as clients send it, with whatever else their chat API puts into it."""

    model_config = ConfigDict(extra="ignore")


class Part(ChatBody):
    """A part of a message, as in chat APIs. Only text is used; other fields are neither used nor stored."""

    type: Label | None = Field(default=None, description="Its kind, such as text or image_url.")
    text: Prompt | None = Field(default=None, description="Its text, if it has any.")
    content: Prompt | Annotated[tuple[Prompt | Part, ...], Field(max_length=1_000)] | None = Field(
        default=None, description="What a tool returned, as a text or parts."
    )


class Message(ChatBody):
    """One message of a conversation, as in chat APIs. Other fields are neither used nor stored."""

    role: Label = Field(description="Author of the message, such as user, assistant or tool.")
    content: Prompt | Annotated[tuple[Prompt | Part, ...], Field(max_length=1_000)] | Part | None = Field(
        default=None, description="A text, or parts; null if there are only tool calls."
    )


class RequestConstraints(Strict):
    """Rules that this choice must satisfy, in addition to those of the route."""

    max_cost_usd: Usd | None = Field(default=None, description="Highest expected cost of the call, in USD.")
    max_latency_s: Seconds | None = Field(
        default=None, description="Longest expected duration of a call, on average."
    )
    max_tail_latency_s: Seconds | None = Field(
        default=None, description="Duration below which 95 % of the calls of a provider must stay."
    )
    strict: bool = Field(
        default=False,
        description=(
            "Whether the limits above must be met: 422 if no provider is known to meet them. Otherwise a "
            "provider that is not serves a few requests, or all if there is no other; see `relaxed`."
        ),
    )
    capabilities: tuple[Word, ...] = Field(
        default=(), max_length=64, description="Capabilities that the provider must have."
    )
    ignore: tuple[Pattern, ...] = Field(
        default=(), max_length=100, description="Providers to exclude, by name or pattern, such as openai/*."
    )


_CONTENTS = ("messages", "prompt", "features", "embedding")


class RequestObjective(Worth):
    """Weights of quality, cost and latency for this choice, if they differ from the route's."""

    willingness_to_pay_usd: WillingnessToPay | None = Field(
        default=None,
        description=(
            "USD that one whole point of quality is worth; null: as on the route. A dial of 10 ignores cost."
        ),
    )
    latency_weight: LatencyWeight | None = Field(
        default=None, description="Points of quality per second; null: as on the route."
    )


class DecisionIn(Strict):
    """A request for the choice of a provider."""

    route: RouteName = Field(description="The route to decide on.")
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=10_000)] | None = Field(
        default=None, description="The conversation. Give one of messages, prompt, features and embedding."
    )
    prompt: Prompt | None = Field(
        default=None, description="The request as one text.", examples=["Where is my parcel?"]
    )
    features: Annotated[tuple[Number, ...], Field(max_length=4_096)] | None = Field(
        default=None, description="The feature vector itself, as wide as the route's `feature_width`."
    )
    embedding: Annotated[tuple[Number, ...], Field(max_length=4_096)] | None = Field(
        default=None, description="An embedding of the text, as wide as the route declares."
    )
    task: Label | None = Field(
        default=None, description="Kind of request, to learn by; any short text.", examples=["shipping"]
    )
    attributes: dict[
        Word, Annotated[str, StringConstraints(max_length=200), AfterValidator(_no_nul)] | bool | Number
    ] = Field(
        default_factory=dict,
        max_length=64,
        description="Facts to learn by, such as a tier.",
        examples=[{"tier": "gold"}],
    )
    input_tokens: Tokens | None = Field(default=None, description="Length of the request; null: estimated.")
    tags: dict[Word, Label] = Field(
        default_factory=dict, max_length=32, description="Stored with the decision, not used."
    )
    session_id: Id | None = Field(
        default=None,
        description="A session of several decisions, on which feedback can be given together.",
        examples=["chat-3"],
    )
    candidates: Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Choose only among these, by name or pattern, such as openai/*."
    )
    constraints: RequestConstraints | None = Field(
        default=None,
        description="Rules that the choice must satisfy, in addition to the route's.",
        examples=[{"max_cost_usd": 0.02, "ignore": ["acme/*"]}],
    )
    objective: RequestObjective | None = Field(
        default=None,
        description="Weights for this choice, if they differ from the route's.",
        examples=[{"dial": 5}],
    )
    dry_run: bool = Field(default=False, description="Answer without writing or learning anything.")
    id: Id | None = Field(
        default=None,
        description="Your own id. The same request with the same id gets the same answer again.",
        examples=["order-17"],
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        contents = (self.messages, self.prompt, self.features, self.embedding)
        count = 4 - contents.count(None)
        if count > 1:
            names = [name for name, content in zip(_CONTENTS, contents, strict=True) if content is not None]
            raise ValueError(
                f"{' and '.join(names)} are given: give one of messages, prompt, features, embedding"
            )
        if count == 0 and self.task is None and not self.attributes:
            raise ValueError("the request has no content: give one of messages, prompt, features, embedding")
        if self.dry_run and self.id is not None:
            raise ValueError("a dry run is not stored, so it has no id: leave the id out")
        return self


class DecisionBatchIn(Strict):
    """Several decisions, each made and stored by itself."""

    decisions: tuple[DecisionIn, ...] = Field(min_length=1, description="At most `max_batch`.")

    @model_validator(mode="after")
    def _few_patterns(self) -> Self:
        # Compiling one takes half a millisecond: ten thousand blocked the event loop for seconds.
        patterns: set[str] = set()
        for request in self.decisions:
            patterns.update(
                request.candidates or (), request.constraints.ignore if request.constraints else ()
            )
        if len(patterns) > MOST_PATTERNS:
            raise ValueError(f"a batch may name {MOST_PATTERNS} different patterns: send several batches")
        return self


class ExpectedOut(QuickAnswer, gc=False):
    """Predictions for a provider and this request; null if nothing is known, as for a fallback."""

    quality: float | None
    quality_sd: float | None
    cost_usd: float | None
    cost_usd_sd: float | None
    latency_s: float | None
    latency_s_sd: Annotated[float | None, Meta(description="Of single calls; null until there are two.")]
    failure: Annotated[float | None, Meta(description="Share of calls that fail.")]


class CandidateOut(QuickAnswer, gc=False):
    """A provider as this decision saw it."""

    provider: str
    propensity: float
    expected: ExpectedOut
    eligible: bool
    reason: Annotated[str | None, Meta(description="Why it was excluded, or got a small share only.")]


_CANDIDATES: Final = msgspec.to_builtins(
    [
        CandidateOut("small", 0.75, ExpectedOut(0.7, 0.08, 0.0001, 0.000025, 1.2, 0.6, 0.0), True, None),
        CandidateOut("large", 0.25, ExpectedOut(0.74, 0.08, 0.003, 0.00075, 2.5, 1.25, 0.0), True, None),
    ]
)


class DecisionOut(QuickAnswer):
    """The choice, and the distribution that it was drawn from."""

    id: Annotated[str | None, Meta(description="null for a dry run.", examples=["order-17"])]
    created_at: Annotated[str, Meta(examples=["2026-03-02T09:30:00.000000Z"])]
    route: Annotated[str, Meta(examples=["quickstart"])]
    selected: Annotated[str, Meta(examples=["small"])]
    propensity: Annotated[float, Meta(examples=[0.75])]
    candidates: Annotated[list[CandidateOut], Meta(examples=[_CANDIDATES])]
    fallbacks: Annotated[
        list[str],
        Meta(
            description="Providers to try next, in this order, if the selected one fails.",
            examples=[["large"]],
        ),
    ]
    explored: Annotated[
        bool, Meta(description="Whether another provider was predicted to be better.", examples=[False])
    ]
    fallback_used: Annotated[
        str | None, Meta(description="Why the answer is the default provider; null for a routed choice.")
    ]
    relaxed: Annotated[
        list[str],
        Meta(
            description=(
                "Limits that the selected provider is not known to meet: max_cost_usd, max_latency_s, "
                "max_tail_latency_s."
            ),
            examples=[[]],
        ),
    ]
    shadow_price: Annotated[float, Meta(description="Quality that one USD had to buy.", examples=[100.0])]
    model_version: Annotated[
        int,
        Meta(description="Version of beliefs and shadow price: rises with every refit.", examples=[41]),
    ]
    state_seq: Annotated[
        int, Meta(description="Position in the log up to which the state had learned.", examples=[1_204])
    ]
    task: Annotated[str | None, Meta(examples=["shipping"])]
    session_id: Annotated[str | None, Meta(examples=["chat-3"])]
    tags: Annotated[dict[str, str], Meta(examples=[{}])]


class DecisionItemOut(QuickAnswer):
    """One item of a batch: a decision, or the problem with it."""

    status: Annotated[int, Meta(examples=[200])]
    decision: DecisionOut | None = None
    problem: ProblemOut | None = None


class DecisionBatchOut(QuickAnswer):
    """The items in the order in which they were sent."""

    decisions: list[DecisionItemOut]


_OUTCOME: Final = {
    "seq": 1_206,
    "kind": "outcome",
    "at": "2026-03-02T09:30:02.000000Z",
    "body": {"served_provider": "small", "cost_usd": 0.000126, "priced_by": "price_list", "status": "ok"},
}


class EventOut(QuickAnswer):
    """An outcome of a decision, or feedback on it."""

    seq: int
    kind: str
    at: str
    body: dict[str, Any]


class DecisionFullOut(QuickAnswer):
    """A decision with its outcomes and feedback."""

    decision: DecisionOut
    events: Annotated[list[EventOut], Meta(examples=[[_OUTCOME]])]
    status: Annotated[
        Literal["open", "closed"],
        Meta(description="Whether outcomes and feedback still count.", examples=["open"]),
    ]
