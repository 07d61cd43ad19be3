"""The answer when routing itself fails: the route's default provider, flagged as such.

Nothing here looks at learned state, so that no state, however bad, can stop it.
"""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.types.events import Decision
from fairlead.optimizer.types.route import Route


def default_provider(route: Route) -> str:
    """Return the default that the route declares, else its first healthy provider, else its first."""
    if route.default_provider is not None:
        return route.default_provider
    healthy = [provider.name for provider in route.providers if provider.healthy]
    return healthy[0] if healthy else route.providers[0].name


def fallback(
    route: Route,
    *,
    decision_id: str,
    reason: str,
    seq: int,
    width: int,
    at_s: float | None = None,
    task: str | None = None,
) -> Decision:
    """Decide for the default provider with probability 1; ``reason`` says why it was not routed.

    The decision has no features and expects nothing of any provider (NaN). Its outcome counts as money
    spent and towards latency and failures, but not towards anything that depends on features.
    """
    names = tuple(provider.name for provider in route.providers)
    selected = default_provider(route)
    return Decision(
        id=decision_id,
        seq=seq,
        route=route.name,
        providers=names,
        probabilities=np.array([float(name == selected) for name in names]),
        selected=selected,
        features=np.zeros(width),
        input_tokens=0.0,
        expected=np.full((6, len(names)), np.nan),
        ineligible={},
        shadow_price=0.0,
        floor=np.zeros(len(names)),
        encoder_version="",
        model_version=0,
        at_s=at_s,
        task=task,
        fallback_used=reason,
    )
