"""From a row of the log to what is answered: the same row gives the same answer, whenever it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from api.engine.asking import ranked
from api.store import Row
from optimizer.log import decode
from optimizer.types import Decision, Feedback, Outcome


def timestamp(at_s: float) -> str:
    """RFC 3339, UTC, with microseconds."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def decision_answer(
    decision: Decision, notes: Mapping[str, Any], at_s: float, *, kept: bool = True
) -> dict[str, Any]:
    """`api.schemas.decisions.DecisionOut` of a decision and the notes that were kept with it."""
    chances = decision.probabilities.tolist()
    columns = decision.expected.T.tolist()
    if decision.fallback_used is not None:
        # Of a fallback nothing is expected. NaN, which JSON does not have, is the one number not itself.
        columns = [[None if x != x else x for x in column] for column in columns]
    reasons = decision.ineligible
    candidates = [
        {
            "provider": name,
            "propensity": chance,
            "expected": {
                "quality": quality,
                "quality_sd": quality_sd,
                "cost_usd": cost_usd,
                "cost_usd_sd": cost_usd_sd,
                "latency_s": latency_s if latency_s == latency_s else None,
                "failure": failure,
            },
            "eligible": name not in reasons,
            "reason": reasons.get(name),
        }
        for name, chance, (quality, quality_sd, cost_usd, cost_usd_sd, latency_s, failure) in zip(
            decision.providers, chances, columns, strict=True
        )
    ]
    order = ranked(decision, notes.get("latency_weight", 0.0))
    explored = decision.fallback_used is None and decision.selected != order[0]
    return {
        "id": decision.id if kept else None,
        "created_at": timestamp(at_s),
        "route": decision.route,
        "selected": decision.selected,
        "propensity": chances[decision.providers.index(decision.selected)],
        "candidates": candidates,
        "fallbacks": [name for name in order if name != decision.selected],
        "explored": explored,
        "fallback_used": decision.fallback_used,
        "shadow_price": decision.shadow_price,
        "model_version": decision.model_version,
        "state_seq": notes.get("state_seq", 0),
        "task": decision.task,
        "session_id": notes.get("session_id"),
        "tags": notes.get("tags", {}),
    }


def decision_of(row: Row) -> dict[str, Any]:
    """The answer that a decision of the log was."""
    decision = decode(row.line)
    assert isinstance(decision, Decision)
    return decision_answer(decision, json.loads(row.extra), row.at_s)


def event_of(row: Row) -> dict[str, Any]:
    """An outcome or feedback of the log, for people."""
    event = decode(row.line)
    extra = json.loads(row.extra)
    kept = {
        name: extra[name] for name in ("comment", "ttft_s", "reasoning_tokens", "session_id") if name in extra
    }
    if isinstance(event, Outcome):
        body: dict[str, Any] = {
            "served_provider": event.served_provider or None,
            "cost_usd": event.cost_usd,
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
