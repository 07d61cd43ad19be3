"""One decision: what is asked of a route's router, and what is answered where the router cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from fairlead.api.state.served_route import ServedRoute
from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.selection.eligibility import ConstraintChecker, merge, require_one
from fairlead.optimizer.types import Constraints, Context, Decision, FloatArray, Objective


@dataclass(kw_only=True, slots=True)
class Ask:
    """A request for a choice."""

    route: str
    decision_id: str
    context: Context
    candidates: tuple[str, ...] | None = None
    """Patterns; None: all providers of the route."""
    constraints: Constraints | None = None
    objective: Objective | None = None
    draw: float = 0.0
    at_s: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What is kept with the decision and not looked at."""


def decide(served: ServedRoute, ask: Ask, *, starting: bool) -> tuple[Decision, str | None]:
    """The choice; and the name of the fault, where one made the route's default the answer.

    Bad requests raise `InvalidInput` or `NoEligibleProvider`. Nothing that is wrong inside does.
    """
    candidates = expanded(served, ask.candidates)
    check_vectors(served, ask)
    reason = standing_reason(served, starting=starting)
    fault = None
    if reason is None:
        try:
            return _routed(served, ask, candidates), None
        except NoEligibleProvider:
            raise
        except Exception as error:
            fault = type(error).__name__
            reason = f"the router failed ({fault})"
    return default_decision(served, ask, candidates, reason=reason), fault


def standing_reason(served: ServedRoute, *, starting: bool) -> str | None:
    """Why the default provider answers whatever is asked; None where the router does."""
    if served.body.paused:
        return "the route is paused"
    if starting:
        return "the state is being rebuilt"
    return served.broken


def expanded(served: ServedRoute, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The providers that match; a pattern that none does is a misspelling."""
    if patterns is None:
        return None
    names = [provider.name for provider in served.router.route.providers]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InvalidInput(f"candidate {pattern!r} matches no provider of the route: choose from {names}")
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def check_vectors(served: ServedRoute, ask: Ask) -> None:
    """Raise `InvalidInput` for vectors of another width than the route declares."""
    declared = served.body.features
    context = ask.context
    if context.embedding is not None:
        if declared.embedding is None:
            raise InvalidInput(f"route {ask.route!r} declares no embedding: send the prompt or the messages")
        if len(context.embedding) != declared.embedding:
            raise InvalidInput(
                f"the embedding has {len(context.embedding)} numbers, and route {ask.route!r} learned on "
                f"{declared.embedding}: send one of the same model"
            )
    if context.features is not None:
        width = served.width
        if len(context.features) != width:
            raise InvalidInput(
                f"there are {len(context.features)} features, and the route has {width}: send as many"
            )
    elif declared.vector is not None:
        raise InvalidInput(
            f"route {ask.route!r} learns on vectors: send {declared.vector} numbers as features"
        )
    return None


def _routed(served: ServedRoute, ask: Ask, candidates: tuple[str, ...] | None) -> Decision:
    decision = served.router.decide(
        ask.context,
        decision_id=ask.decision_id,
        draw=ask.draw,
        objective=ask.objective,
        constraints=ask.constraints,
        candidates=candidates,
        at_s=ask.at_s,
    )
    if not _is_sound(decision.probabilities, decision.expected):
        raise ArithmeticError("the probabilities are not those of a distribution")
    return decision


@compiled
def _is_sound(probabilities: FloatArray, expected: FloatArray) -> bool:
    """Whether probabilities are those of a distribution, and nothing that is expected is infinite."""
    total = 0.0
    for chance in probabilities:
        total += chance
    for row in expected:
        for number in row:
            if abs(number) == np.inf:
                return False
    return abs(total - 1.0) < 1e-6


def default_decision(
    served: ServedRoute, ask: Ask, candidates: tuple[str, ...] | None, *, reason: str
) -> Decision:
    """The route's default provider, or where the request rules it out the first that it does not."""
    route = served.router.route
    decision = served.router.fallback(
        decision_id=ask.decision_id, reason=reason, at_s=ask.at_s, task=ask.context.task
    )
    merged = merge(route.constraints, ask.constraints)
    # Limits of cost and latency need beliefs; a fallback has none.
    rules = replace(merged, max_cost_usd=None, max_latency_s=None, max_tail_latency_s=None)
    nothing = np.full(len(route.providers), np.nan)
    ruled_out = ConstraintChecker(route.providers, rules).check(
        candidates=candidates,
        input_tokens=0.0,
        expected_cost_usd=nothing,
        expected_latency_s=nothing,
        tail_latency_s=nothing,
    )
    require_one(ask.decision_id, ruled_out, decision.providers)
    left = [name for name in decision.providers if name not in ruled_out]
    selected = decision.selected if decision.selected in left else left[0]
    probabilities = np.array([float(name == selected) for name in decision.providers])
    return replace(decision, selected=selected, probabilities=probabilities, ineligible=ruled_out)


def ranked(decision: Decision, latency_weight: float) -> list[str]:
    """The providers that may serve it, the best expected first, as the decision weighed them."""
    quality, _, cost, _, latency, _ = decision.expected
    loss = decision.shadow_price * cost - quality
    if latency_weight:
        loss += latency_weight * np.where(latency == latency, latency, 0.0)
    # Of a fallback nothing is expected, and of two that are worth the same the route names one first: the
    # sort leaves their order. It is Python's, since numpy's lets another thread take over each time.
    losses = [0.0 if x != x else x for x in loss.tolist()]
    order = sorted(range(len(losses)), key=losses.__getitem__)
    names, ruled_out = decision.providers, decision.ineligible
    return [names[i] for i in order if names[i] not in ruled_out]
