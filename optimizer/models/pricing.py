"""The cost of a call: a part known in advance, and a part that is learned in units of the price list.

If the list prices output tokens, the call and its input are known, and the length of the answer is learned;
otherwise the whole call is learned as a multiple of what the list says. Without a price list the unit is a
power of two near the provider's first cost, by seq.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from fairlead.optimizer.types.arrays import FloatArray
from fairlead.optimizer.types.route import Prices, Provider

TYPICAL_OUTPUT_TOKENS: Final = 300.0
"""Output tokens that make one unit: the length of an answer that is expected before any was seen."""

TYPICAL_INPUT_TOKENS: Final = 100.0
"""Input tokens of a request, where none is at hand."""

OUTPUT_TOKENS: Final = "output tokens"
"""The kind of cost whose learned part is the length of the answer (`kind_of`)."""

_UNKNOWN_USD: Final = 1e-3
LEAST_USD: Final = 1e-12
"""Least USD of a unit, since costs are divided by it."""


class CallPrice(NamedTuple):
    """USD of a call with t input tokens and y units: base + base_token · t + y (unit + unit_token · t)."""

    base: float
    base_token: float
    unit: float
    unit_token: float

    def at(self, input_tokens: float) -> tuple[float, float]:
        """Return the USD known beforehand, and the USD of the unit in which the rest is learned."""
        unit = max(self.unit + self.unit_token * input_tokens, LEAST_USD)
        return self.base + self.base_token * input_tokens, unit

    def scaled(self, factor: float) -> CallPrice:
        """Return the price of a call under a list that is ``factor`` times as high."""
        if factor == 1.0:
            return self
        return CallPrice(
            self.base * factor, self.base_token * factor, self.unit * factor, self.unit_token * factor
        )


def kind_of(prices: Prices | None) -> str:
    """Name what is learned of the cost under this list: counts of one kind say nothing about another."""
    if prices is None:
        return "dollars"
    return OUTPUT_TOKENS if prices.output_usd_per_mtok > 0 else "multiple of the list"


def call_price(prices: Prices | None, unit_usd: float) -> CallPrice:
    """Return the two parts under a price list; without one, ``unit_usd`` is the unit."""
    kind = kind_of(prices)
    if prices is None:
        return CallPrice(0.0, 0.0, unit_usd, 0.0)
    by_token = prices.input_usd_per_mtok / 1e6
    if kind == OUTPUT_TOKENS:
        unit = prices.output_usd_per_mtok * TYPICAL_OUTPUT_TOKENS / 1e6
        return CallPrice(prices.per_call_usd, by_token, unit, 0.0)
    return CallPrice(0.0, 0.0, prices.per_call_usd, by_token)


def unit_near(cost_usd: float) -> float:
    """Round a cost to a power of two: costs of one size have one unit, whichever of them came first."""
    return float(2.0 ** round(float(np.log2(cost_usd))))


class PriceTable:
    """The call prices of a route's providers as arrays, in their order."""

    def __init__(
        self, providers: Sequence[Provider], unit_usd: Mapping[str, float], scales: Mapping[str, float]
    ) -> None:
        has_price = [p.prices is not None or p.name in unit_usd for p in providers]
        self.is_known = np.array(has_price)
        """Whether each provider has a price list or was paid for, shape (k,); if not, its cost is a guess."""
        calls = np.array(
            [
                call_price(p.prices, unit_usd.get(p.name, 0.0)).scaled(scales.get(p.name, 1.0))
                for p in providers
            ]
        )
        self._base, self._base_token, self._known_unit, self._unit_token = np.ascontiguousarray(calls.T)
        self._one_unit = not self._unit_token.any()
        self.guess(None)

    def guess(self, typical: FloatArray | None) -> None:
        """Let an unknown cost be the highest known one, by what is typical of each in units, (k,); not 0."""
        usual = (self._base + self._known_unit * (1.0 if typical is None else typical))[self.is_known]
        guess = float(usual.max()) if len(usual) else _UNKNOWN_USD
        self._unit: FloatArray = np.maximum(np.where(self.is_known, self._known_unit, guess), LEAST_USD)
        self._unit.setflags(write=False)

    def at(self, input_tokens: float | FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the USD known beforehand and the USD of the unit, (k,), or (n, k) for tokens (n,)."""
        tokens = input_tokens[:, None] if isinstance(input_tokens, np.ndarray) else input_tokens
        base: FloatArray = self._base + tokens * self._base_token
        if self._one_unit:
            return base, np.broadcast_to(self._unit, base.shape) if base.ndim > 1 else self._unit
        unit: FloatArray = self._unit + tokens * self._unit_token
        return base, unit
