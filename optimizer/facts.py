"""What learning needs of a decision beyond the ledger's entry: its beliefs, and the prices of its time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from optimizer.log import decode, encode
from optimizer.models.statistics import quantised
from optimizer.state import State, from_texts, texts
from optimizer.types import Decision, FloatArray, Outcome, Prices, Route


class Facts:
    """What learning needs of a decision beyond the ledger's entry."""

    __slots__ = ("booked_usd", "decision", "expected_usd", "listed", "prices", "row")

    def __init__(
        self,
        decision: Decision,
        prices: Mapping[str, Prices],
        listed: tuple[tuple[str, ...], FloatArray],
    ) -> None:
        self.row: FloatArray | None = quantised(decision.features)
        """None once the route has moved to features that this decision was not given."""
        self.decision = decision
        self.listed = listed
        """Providers at that time, and what the price list said of each, shape (k,)."""
        self.prices = prices
        """Price list of that time, by provider; one mapping is shared by all decisions under it."""
        self.expected_usd = float(decision.expected[2, decision.providers.index(decision.selected)])
        self.booked_usd = self.expected_usd

    def listed_usd(self, name: str) -> float | None:
        """What the price list said of a call of this provider; None where it was not on the route."""
        names, costs = self.listed
        return float(costs[names.index(name)]) if name in names else None


def facts_state(facts: Sequence[Facts]) -> State:
    """All of them as plain arrays and lines of a log, in their order."""
    lists: list[Mapping[str, Prices]] = []
    for one in facts:
        if not any(one.prices is known for known in lists):
            lists.append(one.prices)
    which = [next(i for i, known in enumerate(lists) if one.prices is known) for one in facts]
    return {
        "decisions": texts(encode(one.decision) for one in facts),
        "encoded": np.array([one.row is not None for one in facts], dtype=np.bool_),
        "booked_usd": np.array([one.booked_usd for one in facts]),
        "listed_names": texts(json.dumps(one.listed[0]) for one in facts),
        "listed_usd": np.concatenate([np.empty(0), *(one.listed[1] for one in facts)]),
        "price_list": np.array(which, dtype=np.int64),
        "price_lists": texts(
            json.dumps({name: asdict(prices) for name, prices in known.items()}) for known in lists
        ),
    }


def facts_from_state(state: State, in_force: Mapping[str, Prices]) -> list[Facts]:
    """What gave the `facts_state`; the price list in force goes on being shared with decisions to come."""
    lists: list[Mapping[str, Prices]] = []
    for line in from_texts(state["price_lists"]):
        known = {name: Prices(**prices) for name, prices in json.loads(line).items()}
        lists.append(in_force if known == in_force else known)
    found, start = [], 0
    names_of = [tuple(json.loads(line)) for line in from_texts(state["listed_names"])]
    lines = from_texts(state["decisions"])
    columns = (state["price_list"].tolist(), state["encoded"].tolist(), state["booked_usd"].tolist())
    for line, names, which, encoded, booked_usd in zip(lines, names_of, *columns, strict=True):
        decision = decode(line)
        assert isinstance(decision, Decision)
        one = Facts(decision, lists[which], (names, state["listed_usd"][start : start + len(names)]))
        start += len(names)
        one.booked_usd = booked_usd
        if not encoded:
            one.row = None
        found.append(one)
    return found


def prices_of(route: Route) -> dict[str, Prices]:
    return {provider.name: provider.prices for provider in route.providers if provider.prices is not None}


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
