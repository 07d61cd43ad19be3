"""What is known of a route's providers before its own traffic can tell, and the answer to it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from fairlead.api.schemas.base import Answer, Label, ProviderName, Seconds, Strict, Tokens, Usd, Word, _no_nul
from fairlead.api.schemas.decisions import Number, Prompt
from fairlead.optimizer.types.evidence import MOST_ROWS


class KnownAnswerIn(Strict):
    """An answer of a provider, or the means over several."""

    quality: Number | None = Field(
        default=None, description="How good it was, in [0, 1] or in the range of `metric`.", examples=[0.8]
    )
    cost_usd: Usd | None = Field(default=None, description="USD of a call.", examples=[0.0004])
    output_tokens: Annotated[float, Field(ge=0, le=1e9)] | None = Field(
        default=None, description="Tokens of the answer: what it costs at today's prices.", examples=[120.0]
    )
    latency_s: Seconds | None = Field(default=None, description="Seconds of a call.", examples=[0.9])
    count: Annotated[int, Field(ge=1, le=MOST_ROWS)] = Field(
        default=1, description="Answers that these are the means of.", examples=[1]
    )


class KnownRequestIn(Strict):
    """A request, or without content the average one of a task or of the route, and its answers."""

    prompt: Prompt | None = Field(default=None, description="Its text.", examples=["Where is my parcel?"])
    features: Annotated[tuple[Number, ...], Field(max_length=4_096)] | None = Field(
        default=None, description="Its feature vector, as wide as the route's `feature_width`."
    )
    embedding: Annotated[tuple[Number, ...], Field(max_length=4_096)] | None = Field(
        default=None, description="Its embedding, as wide as the route declares."
    )
    task: Label | None = Field(default=None, description="Kind of request.", examples=["shipping"])
    attributes: dict[
        Word, Annotated[str, StringConstraints(max_length=200), AfterValidator(_no_nul)] | bool | Number
    ] = Field(default_factory=dict, max_length=64, description="Facts, as in decisions.")
    input_tokens: Tokens | None = Field(default=None, description="Its length; null: estimated.")
    answers: dict[ProviderName, KnownAnswerIn] = Field(
        min_length=1,
        max_length=200,
        description="By provider.",
        examples=[{"small": {"quality": 0.4}, "large": {"quality": 0.9, "latency_s": 2.5}}],
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(content is not None for content in (self.prompt, self.features, self.embedding)) > 1:
            raise ValueError("a request has several contents: give one of prompt, features, embedding")
        return self


class EvidenceIn(Strict):
    """What one source knows: a team's own evaluations, another log, published means."""

    source: Label = Field(
        description="Its name. What it said before is replaced.", examples=["evaluations of March"]
    )
    part: Annotated[int, Field(ge=0, le=MOST_ROWS)] = Field(
        default=0, description="Of a source that comes in several parts; 0 begins it anew.", examples=[0]
    )
    metric: Word | None = Field(
        default=None, description="Metric of the route whose range `quality` has; null: it is in [0, 1]."
    )
    rows: tuple[KnownRequestIn, ...] = Field(
        max_length=MOST_ROWS,
        description=f"At most {MOST_ROWS:,} of one source; none withdraw what it said.",
    )


class EvidenceOut(Answer):
    """What was logged; how much of it is believed, the state of the route shows."""

    preview: bool = Field(description="Whether nothing was logged.", examples=[False])
    seq: int | None = Field(description="Position in the log; null for a preview.", examples=[1_208])
    source: str = Field(examples=["evaluations of March"])
    part: int = Field(examples=[0])
    rows: int = Field(examples=[300])
    answers: dict[str, int] = Field(description="By provider.", examples=[{"small": 300, "large": 300}])
