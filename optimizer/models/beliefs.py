"""Everything a route believes about its providers, and what that predicts for a request.

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

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.circuit import EXPECTED_FAILURE, Circuit
from fairlead.optimizer.models.failure import NO_CALLS, Calls, FailureBelief, failure_rates
from fairlead.optimizer.models.latency import LatencyBelief
from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.models.plausibility import REACH
from fairlead.optimizer.models.posterior import Posterior
from fairlead.optimizer.models.pricing import LEAST_USD, OUTPUT_TOKENS, PriceTable, kind_of
from fairlead.optimizer.models.recent import RecentValues
from fairlead.optimizer.types import FloatArray, Provider
from fairlead.optimizer.types.arrays import State, from_texts, joined, part, texts

PROVIDER_WIDTH: Final = 0.35
EARLY_FEEDBACK: Final = 150.0
"""Share of the width of a provider's own level that is explored: all of it while there is little feedback
(up to about this many values times the root of the number of providers), the lesser share once there is
much. What is learned of a level informs every later request, so it is worth most while most of them are
still to come. After a provider has changed, feedback is little again; for a provider that joins later, it
counts from there."""

OPTIMISM: Final = 1.0
"""Posterior standard deviations of quality by which an exploring policy believes more than is expected.
A bonus is spent only on requests where it could change the choice, a draw on all of them."""

CONTEXT_WIDTH: Final = 0.15
"""Share of the posterior's width that Thompson sampling explores of what the context adds, beyond that."""

COST_WIDTH: Final = 0.3
"""The same of what is believed of a cost at the average context, of which there is no bonus."""

SMOOTHING: Final = 0.002
"""Least spread of a utility, in points of quality: keeps the distribution continuous in the shadow price."""

AGE_STEP: Final = 16
"""Decisions of the route after which its failures are weighed again."""

_CONTEXT_SHARE: Final = CONTEXT_WIDTH**2
_MOST_VARIANCE: Final = 0.09
_MOST_SD: Final = 0.3
_LEAST_SHARE: Final = 0.1  # least cost of a call over what it is on average, whatever the context says


