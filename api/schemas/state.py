"""Answers about the learned state and the health of the service."""

from __future__ import annotations

from pydantic import Field

from fairlead.api.schemas.base import Answer


class BeliefOut(Answer):
    """Beliefs about a provider for the mean request of a route; null if nothing is known."""

    quality: float = Field(description="Expected quality; a failed call has none.", examples=[0.7])
    quality_sd: float = Field(description="Standard deviation of that belief.", examples=[0.03])
    cost_usd: float | None = Field(
        description="Expected USD of a call with 100 input tokens.", examples=[0.0001]
    )
    latency_s: float | None = Field(description="Mean seconds of a call.", examples=[1.2])
    tail_latency_s: float | None = Field(
        description="Seconds that 95 % of its calls stay below.", examples=[3.2]
    )
    failure: float = Field(
        description="Share of calls that fail in ordinary times; an outage is not one.", examples=[0.0]
    )
    circuit: str = Field(
        description=(
            "closed; open: it is in an outage and gets probes only, at most 4 % of requests; half_open: it "
            "has succeeded again, and closes it with three successes in a row."
        ),
        examples=["closed"],
    )
    circuit_since_order: int | None = Field(
        description="The route's decision whose outcome brought that; null while it is closed."
    )
    feedback: int = Field(description="Decisions that it served and that have feedback.", examples=[290])
    floor: float = Field(description="Its lowest propensity now.", examples=[0.0])
    newcomer: bool = Field(
        description="Whether it was added later and its share is capped.", examples=[False]
    )
    evidence_share: float = Field(
        description="Share of what is believed of its quality that comes from evidence.", examples=[0.0]
    )


class TaskBeliefOut(Answer):
    """Beliefs about a provider for the mean request of a task."""

    propensity: float = Field(description="Probability with which it would be drawn.", examples=[0.9])
    quality: float | None = Field(examples=[0.72])
    quality_sd: float | None = Field(examples=[0.04])
    cost_usd: float | None = Field(examples=[0.0001])


class TaskOut(Answer):
    """Beliefs about each provider for the mean request of a task."""

    decisions: int = Field(examples=[160])
    providers: dict[str, TaskBeliefOut]


class CircuitOut(Answer):
    """A change of a provider's circuit."""

    provider: str = Field(examples=["small"])
    state: str = Field(description="closed, open or half_open.", examples=["open"])
    at_order: int = Field(description="Decision whose outcome brought it about.", examples=[812])
    failures: int = Field(description="Failures in a row behind it.", examples=[3])


class AlarmOut(Answer):
    """A provider that has changed; earlier observations of that quantity now count for little."""

    provider: str = Field(description="The provider that changed.", examples=["small"])
    quantity: str = Field(
        description="What changed: quality, tokens (length of answers), cost, latency or failure.",
        examples=["quality"],
    )
    task: str | None = Field(description="The task whose requests revealed it; null: all together.")
    since_order: int = Field(
        description="From which of the route's own decisions on, counted from 0.", examples=[610]
    )
    at_order: int = Field(description="Which of them revealed the change.", examples=[700])
    before: float = Field(
        description="Mean before: rewards, share of failures; geometric: tokens, seconds, USD over the list.",
        examples=[0.82],
    )
    after: float = Field(description="Likewise since the change.", examples=[0.64])


class BudgetAlarmOut(Answer):
    """A budget that was spent to a level, or that cannot pay even for the cheapest provider."""

    reason: str = Field(description="spent or too_dear.", examples=["spent"])
    level: float | None = Field(description="Share of the limit that was passed; null: too_dear.")
    period_start: str | None = Field(description="Null for a budget per request.")
    period_end: str | None = Field(description="Null for a budget per request.")
    spent_usd: float = Field(examples=[16.01])
    limit_usd: float = Field(examples=[20.0])
    cheapest_usd: float | None = Field(description="What a request costs at least; null unless too_dear.")
    message: str = Field(
        description="The same for people.", examples=["$16.01 of $20 are spent, 80% or more"]
    )


class QuarantineOut(Answer):
    """Outcomes of one kind that cannot be right, or a price list that cannot."""

    provider: str = Field(examples=["small"])
    quantity: str = Field(
        description=(
            "cost or latency: such outcomes are logged, and neither learned nor paid until others confirm "
            "them. prices: what calls cost and what the price list says of them are apart by over a fifth."
        ),
        examples=["cost"],
    )
    value: float = Field(
        description="USD or seconds of the latest; for prices, USD of a typical call by invoice.",
        examples=[0.12],
    )
    expected: float = Field(
        description="What was expected instead; for prices, USD of the same call by the list.",
        examples=[0.0012],
    )
    likely_error: str = Field(
        description="Error of unit that explains it; empty: none does.", examples=["cents for dollars"]
    )
    decision_id: str = Field(
        description="The latest decision of this kind; empty for prices.", examples=["order-17"]
    )
    at_order: int = Field(description="Its place among the decisions of the route.", examples=[812])
    count: int = Field(description="How many outcomes of this kind there are.", examples=[3])


