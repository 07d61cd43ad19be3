"""Everything a route believes about its providers, and what that says of one request.

Quality, cost, latency and failure are learned apart and combined only here, when a request asks. Cost is
learned as a multiple of what the price list says of a typical call, so a price change takes effect at
the next request without anything being learned again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from optimizer.features.base import Block
from optimizer.models.linear import LinearBelief
from optimizer.models.service import FailureBelief, LatencyBelief
from optimizer.route import Provider

FloatArray = NDArray[np.float64]

TYPICAL_OUTPUT_TOKENS: Final = 300.0
"""Length of the answer for which the price list is read; what is learned is the multiple of it."""

CONTEXT_WIDTH: Final = 0.3
PROVIDER_WIDTH: Final = 0.6
"""Shares of the posterior's width that Thompson sampling explores: of what the context adds, and of the
provider's own level. A level informs every later request, a context only those like it."""

SMOOTHING: Final = 0.002
"""Least spread of a utility, in points of quality: keeps the distribution continuous in the shadow price."""

_MOST_VARIANCE: Final = 0.09
_LEAST_RATIO: Final = 0.05
_UNKNOWN_USD: Final = 1e-3


@dataclass(frozen=True)
class Judgement:
    """What is believed of each provider for n requests: arrays of shape (n, k), latency and failure (k,)."""

    quality: FloatArray
    quality_variance: FloatArray
    width_variance: FloatArray
    """Variance that exploration uses: the context's and the level's, each by its share."""
    cost_usd: FloatArray
    cost_sd: FloatArray
    latency_s: FloatArray
    failure: FloatArray

    def utility(self, shadow_price: float, latency_weight: float) -> tuple[FloatArray, FloatArray]:
        """Mean utility and its spread, quality − λ cost − weight · latency, each of shape (n, k)."""
        mean = self.quality - shadow_price * self.cost_usd
        if latency_weight:
            mean = mean - latency_weight * np.nan_to_num(self.latency_s)
        money = (CONTEXT_WIDTH * shadow_price) * self.cost_sd
        return mean, np.sqrt(self.width_variance + money * money + SMOOTHING * SMOOTHING)


class Beliefs:
    """The models of one route, for its providers in the route's order."""

    def __init__(self, blocks: Sequence[Block], providers: Sequence[Provider]) -> None:
        self._fresh(blocks)
        self.latency: dict[str, LatencyBelief] = {}
        self.failure: dict[str, FailureBelief] = {}
        self._unit_usd: dict[str, float] = {}
        self.configure(providers)

    def _fresh(self, blocks: Sequence[Block]) -> None:
        self.quality = LinearBelief(blocks, prior_mean=0.5, prior_variance=0.1)
        self.cost = LinearBelief(blocks, prior_mean=1.0, prior_variance=0.5, target_bits=12)

    def restart(self, blocks: Sequence[Block]) -> None:
        """Forget quality and cost, for features of other blocks; latency, failure and prices stay."""
        changes = self.quality.changes
        self._fresh(blocks)
        self.quality.changes = changes
        # Who has left the route may still have decisions that are counted again.
        for names in (tuple(self.latency), self.names):
            self.quality.providers(names)
            self.cost.providers(names)
        self.refreshed()

    def configure(self, providers: Sequence[Provider]) -> None:
        """Take these providers and prices from the next request on."""
        self.names = tuple(provider.name for provider in providers)
        for name in self.names:
            self.latency.setdefault(name, LatencyBelief())
            self.failure.setdefault(name, FailureBelief())
        prices = [provider.prices for provider in providers]
        self._priced = np.array([price is not None for price in prices])
        self._input = np.array([price.input_usd_per_mtok / 1e6 if price else 0.0 for price in prices])
        per_call = [
            price.per_call_usd + price.output_usd_per_mtok * TYPICAL_OUTPUT_TOKENS / 1e6 if price else 0.0
            for price in prices
        ]
        self._call = np.array(per_call)
        self.quality.providers(self.names)
        self.cost.providers(self.names)
        self.refreshed()

    def refreshed(self) -> None:
        """Derive what every request needs from the posteriors and counts, once after each change."""
        at = self.quality.posterior.centre
        level = np.minimum(((self.quality.posterior.cov @ at) @ at), _MOST_VARIANCE)
        self._level_width = (PROVIDER_WIDTH**2 - CONTEXT_WIDTH**2) * np.maximum(level, 0.0)
        self._least_ratio = (
            np.maximum(self.cost.posterior.mean @ self.cost.posterior.centre, _LEAST_RATIO) / 10
        )
        self.served()

    def served(self) -> None:
        """Derive what follows from latencies and failures."""
        self._latency = np.array([self.latency[name].mean_s() for name in self.names])
        self._tail = np.array([self.latency[name].quantile_s() for name in self.names])
        self._failure = np.array([self.failure[name].probability() for name in self.names])

    @property
    def tail_latency_s(self) -> FloatArray:
        """95 % quantile of each provider's latency, NaN without history."""
        return self._tail

    def list_cost(self, input_tokens: float | FloatArray) -> FloatArray:
        """What the price list says of a call with the typical answer: USD, shape (k,) or (n, k)."""
        cost = self._call + np.multiply.outer(input_tokens, self._input)
        if self._priced.all():
            priced: FloatArray = np.maximum(cost, 1e-12)
            return priced
        units = np.array([self._unit_usd.get(name, np.nan) for name in self.names])
        known = np.where(self._priced, self._call, units)
        # A cost that nobody knows is taken to be the dearest that is known, never 0.
        guess = float(np.nanmax(known)) if np.isfinite(known).any() else _UNKNOWN_USD
        listed: FloatArray = np.where(self._priced, cost, np.where(np.isnan(units), guess, units))
        return np.maximum(listed, 1e-12)

    def first_cost(self, name: str, cost_usd: float) -> bool:
        """Take the first real cost as the unit of a provider without price list; True if it was the first."""
        if name not in self.names or name in self._unit_usd or cost_usd <= 0:
            return False
        if self._priced[self.names.index(name)]:
            return False
        self._unit_usd[name] = 2.0 ** round(float(np.log2(cost_usd)))
        return True

    def judge(self, rows: FloatArray, list_cost: FloatArray) -> Judgement:
        """What is believed for requests with rows (n, d), intercept in front, and list costs (n, k)."""
        mean, variance = self.quality.predict(rows)
        ratio, ratio_variance = self.cost.predict(rows)
        cost = np.maximum(ratio, self._least_ratio) * list_cost
        capped = np.minimum(variance, _MOST_VARIANCE)
        return Judgement(
            quality=np.minimum(np.maximum(mean, -0.2), 1.2) * (1.0 - self._failure),
            quality_variance=variance,
            width_variance=CONTEXT_WIDTH**2 * capped + self._level_width,
            cost_usd=cost,
            cost_sd=np.minimum(np.sqrt(ratio_variance) * list_cost, 0.5 * cost),
            latency_s=self._latency,
            failure=self._failure,
        )
