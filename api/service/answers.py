"""From a row of the log to its answer: the same row gives the same answer at any time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from fairlead.api.schemas.decisions import CandidateOut, DecisionOut, EventOut, ExpectedOut
from fairlead.api.state.decide import ranking
from fairlead.api.state.served_route import cost_with_source
from fairlead.api.state.tenants import SEPARATOR
from fairlead.api.store import Row
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.types import Decision, Feedback, Outcome, Prices

MOST_SD: Final = 0.5
"""The largest standard deviation that a quality in [0, 1] can have."""


def timestamp(at_s: float) -> str:
    """Return the time as RFC 3339 has it, in UTC with microseconds."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def decision_answer(
    decision: Decision, metadata: Mapping[str, Any], at_s: float, *, stored: bool = True
) -> DecisionOut:
    """Return the answer for a decision and the metadata that are stored with it."""
    probabilities = decision.probabilities.tolist()
    reasons, on_trial, selected = decision.ineligible, decision.on_trial, decision.selected
    spread = metadata.get("latency_sd") or [None] * len(probabilities)
    candidates = [
        CandidateOut(
            name,
            probability,
            # Before the first fit the model itself may be wider than what it describes.
            ExpectedOut(quality, min(sd, MOST_SD), cost_usd, cost_sd, latency_s, latency_sd, failure),
            name not in reasons,
            reasons.get(name) or on_trial.get(name),
        )
        for name, probability, (quality, sd, cost_usd, cost_sd, latency_s, failure), latency_sd in zip(
            decision.providers, probabilities, decision.expected.T.tolist(), spread, strict=True
        )
    ]
    session = metadata.get("session_id")
    first, *others = ranking(decision, metadata.get("latency_weight", 0.0))
    return DecisionOut(
        id=decision.id.rpartition(SEPARATOR)[2] if stored else None,
        created_at=timestamp(at_s),
        route=decision.route,
        selected=selected,
        propensity=probabilities[decision.providers.index(selected)],
        candidates=candidates,
        fallbacks=[name for name in (first, *others) if name != selected],
        explored=decision.fallback_used is None and selected != first,
        fallback_used=decision.fallback_used,
        relaxed=list(decision.relaxed),
        shadow_price=decision.shadow_price,
        model_version=decision.model_version,
        state_seq=metadata.get("state_seq", 0),
        task=decision.task,
        session_id=None if session is None else session.rpartition(SEPARATOR)[2],
        tags=metadata.get("tags", {}),
    )


def logged_decision(row: Row) -> DecisionOut:
    """Return the answer that a decision of the log got."""
    decision = decode(row.line)
    assert isinstance(decision, Decision)
    return decision_answer(decision, json.loads(row.metadata), row.at_s)


def logged_report(row: Row, selected: str, prices: Mapping[str, Prices]) -> EventOut:
    """Return an outcome or feedback of the log, about a decision that selected the provider ``selected``.

    ``prices`` are those of the decision: an outcome that arrived ahead of it could not be priced then.
    """
    event = decode(row.line)
    metadata = json.loads(row.metadata)
    if isinstance(event, Outcome):
        event = replace(event, served_provider=event.served_provider or selected)
        priced_usd = metadata.get("priced_usd")
        cost, source = cost_with_source(event, prices) if priced_usd is None else (priced_usd, "price_list")
        body: dict[str, Any] = {
            "served_provider": event.served_provider,
            "cost_usd": cost,
            "priced_by": source,
            "input_tokens": event.input_tokens,
            "output_tokens": event.output_tokens,
            "cached_tokens": event.cached_tokens,
            "latency_s": event.latency_s,
            "status": event.status,
        }
    else:
        assert isinstance(event, Feedback)
        body = {"metric": event.metric, "value": event.value, "source": event.source}
    for name in ("comment", "ttft_s", "reasoning_tokens"):
        if name in metadata:
            body[name] = metadata[name]
    if "session_id" in metadata:
        body["session_id"] = metadata["session_id"].rpartition(SEPARATOR)[2]
    return EventOut(row.seq, row.kind, timestamp(row.at_s), body)
