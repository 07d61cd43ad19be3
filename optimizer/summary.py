"""What a router has learned, in words and numbers for people and for monitoring."""

from __future__ import annotations

import math
from typing import Final

from fairlead.optimizer.learning.learner import Learner
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.pricing import TYPICAL_INPUT_TOKENS
from fairlead.optimizer.selection.exploration import Newcomers
from fairlead.optimizer.selection.shadow_price import Pacing

_WORTH_SAYING: Final = 1e-3


def summary(*, beliefs: Beliefs, learner: Learner, pacing: Pacing, newcomers: Newcomers) -> dict[str, object]:
    """Trust in context, shadow price, spend, and the predictions for each provider and the average request.

    Costs are those of a call with 100 input tokens; what is unknown is None.
    """
    prediction = beliefs.predict(beliefs.quality.posterior.centre[None].copy(), TYPICAL_INPUT_TOKENS)
    trusted = sorted(beliefs.quality.members.items(), key=lambda item: -item[1])
    cost_usd, tail = beliefs.provable_cost(prediction.cost_usd[0]), beliefs.tail_latency_s
    return {
        "trust": {name: round(weight, 4) for name, weight in trusted if weight > _WORTH_SAYING},
        "shadow_price": pacing.shadow_price,
        "spent_usd": pacing.spent_usd,
        "target_usd": pacing.target_usd,
        "providers": {
            name: {
                "quality": round(float(prediction.quality[0, i]), 4),
                "quality_sd": round(float(prediction.expected[1, 0, i]), 4),
                "cost_usd": _number(cost_usd[i]),
                "latency_s": _number(prediction.latency_s[i]),
                "tail_latency_s": _number(tail[i]),
                "failure": float(prediction.expected[5, 0, i]),
                "circuit": beliefs.circuits[name].state if name in beliefs.circuits else "closed",
                "circuit_since_order": beliefs.circuits[name].since_seq if name in beliefs.circuits else None,
                "feedback": learner.counts.get(name, 0),
                "floor": float(pacing.floor[i]),
                "newcomer": name in newcomers.names,
                "evidence_share": _share(beliefs.quality.earned(name), beliefs.quality.count(name)),
            }
            for i, name in enumerate(beliefs.names)
        },
        "newcomer_share": newcomers.share,
        "evidence": _evidence(beliefs, learner),
        "alarms": len(learner.alarms),
    }


def _evidence(beliefs: Beliefs, learner: Learner) -> dict[str, object]:
    """Say of each source of evidence how much of it there is, and the trust that it has earned."""
    rows: dict[str, int] = {}
    for event in learner.evidence.events if learner.evidence is not None else ():
        rows[event.source] = rows.get(event.source, 0) + len(event)
    quality, cost = beliefs.quality.trust, beliefs.cost.trust
    return {
        source: {"rows": count, "quality_trust": quality.get(source), "cost_trust": cost.get(source)}
        for source, count in rows.items()
        if count
    }


def _share(evidence: float, own: int) -> float:
    """Share of what is believed of a provider's quality that comes from evidence, by what both are worth."""
    return round(evidence / (evidence + own), 4) if evidence else 0.0


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
