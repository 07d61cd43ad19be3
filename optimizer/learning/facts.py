"""What learning needs of a decision beyond the ledger's entry: its beliefs, and the prices of its time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fairlead.optimizer.learning.open_decision import Opening
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.models.statistics import quantise
from fairlead.optimizer.types import Decision, FloatArray, Outcome, Prices
from fairlead.optimizer.types.arrays import State, coded, from_coded


class Facts:
    """What learning needs of a decision beyond the ledger's entry."""

    __slots__ = ("believed", "booked_usd", "expected_usd", "input_tokens", "prices", "providers", "row")

    def __init__(
        self,
        *,
        row: FloatArray | None,
        providers: tuple[str, ...],
        believed: FloatArray,
        input_tokens: float,
        expected_usd: float,
        booked_usd: float,
        prices: Mapping[str, Prices],
    ) -> None:
        self.row = row
        """Features as they are learned from, quantised; None where it was not given those of now."""
        self.providers = providers
        self.believed = believed
        """Expected quality and its standard deviation, of each provider: shape (2, k)."""
        self.input_tokens = input_tokens
        self.expected_usd = expected_usd
        self.booked_usd = booked_usd
        """What its account was charged so far."""
        self.prices = prices
        """Price list of that time, by provider; one mapping is shared by all decisions under it."""


def facts_of(decision: Decision, prices: Mapping[str, Prices]) -> Facts:
    """What is to be kept of a decision, under the prices of its time."""
    expected_usd = decision.expected_usd
    return Facts(
        # A fallback is given without features, and so says nothing about what depends on them.
        row=None if decision.fallback_used else quantise(decision.features),
        providers=decision.providers,
        believed=decision.expected[:2].copy(),
        input_tokens=decision.input_tokens,
        expected_usd=expected_usd,
        booked_usd=expected_usd,
        prices=prices,
    )


def facts_state(facts: Sequence[Facts]) -> State:
    """All of them as plain arrays, in their order; features are in the ledger, prices in the history."""
    return {
        "encoded": np.array([one.row is not None for one in facts], dtype=np.bool_),
        "numbers": np.array(
            [(one.input_tokens, one.expected_usd, one.booked_usd) for one in facts], dtype=np.float64
        ).reshape(len(facts), 3),
        "believed": np.concatenate([np.empty(0), *(one.believed.ravel() for one in facts)]),
        # Most decisions are among the same providers.
        **coded("providers", [json.dumps(one.providers) for one in facts]),
    }


def facts_from_state(
    state: State, history: RouteHistory, entries: Sequence[Opening]
) -> Iterator[tuple[str, Facts]]:
    """What gave the `facts_state`, by the id of its decision."""
    shared: dict[str, tuple[str, ...]] = {}
    start = 0
    columns = zip(
        entries,
        state["encoded"].tolist(),
        state["numbers"].tolist(),
        from_coded("providers", state),
        strict=True,
    )
    for entry, encoded, (tokens, expected_usd, booked_usd), listed in columns:
        if listed not in shared:
            shared[listed] = tuple(json.loads(listed))
        providers = shared[listed]
        stop = start + 2 * len(providers)
        yield (
            entry.id,
            Facts(
                row=quantise(entry.features) if encoded else None,
                providers=providers,
                believed=state["believed"][start:stop].reshape(2, -1),
                input_tokens=tokens,
                expected_usd=expected_usd,
                booked_usd=booked_usd,
                prices=history.prices_at(entry.seq),
            ),
        )
        start = stop


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
