"""What learning needs of a decision beyond the ledger's entry: its beliefs, and the prices of its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from optimizer.history import RouteHistory
from optimizer.log import decode, encode
from optimizer.models.statistics import quantised
from optimizer.state import State, from_texts, texts
from optimizer.types import Decision, FloatArray, Outcome, Prices


class Facts:
    """What learning needs of a decision beyond the ledger's entry."""

    __slots__ = ("booked_usd", "decision", "expected_usd", "prices", "row")

    def __init__(self, decision: Decision, prices: Mapping[str, Prices]) -> None:
        # A fallback is given without features, and so says nothing about what depends on them.
        self.row: FloatArray | None = None if decision.fallback_used else quantised(decision.features)
        """None too once the route has moved to features that this decision was not given."""
        self.decision = decision
        self.prices = prices
        """Price list of that time, by provider; one mapping is shared by all decisions under it."""
        self.expected_usd = decision.expected_usd
        self.booked_usd = self.expected_usd


def facts_state(facts: Sequence[Facts]) -> State:
    """All of them as plain arrays and lines of a log, in their order; prices are in the route's history."""
    return {
        "decisions": texts(encode(one.decision) for one in facts),
        "encoded": np.array([one.row is not None for one in facts], dtype=np.bool_),
        "booked_usd": np.array([one.booked_usd for one in facts]),
    }


def facts_from_state(state: State, history: RouteHistory) -> list[Facts]:
    """What gave the `facts_state`, under the prices of the route's history."""
    found = []
    columns = zip(
        from_texts(state["decisions"]), state["encoded"].tolist(), state["booked_usd"].tolist(), strict=True
    )
    for line, encoded, booked_usd in columns:
        decision = decode(line)
        assert isinstance(decision, Decision)
        one = Facts(decision, history.prices_at(decision.order))
        one.booked_usd = booked_usd
        if not encoded:
            one.row = None
        found.append(one)
    return found


def cost_of(outcome: Outcome, prices: Prices | None) -> float | None:
    """USD of an outcome: as reported, or its usage at the prices of its decision's time; None if unknown."""
    if outcome.cost_usd is not None:
        return outcome.cost_usd
    if prices is None or outcome.output_tokens is None:
        return None
    return prices.cost_usd(
        input_tokens=outcome.input_tokens or 0,
        output_tokens=outcome.output_tokens,
        cached_tokens=outcome.cached_tokens or 0,
    )
