"""Costs as multiples of the price list of their time, so that what is learned outlasts a price change."""

from __future__ import annotations

from fairlead.optimizer.learning.ledger import Ledger
from fairlead.optimizer.learning.open_decision import OpenDecision
from fairlead.optimizer.learning.quarantine import Quarantine
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.pricing import call_price, kind_of, unit_near
from fairlead.optimizer.types.events import Outcome


class CostNormalizer:
    """Turns the cost of a call into the quantity that is learned, and relearns costs if the unit changes."""

    def __init__(
        self, beliefs: Beliefs, *, history: RouteHistory, ledger: Ledger, quarantine: Quarantine
    ) -> None:
        self._beliefs = beliefs
        self._history = history
        self._ledger = ledger
        self._quarantine = quarantine

    def units(self, decision: OpenDecision, name: str, cost: float | None) -> float | None:
        """Return a provider's cost in units of its time; None if unknown or not learned at present."""
        prices, unit = decision.prices.get(name), self._beliefs.cost_unit(name)
        if (
            cost is None
            or (prices is None and unit is None)
            or self._history.cost_kind(name) != kind_of(prices)
        ):
            return None
        price = call_price(prices, unit[1] if unit else 0.0).scaled(self._beliefs.cost_scale(name))
        base, unit_usd = price.at(decision.input_tokens)
        return (cost - base) / unit_usd

    def may_move_unit(self, decision: OpenDecision, outcome: Outcome) -> bool:
        """Whether the unit of a provider may be another one now.

        Without price list it may follow from this decision; and if most costs are far from it, it is ten
        times as much, or a hundred times, and so on.
        """
        name = outcome.served_provider
        unit = self._beliefs.cost_unit(name)
        if self._quarantine.scale(name, unit and unit[1]) != self._beliefs.cost_scale(name):
            return True
        if outcome.served_provider in decision.prices or not outcome.cost_usd or outcome.status != "ok":
            return False
        return unit is None or decision.seq <= unit[0]

    def recount(self, name: str) -> None:
        """Relearn a provider's cost from the open decisions; the earliest that is believed gives the unit.

        A unit that was taken from a decision closed since stays: no open one is earlier.
        """
        served = [
            (decision, cost)
            for decision in self._ledger.decisions()
            if (outcome := decision.outcome) is not None
            and outcome.served_provider == name
            and outcome.status == "ok"
            and (cost := self._quarantine.verdict(decision, outcome).learned_usd) is not None
        ]
        unit, of_evidence = self._beliefs.cost_unit(name), self._beliefs.evidence_units.get(name)
        if unit is None or unit == of_evidence or self._ledger.is_open(unit[0]):
            unlisted = [(d.seq, unit_near(cost)) for d, cost in served if cost and name not in d.prices][:1]
            unit = min([*unlisted, *([of_evidence] if of_evidence else [])], default=None)
        scale = self._quarantine.scale(name, unit and unit[1])
        self._beliefs.recount_cost(name, unit, scale=scale)
        for decision, cost in served:
            units = self.units(decision, name, cost)
            if units is not None and decision.row is not None:
                self._beliefs.cost.add(name, decision.row, units, seq=decision.seq)
        # The router fits it as soon as it may: where fits take long, beside the event loop.
        self._beliefs.derive()
