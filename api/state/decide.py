"""One decision: the router's choice, or the route's default provider if the router cannot answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from fairlead.api.state.configuration_view import DeclaredRoute
from fairlead.api.state.served_route import ServedRoute
from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.errors import BudgetSpent, InvalidInput, NoEligibleProvider
from fairlead.optimizer.selection.eligibility import ConstraintChecker, lowest, require_eligible
from fairlead.optimizer.selection.money_left import MoneyLeft
from fairlead.optimizer.types import Constraints, Context, Decision, FloatArray, Objective, Provider, Route


def decide(
    served: ServedRoute,
    context: Context,
    *,
    decision_id: str,
    draw: float,
    at_s: float,
    candidates: tuple[str, ...] | None = None,
    constraints: Constraints | None = None,
    objective: Objective | None = None,
    ready: bool = True,
    ahead: DeclaredRoute | None = None,
) -> tuple[Decision, str | None]:
    """Choose a provider; after a fault, answer with the route's default provider and name the fault.

    ``candidates`` are patterns of names, None for every provider; ``ready`` is False during a rebuild.
    ``ahead`` is the configuration in force if the router has not learned it yet: what it forbids holds.
    Raises `InvalidInput` or `NoEligibleProvider` for bad requests, and `BudgetSpent` if a hard budget has
    nothing left: a routing fault never fails a request.
    """
    route = served.router.route if ahead is None else ahead.core
    names = None if candidates is None else matching_providers(route, candidates)
    check_vectors(served, context)
    reason, fault = standing_reason(served, ahead, ready=ready), None
    about = {"decision_id": decision_id, "draw": draw, "at_s": at_s, "objective": objective}
    if reason is None:
        try:
            return _routed(served, context, ahead, constraints=constraints, candidates=names, **about), None
        except NoEligibleProvider as error:
            if ahead is None or isinstance(error, BudgetSpent):
                raise
            reason = "the router has not learned the route's providers yet"
        except Exception as error:
            fault = type(error).__name__
            reason = f"the router failed ({fault})"
    fallback = served.router.fallback(
        decision_id=decision_id, reason=reason, at_s=at_s, task=context.task, route=route
    )
    limits = money_left(served, at_s)
    return eligible_fallback(route, fallback, constraints=constraints, candidates=names, limits=limits), fault


def _routed(
    served: ServedRoute,
    context: Context,
    ahead: DeclaredRoute | None,
    *,
    constraints: Constraints | None,
    candidates: tuple[str, ...] | None,
    **about: Any,
) -> Decision:
    """Let the router choose, kept to the configuration ``ahead`` of what it has learned, if any."""
    barred: Mapping[str, str] = {}
    if ahead is not None:
        constraints, candidates, barred = restricted(
            ahead.core, learned=served.router.route, constraints=constraints, candidates=candidates
        )
    decision = served.router.decide(context, constraints=constraints, candidates=candidates, **about)
    if not _is_sound(decision.probabilities, decision.expected):
        raise ArithmeticError("the probabilities are not those of a distribution")
    return replace(decision, ineligible={**decision.ineligible, **barred}) if barred else decision


def restricted(
    route: Route,
    *,
    learned: Route,
    constraints: Constraints | None,
    candidates: tuple[str, ...] | None,
) -> tuple[Constraints, tuple[str, ...], Mapping[str, str]]:
    """Constraints and candidates of a request that keep a router to a configuration it has not learned.

    ``route`` is that configuration, ``learned`` the router's. Also returns why it rules providers out.
    """
    reasons = ConstraintChecker(route.providers, route.constraints).check(input_tokens=0.0)
    names = {provider.name for provider in route.providers}
    barred = {
        provider.name: reasons.get(provider.name, "is not on the route any more")
        for provider in learned.providers
        if provider.name not in names or provider.name in reasons
    }
    among = tuple(
        provider.name
        for provider in learned.providers
        if provider.name not in barred and (candidates is None or provider.name in candidates)
    )
    rules, own = constraints or Constraints(), route.constraints
    rules = replace(
        rules,
        max_cost_usd=lowest([rules.max_cost_usd, own.max_cost_usd]),
        max_latency_s=lowest([rules.max_latency_s, own.max_latency_s]),
        max_tail_latency_s=lowest([rules.max_tail_latency_s, own.max_tail_latency_s]),
        strict=rules.strict or own.strict,
    )
    return rules, among, barred


def standing_reason(served: ServedRoute, ahead: DeclaredRoute | None, *, ready: bool) -> str | None:
    """Why the default provider answers every request for now; None if the router does."""
    if served.body.paused if ahead is None else ahead.body.paused:
        return "the route is paused"
    if not ready:
        return "the state is being rebuilt"
    return served.broken


def matching_providers(route: Route, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the providers that match any pattern; a pattern that matches none is a misspelling."""
    names = [provider.name for provider in route.providers]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InvalidInput(f"candidate {pattern!r} matches no provider of the route: choose from {names}")
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def check_vectors(served: ServedRoute, context: Context) -> None:
    """Raise `InvalidInput` if a vector is not as wide as the route declares."""
    declared, name = served.body.features, served.body.name
    if context.embedding is not None:
        if declared.embedding is None:
            raise InvalidInput(f"route {name!r} declares no embedding: send the prompt or the messages")
        if len(context.embedding) != declared.embedding:
            raise InvalidInput(
                f"the embedding has {len(context.embedding)} numbers, and route {name!r} learned on "
                f"{declared.embedding}: send one from the same model"
            )
    if context.features is not None:
        if len(context.features) != served.width:
            raise InvalidInput(
                f"there are {len(context.features)} features, and the route has {served.width}: send as many"
            )
    elif declared.vector is not None:
        raise InvalidInput(f"route {name!r} learns on vectors: send {declared.vector} numbers as features")


