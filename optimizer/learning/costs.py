"""What real costs teach: each as units of the price list of its time, whatever order they come in."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.optimizer.learning.facts import Facts, cost_of
from fairlead.optimizer.learning.ledger import Ledger
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.pricing import call_price, kind_of, unit_near
from fairlead.optimizer.types.events import Outcome


class Costs:
    """Turns costs into what is learned of them, and learns them anew where that changes."""

    def __init__(self, beliefs: Beliefs, history: RouteHistory, ledger: Ledger) -> None:
        self._beliefs = beliefs
        self._history = history
        self._ledger = ledger

    def units(self, facts: Facts, name: str, cost: float | None) -> float | None:
        """A cost as what is learned of it; None where nothing is, or not what is learned at present."""
        prices, unit = facts.prices.get(name), self._beliefs.cost_unit(name)
        if (
            cost is None
            or (prices is None and unit is None)
            or self._history.cost_kind(name) != kind_of(prices)
        ):
            return None
        base, unit_usd = call_price(prices, unit[1] if unit else 0.0).at(facts.input_tokens)
        return (cost - base) / unit_usd

    def moves_unit(self, facts: Facts, outcome: Outcome, seq: int) -> bool:
        """Whether the unit of a provider without price list may follow from another decision now."""
        if outcome.served_provider in facts.prices or not outcome.cost_usd:
            return False
        unit = self._beliefs.cost_unit(outcome.served_provider)
        return unit is None or seq <= unit[0]

    def recount(self, name: str, facts: Mapping[str, Facts]) -> None:
        """Learn a provider's cost anew from the open decisions; the earliest one gives the unit.

        A unit that was taken from a decision closed since stays: no open one is earlier.
        """
        told = [
            (entry, cost)
            for entry in self._ledger.entries()
            if (outcome := entry.outcome) is not None
            and outcome.served_provider == name
            and (cost := cost_of(outcome, facts[entry.id].prices.get(name))) is not None
        ]
        own = [(e.seq, unit_near(cost)) for e, cost in told if cost and name not in facts[e.id].prices]
        unit = self._beliefs.cost_unit(name)
        if unit is None or self._ledger.is_open(unit[0]):
            unit = own[0] if own else None
        self._beliefs.recount_cost(name, unit)
        for entry, cost in told:
            one = facts[entry.id]
            units = self.units(one, name, cost)
            if units is not None and one.row is not None:
                self._beliefs.cost.add(name, one.row, units, seq=entry.seq)
        self._beliefs.cost.refit()
        self._beliefs.derive()
