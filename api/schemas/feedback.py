"""What came of a decision: the outcome of serving it, and feedback on it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fairlead.api.schemas.base import Answer, Id, Note, ProviderName, Seconds, Strict, Tokens, Usd, Word
from fairlead.api.schemas.decisions import ProblemOut


class UsageIn(Strict):
    """Tokens, as the provider counted them."""

    input_tokens: Tokens = Field(description="Cached ones included.")
    output_tokens: Tokens = Field(description="Reasoning included.")
    cached_tokens: Tokens = Field(default=0, description="Those of the input that were read from a cache.")
    reasoning_tokens: Tokens = Field(default=0, description="Those of the output that were reasoning.")

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if self.cached_tokens > self.input_tokens:
            raise ValueError("cached_tokens are more than input_tokens, of which they are a part")
        if self.reasoning_tokens > self.output_tokens:
            raise ValueError("reasoning_tokens are more than output_tokens, of which they are a part")
        return self


class OutcomeIn(Strict):
    """What serving the request really took. A later outcome of the same decision replaces it."""

    served_provider: ProviderName | None = Field(
        default=None,
        description="Who really served it, after a fallback perhaps another; null: the selected one.",
    )
    usage: UsageIn | None = Field(
        default=None, description="Tokens, to be priced, and to learn the length of answers from."
    )
    cost_usd: Usd | None = Field(
        default=None, description="What it cost; null: priced from the list in force at the decision."
    )
    latency_s: Seconds | None = Field(default=None, description="Seconds until the whole answer was there.")
    ttft_s: Seconds | None = Field(default=None, description="Seconds until the first token.")
    status: Literal["ok", "error", "timeout", "refused"] = Field(
        default="ok", description="How the call ended; all but ok count as failures of who served."
    )
    id: Id | None = Field(default=None, description="Your own id: the same outcome sent again counts once.")


class OutcomeOut(Answer):
    """What was made of an outcome."""

    id: str
    decision_id: str
    seq: int | None = Field(description="Its place in the log; null while it is not written (relaxed).")
    state: Literal["joined", "parked"]
    served_provider: str | None
    cost_usd: float | None
    priced_by: Literal["reported", "price_list"] | None


class FeedbackIn(Strict):
    """A judgement on a decision. The last one of a metric and source is in force; null takes it back."""

    decision_id: Id | None = Field(default=None, description="The decision that is judged.")
    session_id: Id | None = Field(default=None, description="Instead: on every open decision of a session.")
    metric: Word = Field(default="quality", description="One of those that the route declares.")
    value: Annotated[float, Field(ge=-1e9, le=1e9)] | None = Field(
        description="Within the metric's range; null takes back what was said of it before."
    )
    source: Literal["human", "judge", "code"] = Field(
        default="code", description="Who judges: a person, a model, or a program."
    )
    comment: Note | None = Field(default=None, description="For people; kept, and shown with the decision.")
    id: Id | None = Field(default=None, description="Your own id: the same feedback sent again counts once.")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.decision_id is None) == (self.session_id is None):
            raise ValueError("give exactly one of decision_id and session_id")
        return self


class FeedbackBatchIn(Strict):
    """Several judgements, each kept by itself."""

    feedback: tuple[FeedbackIn, ...] = Field(min_length=1, description="At most `max_batch`.")


class FeedbackOut(Answer):
    """What was made of a judgement."""

    id: str
    seq: int | None = Field(description="Its place in the log; null while it is not written (relaxed).")
    state: Literal["joined", "parked"] = Field(description="parked: waits for its decision.")
    decision_ids: list[str]


class FeedbackItemOut(Answer):
    """One item of a batch: what was made of it, or the problem with it."""

    status: int
    feedback: FeedbackOut | None = None
    problem: ProblemOut | None = None


class FeedbackBatchOut(Answer):
    """The items in the order in which they were sent."""

    feedback: list[FeedbackItemOut]