@compiled
def _is_sound(probabilities: FloatArray, expected: FloatArray) -> bool:
    """Whether the probabilities sum to 1 and every expectation is finite or unknown (NaN)."""
    total = 0.0
    for probability in probabilities:
        total += probability
    for row in expected:
        for number in row:
            if abs(number) == np.inf:
                return False
    return abs(total - 1.0) < 1e-6


def eligible_fallback(
    route: Route,
    decision: Decision,
    *,
    constraints: Constraints | None,
    candidates: tuple[str, ...] | None,
    limits: Sequence[MoneyLeft] = (),
) -> Decision:
    """Move a fallback to the first eligible provider if the request rules out the route's default.

    Hard budgets with nothing left (``limits``) leave only providers whose price list says that they are free.
    """
    # Limits of cost and latency are left out: they need beliefs, and a fallback has none.
    checker = ConstraintChecker(route.providers, route.constraints, constraints or Constraints())
    ineligible = checker.check(candidates=candidates, input_tokens=0.0)
    cost_usd = np.array([0.0 if _is_free(provider) else np.nan for provider in route.providers])
    for left in limits:
        left.check(ineligible, decision.providers, cost_usd=cost_usd)
    require_eligible(ineligible, decision.providers, decision_id=decision.id)
    eligible = [name for name in decision.providers if name not in ineligible]
    selected = decision.selected if decision.selected in eligible else eligible[0]
    probabilities = np.array([float(name == selected) for name in decision.providers])
    return replace(decision, selected=selected, probabilities=probabilities, ineligible=ineligible)


def _is_free(provider: Provider) -> bool:
    prices = provider.prices
    return prices is not None and prices.cost_usd(input_tokens=2, output_tokens=1, cached_tokens=1) == 0.0


def money_left(served: ServedRoute, at_s: float) -> tuple[MoneyLeft, ...]:
    """Return what hard budgets have left, as far as the state of a router that may be broken tells."""
    try:
        return served.router.money_left(at_s)
    except Exception:
        return ()


def ranking(decision: Decision, latency_weight: float) -> list[str]:
    """Return the eligible providers by expected utility, the best first; those on trial come last."""
    quality, _, cost, _, latency, _ = decision.expected
    loss = decision.shadow_price * cost - quality
    if latency_weight:
        loss += latency_weight * np.where(latency == latency, latency, 0.0)
    # Nothing is expected of a fallback, and of two providers worth the same the route names one first: the
    # sort keeps their order. It is Python's, since numpy's gives the interpreter lock away each time.
    losses = [0.0 if x != x else x for x in loss.tolist()]
    order = sorted(range(len(losses)), key=losses.__getitem__)
    names, ineligible, on_trial = decision.providers, decision.ineligible, decision.on_trial
    if on_trial:  # the sort keeps the order of all others
        order.sort(key=lambda i: names[i] in on_trial)
    return [names[i] for i in order if names[i] not in ineligible]