@dataclass(slots=True, kw_only=True)
class Prediction:
    """What is predicted of k providers for n requests."""

    expected: FloatArray
    """Shape (6, n, k), with the rows of `Decision.expected`."""
    quality: FloatArray
    """A row of ``expected``, shape (n, k), as is ``cost_usd``."""
    cost_usd: FloatArray
    explored_variance: FloatArray
    """Variance of the quality that exploration uses, shape (n, k): the context's, and that of the level with
    the failure rate, each by its share."""
    latency_s: FloatArray
    """Shape (k,), NaN if a provider has no history."""
    latency_sd_s: FloatArray
    """Standard deviation of each provider's latency, shape (k,), NaN if fewer than two are known."""
    version: int
    """`Beliefs.version`."""

    def utility(
        self, *, shadow_price: float, latency_weight: float, explores: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean utility and its spread, quality − λ cost − weight × latency, each of shape (n, k).

        For a policy that ``explores``, a quality is higher by `OPTIMISM` than is expected of it.
        A provider without a latency history counts as quick as the others are on average.
        """
        mean, spread = np.empty(self.quality.shape), np.empty(self.quality.shape)
        weights = (shadow_price, OPTIMISM if explores else 0.0)
        _weigh(self.expected, self.explored_variance, weights, mean, spread)
        if latency_weight:
            has_history = np.isfinite(self.latency_s)
            typical = float(self.latency_s[has_history].mean()) if has_history.any() else 0.0
            mean -= latency_weight * np.where(has_history, self.latency_s, typical)
        return mean, spread


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Posteriors computed from what a route has learned; None for one that did not need it."""

    quality: Posterior | None
    cost: Posterior | None


class Beliefs:
    """The models of one route, for its providers in the route's order."""

    def __init__(self, blocks: Sequence[Block], providers: Sequence[Provider]) -> None:
        self._reset(blocks)
        self._shared_at: int | None = None
        """Amount of feedback for which the shares of the levels' widths were computed."""
        self._shares: FloatArray = np.empty(0)
        self.latency: dict[str, LatencyBelief] = {}
        self.failure: dict[str, FailureBelief] = {}
        self.cost_ratios: dict[str, RecentValues] = {}
        """Cost of each provider's latest calls, divided by what was expected of them."""
        self.invoices: dict[str, int] = {}  # costs in force of each provider that came with outcomes
        self.circuits: dict[str, Circuit] = {}
        """The circuits that are not closed, by provider of the route."""
        self.now = -1
        """Seq of the route's latest decision or configuration: what was learned of a provider ages by it."""
        self._failing: set[str] = set()
        self._calls: dict[str, Calls] = {}
        """Each provider's weighted calls as of decision `_aged_to`, while any provider fails."""
        self._aged_to = -1
        self._units: dict[str, tuple[int, float]] = {}
        self.evidence_units: dict[str, tuple[int, float]] = {}
        """The earliest evidence of a cost that can give a provider without price list its unit, likewise."""
        self._scales: dict[str, float] = {}
        """Factor by which a provider's costs differ from its price list or unit, if not 1."""
        self.configure(providers)

    def _reset(self, blocks: Sequence[Block]) -> None:
        self.quality = LinearBelief(blocks, prior_mean=0.5, prior_variance=0.1)
        self.cost = LinearBelief(blocks, prior_mean=1.0, prior_variance=0.5, is_scaled=True)

    def use(self, quality: LinearBelief, cost: LinearBelief) -> None:
        """Believe this of quality and cost, in other features; latency, failure and prices stay."""
        self.quality, self.cost = quality, cost
        self.derive()

    def restart(self, blocks: Sequence[Block]) -> None:
        """Begin with features of other blocks, before anything was learned."""
        self._reset(blocks)
        self.configure(self._providers)

    def configure(self, providers: Sequence[Provider]) -> None:
        """Use these providers and prices from the next request on."""
        self.names = tuple(provider.name for provider in providers)
        for name in self.names:
            self.latency.setdefault(name, LatencyBelief())
            self.failure.setdefault(name, FailureBelief())
            self.cost_ratios.setdefault(name, RecentValues())
        self.circuits = self._circuits()
        self._providers = tuple(providers)
        self.cost.alike = frozenset(p.name for p in providers if kind_of(p.prices) == OUTPUT_TOKENS)
        self._update_prices()
        self._mark_all_served()
        self.quality.set_providers(self.names)
        self.cost.set_providers(self.names)
        self.derive()

    def derive(self) -> None:
        """Derive what every request needs from posteriors and counts; call it after either has changed."""
        self._shared_at = None
        self._level_units = self.cost.posterior.mean @ self.cost.centre
        self._prices.guess(self.cost.posterior.typical)

    @property
    def version(self) -> int:
        """Number of posteriors computed so far; it names those that a decision was made with."""
        return self.quality.version + self.cost.version

    @property
    def needs_fit(self) -> bool:
        """Whether enough was learned to recompute a posterior."""
        return self.quality.needs_fit or self.cost.needs_fit

    def fit(self) -> Fitted:
        """Compute the posteriors that need it; changes nothing."""
        return Fitted(
            quality=self.quality.fit() if self.quality.needs_fit else None,
            cost=self.cost.fit() if self.cost.needs_fit else None,
        )

    def adopt(self, fitted: Fitted) -> None:
        """Use these posteriors, provided that nothing was learned since."""
        if fitted.quality is not None:
            self.quality.adopt(fitted.quality)
        if fitted.cost is not None:
            self.cost.adopt(fitted.cost)
        self.derive()

    def count_call(self, name: str, seq: int, *, failed: bool, billed: float, sign: int) -> bool:
        """Count whether a call failed, or take that back; returns whether the provider's circuit changed.

        ``billed`` is the cost of a failed call as a share of the usual one.
        """
        failure, before = self.failure[name], self.circuits.get(name)
        if sign > 0:
            failure.add(seq, failed, billed)
        else:
            failure.remove(seq, failed, billed)
        if failure.any:
            self._failing.add(name)
        else:
            self._failing.discard(name)
        if not self._failing and not failed:
            return False
        self._stale.add(name)
        self._calls.pop(name, None)
        circuit = failure.circuit
        if circuit.state == "closed" or name not in self.names:
            self.circuits.pop(name, None)
            return before is not None
        self.circuits[name] = circuit
        return before is None or before.state != circuit.state

    def _circuits(self) -> dict[str, Circuit]:
        circuits = {name: self.failure[name].circuit for name in self.names}
        return {name: circuit for name, circuit in circuits.items() if circuit.state != "closed"}

    def count_latency(self, name: str, seq: int, latency_s: float, *, sign: int) -> None:
        """Count how long a call that succeeded took, or take that back."""
        self.latency[name].add(latency_s, seq, sign=sign)
        self._stale.add(name)

    def forget_latencies_before(self, name: str, seq: int, later: Sequence[tuple[int, float]]) -> None:
        """Go by the latencies of a provider's decisions from ``seq`` on alone; ``later`` are those so far."""
        self.latency[name].forget_before(seq, later)
        self._stale.add(name)

    def forget_calls_before(self, name: str, seq: int) -> None:
        """Go by the calls of a provider's decisions from ``seq`` on alone, for how often it fails."""
        self.failure[name].forget_before(seq)
        self._stale.add(name)
        self._calls.pop(name, None)

    def _mark_all_served(self) -> None:
        self._service: FloatArray = np.zeros((5, len(self.names)))
        """Of each provider: mean and standard deviation of latency, failure rate and its variance, and the
        share of the usual price that failures are billed at."""
        self._stale = set(self.names)
        self._calls = {}

    def _update_service(self) -> None:
        is_older = bool(self._failing) and self.now // AGE_STEP * AGE_STEP != self._aged_to
        if not self._stale and not is_older:
            return
        self._service = self._service.copy()  # predictions hold the old one
        for name in self._stale.intersection(self.names):
            latency = self.latency[name]
            self._service[:2, self.names.index(name)] = latency.mean_s(), latency.sd_s()
        if self._failing or self._service[2].any():
            self._service[2:] = failure_rates(self._aged_calls(is_older=is_older))
        self._stale = set()

    def _aged_calls(self, *, is_older: bool) -> list[Calls]:
        if not self._failing:
            self._calls = {}
            return [NO_CALLS for _ in self.names]
        if is_older:
            self._calls, self._aged_to = {}, self.now // AGE_STEP * AGE_STEP
        for name in self.names:
            if name not in self._calls:
                self._calls[name] = self.failure[name].calls(self._aged_to)
        return [self._calls[name] for name in self.names]

    def state(self) -> State:
        """Everything that is believed, as plain arrays; providers and prices are the route's."""
        names = list(self.latency)
        units = [self._units.get(name, (-1, 0.0)) for name in names]
        services = {f"latency{i}": self.latency[name].state() for i, name in enumerate(names)}
        services |= {f"failure{i}": self.failure[name].state() for i, name in enumerate(names)}
        services |= {f"ratios{i}": self.cost_ratios[name].state() for i, name in enumerate(names)}
        own = {
            "known": texts(names),
            "unit_seq": np.array([seq for seq, _ in units], dtype=np.int64),
            "unit_usd": np.array([usd for _, usd in units]),
            "scale": np.array([self.cost_scale(name) for name in names]),
            "now": np.array(self.now),
            "invoices": np.array([self.invoices.get(name, 0) for name in names], dtype=np.int64),
        }
        return {**own, **joined(quality=self.quality.state(), cost=self.cost.state(), **services)}

    def restore(self, state: State) -> None:
        """Believe what gave `state` believed; blocks and providers are already the same."""
        self.quality.restore(part(state, "quality"))
        self.cost.restore(part(state, "cost"))
        names = from_texts(state["known"])
        for i, name in enumerate(names):
            self.latency[name], self.failure[name] = LatencyBelief(), FailureBelief()
            self.cost_ratios[name] = RecentValues()
            self.latency[name].restore(part(state, f"latency{i}"))
            self.failure[name].restore(part(state, f"failure{i}"))
            self.cost_ratios[name].restore(part(state, f"ratios{i}"))
        self.now, self._aged_to = int(state["now"]), -1
        self._failing = {name for name in names if self.failure[name].any}
        self.circuits = self._circuits()
        units = zip(names, state["unit_seq"].tolist(), state["unit_usd"].tolist(), strict=True)
        self._units = {name: (seq, usd) for name, seq, usd in units if seq >= 0}
        scales = state["scale"].tolist() if "scale" in state else []  # 0.1.0 had none
        self._scales = {name: scale for name, scale in zip(names, scales, strict=False) if scale != 1.0}
        counts = state["invoices"].tolist() if "invoices" in state else map(self.cost.observed, names)
        self.invoices = {name: count for name, count in zip(names, counts, strict=True) if count}
        self._update_prices()
        self._mark_all_served()
        self.derive()

    @property
    def tail_latency_s(self) -> FloatArray:
        """95 % quantile of each provider's latency, NaN without history."""
        return np.array([self.latency[name].quantile_s() for name in self.names])

    def provable_cost(self, cost_usd: FloatArray) -> FloatArray:
        """Return these costs (k,), or NaN for a provider without price list that was never paid for."""
        return np.where(self._prices.is_known, cost_usd, np.nan)

    def experience(self) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return feedback since the last change, and whether the real cost was seen, (k,) each.

        Evidence counts as far as it is trusted. On a route without invoices, usage stands in for them.
        """
        seen = self.invoices.get if any(self.invoices.values()) else self.cost.observed
        feedback = np.array([self.quality.count(name) + self.quality.earned(name) for name in self.names])
        is_paid = np.array([(seen(name) or 0) > 0 or self.cost.earned(name) >= 1.0 for name in self.names])
        return feedback, is_paid

    def listed_usd(self, cost_usd: FloatArray, input_tokens: float) -> FloatArray:
        """Return what a typical call costs by each list, in its true unit; without one, ``cost_usd`` (k,)."""
        # Answers of another length are no error of unit.
        scales = [self.cost_scale(name) for name in self.names]
        usual = [scale if abs(math.log2(scale)) <= REACH else 1.0 for scale in scales]
        base, unit = self._prices.at(input_tokens)
        return np.where(self._prices.is_known, (base + unit) / np.array(usual), cost_usd)

    def seen_shares(self, where: NDArray[np.bool_]) -> FloatArray:
        """Return what latest calls cost over what was expected of them, at most 1, ``where`` that counts."""
        each = zip(self.names, where.tolist(), strict=True)
        return np.array([min(self.cost_ratios[name].median(), 1.0) if asked else 1.0 for name, asked in each])

    def cost_unit(self, name: str) -> tuple[int, float] | None:
        """Return the seq and the USD of the decision that gives a provider without price list its unit."""
        return self._units.get(name)

    def cost_scale(self, name: str) -> float:
        """Return the factor by which a provider's costs differ from its price list or unit; usually 1."""
        return self._scales.get(name, 1.0)

    def recount_cost(self, name: str, unit: tuple[int, float] | None, *, scale: float = 1.0) -> None:
        """Drop what was learned of a provider's cost, which is then counted again in another unit."""
        self._scales.pop(name, None)
        if scale != 1.0:
            self._scales[name] = scale
        if unit is None:
            self._units.pop(name, None)
        else:
            self._units[name] = unit
        self.cost.forget(name)
        self._update_prices()

    def _update_prices(self) -> None:
        units = {name: usd for name, (_, usd) in self._units.items()}
        self._prices = PriceTable(self._providers, units, self._scales)

    def _level_shares(self) -> FloatArray:
        """Square of the share of each level's width that is explored, shape (k,)."""
        feedback, arrivals = self.quality.since_change, self.quality.arrivals
        if self._shared_at != feedback or arrivals:
            self._shared_at, self._shares = feedback, np.full(len(self.names), self._level_share(feedback))
            if self.quality.worth is not None:
                self._shares = self._shares_beside_evidence(*self.quality.worth)
            for i, name in enumerate(self.names):
                if name in arrivals and self.quality.worth is None:
                    self._shares[i] = max(self._shares[i], self._level_share(arrivals[name][1]))
        return self._shares

    def _shares_beside_evidence(self, trust: FloatArray, worth: FloatArray) -> FloatArray:
        """Average the shares over the ways to trust evidence, by how much of it that makes count.

        Evidence of a provider counts as if as much had been learned of every provider.
        """
        arrivals, feedback = self.quality.arrivals, self.quality.since_change
        since = [min(feedback, arrivals[name][1] if name in arrivals else feedback) for name in self.names]
        counts = np.maximum(since, 0) + len(self.names) * worth
        shares: FloatArray = trust @ np.array([list(map(self._level_share, row)) for row in counts.tolist()])
        return shares

    def _level_share(self, feedback: float) -> float:
        ratio = max(feedback, 0.0) / (EARLY_FEEDBACK * math.sqrt(len(self.names)))
        share = PROVIDER_WIDTH + (1.0 - PROVIDER_WIDTH) / (1.0 + ratio * ratio)
        return share * share

    def predict(self, rows: FloatArray, input_tokens: float | FloatArray) -> Prediction:
        """Predict for requests with rows (n, d), intercept in front, and input tokens, (n,) or one number."""
        self._update_service()
        latency_s, latency_sd_s, failure, failure_variance, billed = self._service
        base, unit = self._prices.at(input_tokens)
        quality = self.quality.predict(rows)
        cost_units = self.cost.expect(rows)
        n, k = cost_units.shape
        terms = (
            latency_s,
            failure,
            failure_variance,
            billed,
            self._level_units,
            self.quality.level_variance,
            self.cost.level_variance,
            self._level_shares(),
        )
        result = np.empty((7, n, k))
        _combine(quality, cost_units, (base.reshape(n, -1), unit.reshape(n, -1)), terms, result)
        return Prediction(
            expected=result[:6],
            quality=result[0],
            cost_usd=result[2],
            explored_variance=result[6],
            latency_s=latency_s,
            latency_sd_s=latency_sd_s,
            version=self.quality.version + self.cost.version,
        )

    def expected_now(self, prediction: Prediction) -> FloatArray:
        """Return what is expected of a single request, (6, k), given that some circuits are not closed.

        The policy goes by the failure rate, which is that of ordinary times.
        """
        expected = prediction.expected[:, 0]
        if self.circuits:
            expected = expected.copy()
            for name, circuit in self.circuits.items():
                i, rate = self.names.index(name), EXPECTED_FAILURE[circuit.state]
                if rate > expected[5, i]:
                    expected[0, i] *= (1.0 - rate) / (1.0 - expected[5, i])
                    expected[5, i] = rate
        return expected


@compiled
def _combine(
    quality: FloatArray,
    cost_units: FloatArray,
    prices: tuple[FloatArray, FloatArray],
    terms: tuple[FloatArray, ...],
    result: FloatArray,
) -> None:
    """Fill in ``expected`` and ``explored_variance`` of a `Prediction`, stacked to (7, n, k).

    ``quality`` (2, n, k) holds mean and variance, ``cost_units`` (n, k) the cost in units of the price list,
    and ``prices`` the USD that are known before the call and the USD of one unit, each (n, k). ``terms`` (k,)
    do not depend on the request: latency, share of failures with its variance, and of the usual price that
    these are billed at, cost at the average context in units (less than 0 if a list of input is too
    high), the variances of quality and cost there, and the share of the level's variance that is explored.
    """
    latency_s, failure, failure_variance, billed, level_units, quality_level, cost_level, level_share = terms
    base, unit = prices
    for k in range(len(failure)):
        paid = 1.0 - failure[k] * (1.0 - billed[k])
        level = min(max(quality_level[k], 0.0), _MOST_VARIANCE)
        relative_sd = math.sqrt(max(cost_level[k], 0.0))
        for n in range(len(cost_units)):
            variance = min(quality[1, n, k], _MOST_VARIANCE)
            served = min(max(quality[0, n, k], -0.2), 1.2)
            result[0, n, k] = served * (1.0 - failure[k])
            result[1, n, k] = math.sqrt(quality[1, n, k])
            usual = base[n, k] + level_units[k] * unit[n, k]
            cost = max(base[n, k] + cost_units[n, k] * unit[n, k], _LEAST_SHARE * usual, LEAST_USD) * paid
            result[2, n, k] = cost
            result[3, n, k] = min(relative_sd * unit[n, k], 0.5 * cost)
            result[4, n, k] = latency_s[k]
            result[5, n, k] = failure[k]
            level_variance = level + served * served * failure_variance[k]
            result[6, n, k] = _CONTEXT_SHARE * max(variance - level, 0.0) + level_share[k] * level_variance


@compiled
def _weigh(
    expected: FloatArray,
    explored_variance: FloatArray,
    weights: tuple[float, float],
    mean: FloatArray,
    spread: FloatArray,
) -> None:
    """Fill in the mean of the utility without latency, and the spread that is explored.

    ``weights`` are those of one USD, and of a standard deviation of the quality.
    """
    quality, quality_sd, cost, cost_sd = expected[0], expected[1], expected[2], expected[3]
    failure = expected[5]
    shadow_price, optimism = weights
    money = COST_WIDTH * shadow_price
    for n in range(mean.shape[0]):
        for k in range(mean.shape[1]):
            bonus = optimism * min(quality_sd[n, k], _MOST_SD) * (1.0 - failure[n, k])
            mean[n, k] = quality[n, k] + bonus - shadow_price * cost[n, k]
            own = money * cost_sd[n, k]
            spread[n, k] = math.sqrt(explored_variance[n, k] + own * own + SMOOTHING * SMOOTHING)
