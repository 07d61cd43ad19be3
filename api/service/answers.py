"""From a row of the log to what is answered: the same row gives the same answer, whenever it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from fairlead.api.state.decide import ranking
from fairlead.api.state.served_route import cost_with_source
from fairlead.api.store import Row
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.types import Decision, Feedback, Outcome, Prices


def timestamp(at_s: float) -> str:
    """RFC 3339, UTC, with microseconds."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


MOST_SD: Final = 0.5
"""The most by which a quality in [0, 1] can deviate from its mean."""


class Expected(msgspec.Struct, gc=False):
    """`fairlead.api.schemas.decisions.ExpectedOut`; NaN, which JSON does not have, is written as null."""

    quality: float
    quality_sd: float
    cost_usd: float
    cost_usd_sd: float
    latency_s: float
    latency_s_sd: float | None
    failure: float


class Candidate(msgspec.Struct, gc=False):
    """`fairlead.api.schemas.decisions.CandidateOut`."""

    provider: str
    propensity: float
    expected: Expected
    eligible: bool
    reason: str | None


class Answer(msgspec.Struct):
    """`fairlead.api.schemas.decisions.DecisionOut`, in the form that is written quickest."""

    id: str | None
    created_at: str
    route: str
    selected: str
    propensity: float
    candidates: list[Candidate]
    fallbacks: list[str]
    explored: bool
    fallback_used: str | None
    shadow_price: float
    model_version: int
    state_seq: int
    task: str | None
    session_id: str | None
    tags: Mapping[str, str]


def decision_answer(
    decision: Decision, notes: Mapping[str, Any], at_s: float, *, kept: bool = True
) -> Answer:
    """What is answered for a decision and the notes that were kept with it."""
    chances = decision.probabilities.tolist()
    reasons, selected = decision.ineligible, decision.selected
    spread = notes.get("latency_sd") or [None] * len(chances)
    candidates = [
        Candidate(
            name,
            chance,
            # Before the first fit the model itself may be wider than what it describes.
            Expected(quality, min(sd, MOST_SD), cost_usd, cost_sd, latency_s, latency_sd, failure),
            name not in reasons,
            reasons.get(name),
        )
        for name, chance, (quality, sd, cost_usd, cost_sd, latency_s, failure), latency_sd in zip(
            decision.providers, chances, decision.expected.T.tolist(), spread, strict=True
        )
    ]
    order = ranking(decision, notes.get("latency_weight", 0.0))
    explored = decision.fallback_used is None and selected != order[0]
    order.remove(selected)
    return Answer(
        id=decision.id if kept else None,
        created_at=timestamp(at_s),
        route=decision.route,
        selected=selected,
        propensity=chances[decision.providers.index(selected)],
        candidates=candidates,
        fallbacks=order,
        explored=explored,
        fallback_used=decision.fallback_used,
        shadow_price=decision.shadow_price,
        model_version=decision.model_version,
        state_seq=notes.get("state_seq", 0),
        task=decision.task,
        session_id=notes.get("session_id"),
        tags=notes.get("tags", {}),
    )


def decision_of(row: Row) -> Answer:
    """The answer that a decision of the log was."""
    decision = decode(row.line)
    assert isinstance(decision, Decision)
    return decision_answer(decision, json.loads(row.metadata), row.at_s)


def event_of(row: Row, selected: str, prices: Mapping[str, Prices]) -> dict[str, Any]:
    """An outcome or feedback of the log, for people, by whom its decision selected.

    ``prices`` are the decision's, for an outcome that came ahead of it and so could not be priced then.
    """
    event = decode(row.line)
    extra = json.loads(row.metadata)
    kept = {
        name: extra[name] for name in ("comment", "ttft_s", "reasoning_tokens", "session_id") if name in extra
    }
    if isinstance(event, Outcome):
        event = replace(event, served_provider=event.served_provider or selected)
        known = extra.get("priced_usd")
        cost, by = cost_with_source(event, prices) if known is None else (known, "price_list")
        body: dict[str, Any] = {
            "served_provider": event.served_provider,
            "cost_usd": cost,
            "priced_by": by,
            "input_tokens": event.input_tokens,
            "output_tokens": event.output_tokens,
            "cached_tokens": event.cached_tokens,
            "latency_s": event.latency_s,
            "status": event.status,
        }
    else:
        assert isinstance(event, Feedback)
        body = {"metric": event.metric, "value": event.value, "source": event.source}
    return {"seq": row.seq, "kind": row.kind, "at": timestamp(row.at_s), "body": {**body, **kept}}