class BudgetStateOut(Answer):
    """Where a budget for a day, a week or a month stands."""

    period_start: str = Field(examples=["2026-03-02T00:00:00.000000Z"])
    period_end: str = Field(examples=["2026-03-03T00:00:00.000000Z"])
    limit_usd: float = Field(examples=[20.0])
    spent_usd: float = Field(
        description="Money spent in the period; a call whose cost is not reported yet counts as expected.",
        examples=[7.5],
    )
    utilisation: float = Field(description="Share of the limit that is spent.", examples=[0.375])
    forecast_usd: float = Field(description="What the period is expected to cost.", examples=[19.9])
    requests: int = Field(description="Requests of the period so far.", examples=[1_120])
    expected_requests: float = Field(
        description="Requests still expected in the period, by the hours and weekdays seen so far.",
        examples=[1_880.0],
    )


class SourceTrustOut(Answer):
    """A source of evidence, and how much one answer of it counts, in answers to the route's own requests."""

    rows: int = Field(description="Requests that it is about.", examples=[300])
    quality_trust: float | None = Field(
        description="Between 0 and 1, by how well it foretold quality; null: it says nothing of it.",
        examples=[0.92],
    )
    cost_trust: float | None = Field(description="The same for cost.", examples=[0.4])


class TextOut(Answer):
    """Features of texts that a route learns from its own requests."""

    encoder: str | None = Field(
        description="Names the encoder in force; null before the first fit.", examples=["text-0123456789ab"]
    )
    texts: int = Field(description="Texts seen when it was learned.", examples=[256])
    seen: int = Field(description="Texts seen so far.", examples=[400])
    next_fit_at: int = Field(description="Texts with which it is learned anew.", examples=[512])
    problem: str | None = Field(
        description=(
            "Why texts are not read, as after the loss of the key, or why the latest fit learned nothing; "
            "null: neither."
        )
    )


class RouteStateOut(Answer):
    """The learned state of a route."""

    route: str = Field(examples=["support-chat"])
    ready: bool = Field(description="False while the state is being rebuilt.", examples=[True])
    broken: str | None = Field(
        description="Why the default provider answers every request; null: the router works."
    )
    seq: int = Field(description="Position in the log up to which it has learned.", examples=[1_207])
    age_s: float = Field(
        description="Seconds since the state was last known to hold the whole log.", examples=[0.0]
    )
    decisions: int = Field(examples=[400])
    fallbacks: int = Field(description="Decisions that the default provider answered.", examples=[0])
    explored: int = Field(
        description="Decisions for another provider than the best by prediction.", examples=[31]
    )
    open_decisions: int = Field(
        description="Decisions that still accept outcomes and feedback.", examples=[380]
    )
    spent_usd: float = Field(description="Money spent, according to outcomes.", examples=[0.21])
    trust: dict[str, float] = Field(
        description=(
            "Weight of each source of context: none (no context), task, attributes, surface, or all; "
            "after the @, how strongly it is held to 0; pooled: with a part common to all providers."
        ),
        examples=[{"task@300": 0.81, "none": 0.19}],
    )
    text: TextOut | None = Field(description="Features of texts; null for a route that does not learn them.")
    shadow_price: float = Field(description="Quality that one USD must buy now.", examples=[100.0])
    budget_usd_per_request: float | None = Field(
        description="What a request may cost on average now; null: no budget.", examples=[0.002]
    )
    budget_spent_usd: float = Field(description="Money spent since there is a budget.", examples=[0.21])
    budget: BudgetStateOut | None = Field(
        description="Where the budget of the present period stands; null: none with periods."
    )
    budget_alarms: list[BudgetAlarmOut] = Field(
        description="Alarms of the budget, the latest last; each is raised once in a period."
    )
    newcomer_share: float = Field(description="Quota of requests for providers added later.", examples=[0.2])
    evidence: dict[str, SourceTrustOut] = Field(description="By source; empty for a cold start.")
    providers: dict[str, BeliefOut]
    tasks: dict[str, TaskOut] = Field(description="By task label, of the first 64 labels.")
    alarms: list[AlarmOut] = Field(description="Providers that have changed, the latest last.")
    circuit_changes: list[CircuitOut] = Field(
        description="Changes of circuits, the latest last; at most 100."
    )
    quarantine: list[QuarantineOut] = Field(
        description="Outcomes and price lists that cannot be right, by provider, quantity and likely error."
    )


class LiveOut(Answer):
    """The process answers."""

    status: str = Field(examples=["alive"])


class ReadyOut(Answer):
    """Whether decisions come from the learned state, and how old that is."""

    ready: bool = Field(examples=[True])
    progress: float = Field(description="Share of the log that is folded, from 0 to 1.", examples=[1.0])
    seq: int = Field(examples=[1_207])
    age_s: float = Field(examples=[0.0])
    writing: bool = Field(description="Whether the last commit succeeded.", examples=[True])
    problem: str | None
