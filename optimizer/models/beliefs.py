"""Everything a route believes about its providers, and what that says of one request.

Quality, cost, latency and failure are learned apart and combined only here, when a request asks. Cost is
learned as a multiple of what the price list says of a typical call, so a price change takes effect at
the next request without anything being learned again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.failure import FailureBelief
from fairlead.optimizer.models.latency import LatencyBelief
from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.models.posterior import Posterior
from fairlead.optimizer.models.prediction import CONTEXT_WIDTH, Judgement, assess
from fairlead.optimizer.models.pricing import PriceTable
from fairlead.optimizer.models.statistics import bounded
from fairlead.optimizer.types.arrays import State, from_texts, joined, part, texts
from fairlead.optimizer.types.route import Provider

FloatArray = NDArray[np.float64]

PROVIDER_WIDTH: Final = 0.35
EARLY_JUDGEMENTS: Final = 150.0
"""Share of the width of a provider's own level: all of it at first, for as long as there are few judgements
(this many times the root of the number of providers), and the lesser share once there are many. What is
learned of a level informs every later request, so it is worth most when most of them are still to come.
After a provider has changed they are few again, and for one that joins later they count from there."""

_LEAST_UNITS: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Posteriors computed from what a route has learned; None where one was not due."""

    quality: Posterior | None
    cost: Posterior | None


