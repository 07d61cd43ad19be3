"""Reports on a decision: the outcome of serving it, and feedback on it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from msgspec import Meta
from pydantic import AfterValidator, Field, model_validator

from fairlead.api.schemas.base import (
    Id,
    Note,
    ProblemOut,
    ProviderName,
    QuickAnswer,
    Seconds,
    Strict,
    Tokens,
    Usd,
    Word,
)


def _plain_usage(usage: Any) -> Any:
    """Return usage under the names of `UsageIn`, if it stands there under those of OpenAI."""
    if not isinstance(usage, dict) or "prompt_tokens" not in usage:
        return usage
    plain = {name: value for name, value in usage.items() if name not in _OPENAI}
    names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
    plain |= {name: usage[theirs] for theirs, name in names.items() if theirs in usage}
    for details, name in (
        ("prompt_tokens_details", "cached_tokens"),
        ("completion_tokens_details", "reasoning_tokens"),
    ):
        count = usage[details].get(name) if isinstance(usage.get(details), dict) else None
        if count is not None:
            plain.setdefault(name, count)
    return plain


_OPENAI: Final = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    }
)


class UsageIn(Strict):
    """Token counts, as reported by the provider; usage as OpenAI names it (prompt_tokens…) is taken too."""

    input_tokens: Tokens = Field(description="Including cached ones.")
    output_tokens: Tokens = Field(description="Including reasoning.")
    cached_tokens: Tokens = Field(default=0, description="Part of the input that was read from a cache.")
    reasoning_tokens: Tokens = Field(default=0, description="Part of the output that was reasoning.")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, usage: Any) -> Any:
        return _plain_usage(usage)

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if self.cached_tokens > self.input_tokens:
            raise ValueError("cached_tokens are more than input_tokens, of which they are a part")
        if self.reasoning_tokens > self.output_tokens:
            raise ValueError("reasoning_tokens are more than output_tokens, of which they are a part")
        return self


class OutcomeIn(Strict):
    """The real cost and duration of serving. A later outcome of the same decision replaces it."""

    served_provider: ProviderName | None = Field(
        default=None,
        description="The provider that served, which may be a fallback; null: the selected one.",
        examples=["small"],
    )
    usage: UsageIn | None = Field(
        default=None,
        description="Tokens, from which the call is priced and the length of answers is learned.",
        examples=[{"input_tokens": 120, "output_tokens": 300, "cached_tokens": 100, "reasoning_tokens": 40}],
    )
    cost_usd: Usd | None = Field(
        default=None, description="Cost of the call; null: priced from the list in force at the decision."
    )
    latency_s: Seconds | None = Field(
        default=None, description="Seconds until the whole answer had arrived.", examples=[1.4]
    )
    ttft_s: Seconds | None = Field(default=None, description="Seconds until the first token.", examples=[0.3])
    status: Literal["ok", "error", "timeout", "refused"] = Field(
        default="ok", description="How the call ended; all but ok count as failures of the provider."
    )
    id: Id | None = Field(default=None, description="Your own id: the same outcome sent again counts once.")


_Seq = Annotated[
    int | None, Meta(description="Its position in the log; null until written (relaxed).", examples=[1_206])
]
_State = Annotated[
    Literal["joined", "parked"], Meta(description="parked: waits for its decision.", examples=["joined"])
]


class OutcomeOut(QuickAnswer):
    """The effect of an outcome."""

    id: Annotated[str, Meta(examples=["out_5f0c2a9d7b3e4c1a"])]
    decision_id: Annotated[str, Meta(examples=["order-17"])]
    seq: _Seq
    state: _State
    served_provider: Annotated[str | None, Meta(examples=["small"])]
    cost_usd: Annotated[float | None, Meta(examples=[0.000126])]
    priced_by: Annotated[Literal["reported", "price_list"] | None, Meta(examples=["price_list"])]
    quarantined: Annotated[
        list[str],
        Meta(
            description="What cannot be right, cost_usd (stated or by usage) or latency_s: it is logged, and "
            "learned once others confirm it. Empty while the decision is not known.",
            examples=[[]],
        ),
    ]


def _number(value: float | None) -> float | None:
    return float(value) if isinstance(value, bool) else value


class FeedbackIn(Strict):
    """The value of a metric for a decision. The last value of each metric and source counts."""

    decision_id: Id | None = Field(
        default=None, description="The decision that the feedback is on.", examples=["order-17"]
    )
    session_id: Id | None = Field(default=None, description="Instead: every open decision of a session.")
    metric: Word = Field(default="quality", description="One of the metrics that the route declares.")
    value: Annotated[Annotated[float, Field(ge=-1e9, le=1e9)] | bool | None, AfterValidator(_number)] = Field(
        description="Within the metric's range; true and false are 1 and 0; null retracts the earlier value.",
        examples=[1.0],
    )
    source: Literal["human", "judge", "code"] = Field(
        default="code",
        description="Origin of the value: a person, a model as judge, or a program.",
        examples=["human"],
    )
    comment: Note | None = Field(
        default=None, description="Free text; stored, and shown with the decision.", examples=["Solved it."]
    )
    id: Id | None = Field(default=None, description="Your own id: the same feedback sent again counts once.")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.decision_id is None) == (self.session_id is None):
            raise ValueError("give exactly one of decision_id and session_id")
        return self


class FeedbackBatchIn(Strict):
    """Several pieces of feedback, each stored by itself."""

    feedback: tuple[FeedbackIn, ...] = Field(min_length=1, description="At most `max_batch`.")


class FeedbackOut(QuickAnswer):
    """The effect of feedback."""

    id: Annotated[str, Meta(examples=["fb_0a1b2c3d4e5f6071"])]
    seq: _Seq
    state: _State
    decision_ids: Annotated[list[str], Meta(examples=[["order-17"]])]


class FeedbackItemOut(QuickAnswer):
    """One item of a batch: the effect of the feedback, or the problem with it."""

    status: Annotated[int, Meta(examples=[200])]
    feedback: FeedbackOut | None = None
    problem: ProblemOut | None = None


class FeedbackBatchOut(QuickAnswer):
    """The items in the order in which they were sent."""

    feedback: list[FeedbackItemOut]