class Beliefs:
    """The models of one route, for its providers in the route's order."""

    def __init__(self, blocks: Sequence[Block], providers: Sequence[Provider]) -> None:
        self._fresh(blocks)
        self._shared_at: int | None = None
        """Number of judgements that the shares of the levels' widths were worked out at."""
        self._shares: FloatArray = np.empty(0)
        self.latency: dict[str, LatencyBelief] = {}
        self.failure: dict[str, FailureBelief] = {}
        self._units: dict[str, tuple[int, float]] = {}
        self.configure(providers)

    def _fresh(self, blocks: Sequence[Block]) -> None:
        self.quality = LinearBelief(blocks, prior_mean=0.5, prior_variance=0.1)
        self.cost = LinearBelief(blocks, prior_mean=1.0, prior_variance=0.5, target_bits=12)

    def restart(self, blocks: Sequence[Block]) -> None:
        """Forget quality and cost, for features of other blocks; latency, failure and prices stay."""
        before, others = self.quality, self.cost
        self._fresh(blocks)
        self.quality.version, self.cost.version = before.version, others.version
        self.quality.changes = before.changes
        self.quality.arrivals = {name: (since, 0) for name, (since, _) in before.arrivals.items()}
        # Who has left the route may still have decisions that are counted again.
        for names in (tuple(self.latency), self.names):
            self.quality.set_providers(names)
            self.cost.set_providers(names)
        self.derive()

    def configure(self, providers: Sequence[Provider]) -> None:
        """Take these providers and prices from the next request on."""
        self.names = tuple(provider.name for provider in providers)
        for name in self.names:
            self.latency.setdefault(name, LatencyBelief())
            self.failure.setdefault(name, FailureBelief())
        self._providers = tuple(providers)
        self._price()
        self._all_served()
        self.quality.set_providers(self.names)
        self.cost.set_providers(self.names)
        self.derive()

    def derive(self) -> None:
        """Derive what every request needs from the posteriors and counts, once after each change."""
        self._shared_at = None
        self._least_units = (
            np.maximum(self.cost.posterior.mean @ self.cost.posterior.centre, _LEAST_UNITS) / 10
        )

    @property
    def version(self) -> int:
        """How many posteriors were computed so far: which of them a decision was made with."""
        return self.quality.version + self.cost.version

    @property
    def needs_fit(self) -> bool:
        """Whether so much was learned that a posterior is to be computed anew."""
        return self.quality.needs_fit or self.cost.needs_fit

    def fit(self) -> Fitted:
        """The posteriors that are due; changes nothing."""
        return Fitted(
            quality=self.quality.fit() if self.quality.needs_fit else None,
            cost=self.cost.fit() if self.cost.needs_fit else None,
        )

    def adopt(self, fitted: Fitted) -> None:
        """Believe what was fitted, where nothing was learned since."""
        if fitted.quality is not None:
            self.quality.adopt(fitted.quality)
        if fitted.cost is not None:
            self.cost.adopt(fitted.cost)
        self.derive()

    def mark_served(self, name: str) -> None:
        """A provider's latencies or failures have changed: what follows is derived when it is asked for."""
        self._stale.add(name)

    def _all_served(self) -> None:
        self._latency, self._latency_sd, self._failure = np.empty((3, len(self.names)))
        self._stale = set(self.names)

    def _settle(self) -> None:
        if not self._stale:
            return
        # New arrays: decisions and judgements hold the old ones.
        self._latency, self._latency_sd, self._failure = map(
            np.copy, (self._latency, self._latency_sd, self._failure)
        )
        for name in self._stale.intersection(self.names):
            place = self.names.index(name)
            self._latency[place] = self.latency[name].mean_s()
            self._latency_sd[place] = self.latency[name].sd_s()
            self._failure[place] = self.failure[name].probability()
        self._stale = set()

    def state(self) -> State:
        """Everything that is believed, as plain arrays; providers and prices are the route's."""
        known = list(self.latency)
        units = [self._units.get(name, (-1, 0.0)) for name in known]
        services = {f"latency{i}": self.latency[name].state() for i, name in enumerate(known)}
        services |= {f"failure{i}": self.failure[name].state() for i, name in enumerate(known)}
        own = {
            "known": texts(known),
            "unit_seq": np.array([seq for seq, _ in units], dtype=np.int64),
            "unit_usd": np.array([usd for _, usd in units]),
        }
        return {**own, **joined(quality=self.quality.state(), cost=self.cost.state(), **services)}

    def restore(self, state: State) -> None:
        """Believe what gave `state` believed; blocks and providers are already the same."""
        self.quality.restore(part(state, "quality"))
        self.cost.restore(part(state, "cost"))
        known = from_texts(state["known"])
        for i, name in enumerate(known):
            self.latency[name], self.failure[name] = LatencyBelief(), FailureBelief()
            self.latency[name].restore(part(state, f"latency{i}"))
            self.failure[name].restore(part(state, f"failure{i}"))
        units = zip(known, state["unit_seq"].tolist(), state["unit_usd"].tolist(), strict=True)
        self._units = {name: (seq, usd) for name, seq, usd in units if seq >= 0}
        self._price()
        self._all_served()
        self.derive()

    @property
    def latency_sd_s(self) -> FloatArray:
        """Standard deviation of each provider's latency, NaN where fewer than two are known."""
        self._settle()
        return self._latency_sd

    @property
    def tail_latency_s(self) -> FloatArray:
        """95 % quantile of each provider's latency, NaN without history."""
        return np.array([self.latency[name].quantile_s() for name in self.names])

    @property
    def cost_known(self) -> NDArray[np.bool_]:
        """Who has a price list or has been paid for, shape (k,); of the others a cost is only a guess."""
        return self._prices.known

    def known_cost(self, cost_usd: FloatArray) -> FloatArray:
        """These costs (k,), NaN where one is only a guess."""
        return cost_usd if self._prices.all_known else cost_usd + self._prices.unknown

    def prices(self, input_tokens: float | FloatArray) -> tuple[FloatArray, FloatArray]:
        """USD known before the call and USD of the unit in which the rest is learned, (k,) or (n, k)."""
        return self._prices.at(input_tokens)

    def cost_unit(self, name: str) -> tuple[int, float] | None:
        """Unit in USD of a provider without price list, and the place of the decision it is taken from."""
        return self._units.get(name)

    def recount_cost(self, name: str, unit: tuple[int, float] | None) -> None:
        """Drop what was learned of a provider's cost, and take another unit for it: it is counted again."""
        if unit is None:
            self._units.pop(name, None)
        else:
            self._units[name] = unit
        self.cost.restart(name)
        self._price()

    def _price(self) -> None:
        self._prices = PriceTable(self._providers, {name: usd for name, (_, usd) in self._units.items()})

    def _level_shares(self) -> FloatArray:
        """Square of the share of each level's width that is explored, shape (k,)."""
        seen = self.quality.since_change
        if self._shared_at != seen or self.quality.arrivals:
            self._shared_at, self._shares = seen, self._shares_after(seen)
        return self._shares

    def _shares_after(self, judgements: int) -> FloatArray:
        shares = np.full(len(self.names), self._level_share(judgements))
        for name, (_, seen) in self.quality.arrivals.items():
            if name in self.names:
                place = self.names.index(name)
                shares[place] = max(shares[place], self._level_share(seen))
        return shares

    def _level_share(self, judgements: int) -> float:
        seen = max(judgements, 0) / (EARLY_JUDGEMENTS * math.sqrt(len(self.names)))
        share = PROVIDER_WIDTH + (1.0 - PROVIDER_WIDTH) / (1.0 + seen * seen)
        return share * share

    def judge(self, rows: FloatArray, prices: tuple[FloatArray, FloatArray]) -> Judgement:
        """What is believed for requests with rows (n, d), intercept in front, and their `prices`."""
        self._settle()
        base, unit = prices[0].reshape(len(rows), -1), prices[1].reshape(len(rows), -1)
        mean, variance = self.quality.predict(rows)
        ratio = rows @ self.cost.posterior.mean.T
        width, cost_sd = np.empty(mean.shape), np.empty(mean.shape)
        # In place: what is believed of the quality and of the cost, shapes (n, k).
        assess(
            mean,
            variance,
            width,
            ratio,
            cost_sd,
            base,
            unit,
            self._failure,
            self._least_units,
            self.quality.level_variance,
            self.cost.level_variance,
            CONTEXT_WIDTH**2,
            self._level_shares(),
        )
        return Judgement(
            quality=mean,
            quality_variance=variance,
            width_variance=width,
            cost_usd=ratio,
            cost_sd=cost_sd,
            latency_s=self._latency,
            failure=self._failure,
        )


def row_of(features: FloatArray, *, width: int) -> FloatArray:
    """The row (1, width + 1) that `Beliefs.judge` takes: intercept in front, within the bounds of a model."""
    if features.shape != (width,):
        raise InvalidInput(
            f"features have shape {features.shape}, but this route's encoder gives ({width},): "
            "encode the request with the encoder that the route declares"
        )
    row = np.empty((1, width + 1))
    row[0, 0] = 1.0
    row[0, 1:] = features
    if not bounded(row[0]):
        raise InvalidInput("features hold NaN or infinity, which no model may see: correct the featuriser")
    return row
