"""Who serves and who is only on trial: limits, circuits and newcomers, of which none locks out for good.

A provider beyond a limit, of which it is not known whether it meets one, whose circuit is not closed, or that
is new, is on trial: it gets a small quota of requests, so that what is believed of it can be corrected. The
policy chooses among the others. If there are none, the least bad serves.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.models.beliefs import Beliefs, Prediction
from fairlead.optimizer.models.circuit import HALF_OPEN_SHARE, PROBE_SHARE
from fairlead.optimizer.models.recent import TURNED
from fairlead.optimizer.selection.eligibility import LIMITS, ConstraintChecker
from fairlead.optimizer.types import FloatArray

BoolArray = NDArray[np.bool_]

BEYOND_SHARE: Final = 0.04
"""Share of requests for all providers beyond a limit together; at most half of it for one."""

GROWTH: Final = 4.0
"""Factor by which the share of a provider beyond a limit grows with each of its calls in a row within it."""

ENOUGH_IN_A_ROW: Final = (8, 8, 24)
"""Calls in a row within a limit (of cost, latency, tail latency) after which a provider meets it, whatever
its mean is. A tail of 5 % needs more of them."""

MOST_ON_TRIAL: Final = 0.5
"""Largest share of requests for all providers on trial together."""


class Standing(NamedTuple):
    """How k providers stand for one request; arrays have shape (k,)."""

    serving: BoolArray
    """Among whom the policy chooses."""
    quota: FloatArray
    """Largest share of requests of each other provider; 0 for those that are ineligible. What is left is for
    those that serve; they have a quota beside it only if all of them are in an outage."""
    is_doubted: BoolArray
    """Who is on trial, and not merely for being new."""
    is_capped: BoolArray
    """Of these, whose quota is never more than the policy would give them if they served."""


class Judgement:
    """What limits and circuits say about the providers for one request, in arrays (3, k) by `LIMITS`."""

    def __init__(self, checker: ConstraintChecker, beliefs: Beliefs, prediction: Prediction) -> None:
        self._checker, self._beliefs = checker, beliefs
        latency_s = prediction.latency_s
        tail_s = beliefs.tail_latency_s if checker.limits[2] is not None else latency_s
        self._turned = self._slow_now(latency_s)
        if self._turned:
            latency_s = latency_s.copy()
            latency_s[list(self._turned)] = list(self._turned.values())
        self._values = (beliefs.provable_cost(prediction.cost_usd[0]), latency_s, tail_s)
        self.excess = checker.excess(self._values)
        """Each value as a multiple of its limit; NaN if it is not known, 0 without a limit."""
        self.in_a_row = self._in_a_row()
        """Latest calls in a row within a limit that the mean is beyond."""
        enough = np.array(ENOUGH_IN_A_ROW)[:, None]
        self.unmet: BoolArray = ~(self.excess <= 1.0) & (self.in_a_row < enough)
        """Whether a provider is not believed to meet a limit."""

    def _slow_now(self, latency_s: FloatArray) -> dict[int, float]:
        """Return the providers whose latest calls were all beyond the limit of latency that their mean meets.

        By index, with the seconds that those calls took at least. A mean of hundreds of calls says much later
        that a provider has become slow. Not for the tail, which leaves some calls beyond by definition, nor
        for costs, whose latest calls are kept relative to what was expected then and not to what is now.
        """
        most, result = self._checker.limits[1], dict[int, float]()
        if most is not None:
            for i in np.flatnonzero(latency_s <= most).tolist():
                least_s = self._beliefs.latency[self._beliefs.names[i]].latest.turned(most)
                if least_s is not None:
                    result[i] = least_s
        return result

    def _in_a_row(self) -> NDArray[np.int64]:
        result = np.zeros(self.excess.shape, dtype=np.int64)
        for limit, i in np.argwhere(self.excess > 1.0).tolist():
            name, most = self._beliefs.names[i], self._checker.limits[limit]
            if limit == 0:
                ratios = self._beliefs.cost_ratios[name]
                result[limit, i] = ratios.in_a_row(1.0 / float(self.excess[0, i]))
            elif most is not None:
                result[limit, i] = self._beliefs.latency[name].latest.in_a_row(most)
        return result

    @property
    def has_doubts(self) -> bool:
        """Whether anyone may have to be on trial."""
        return bool(self._beliefs.circuits) or bool(self.unmet.any())

    def rule_out(self, ineligible: dict[str, str]) -> None:
        """Add the providers that are not believed to meet a limit, and why."""
        for i in np.flatnonzero(self.unmet.any(axis=0)).tolist():
            ineligible.setdefault(self._beliefs.names[i], self._limit_reason(i) or "")

    def stand(self, *, eligible: BoolArray, newcomers: BoolArray, share: float) -> Standing:
        """Divide the ``eligible`` providers into those that serve and those on trial.

        ``newcomers`` and those of which nothing is known divide the ``share`` of requests for getting to know
        providers between them.
        """
        beliefs, unmet, excess = self._beliefs, self.unmet, self.excess
        unknown: BoolArray = np.any(unmet & np.isnan(excess), axis=0)
        beyond: BoolArray = np.any(unmet & (excess > 1.0), axis=0)
        states = [beliefs.circuits[n].state if n in beliefs.circuits else "closed" for n in beliefs.names]
        is_open = np.array([state == "open" for state in states])
        is_half_open = np.array([state == "half_open" for state in states])
        serving = _serving(eligible, (unknown, beyond, newcomers), (is_open, is_half_open), excess=excess)
        rest = eligible & ~serving
        quota = np.where(rest, 1.0, 0.0)
        unproven = rest & (unknown | newcomers)
        if unproven.any():
            quota[unproven] = share / unproven.sum()
        tried = rest & beyond
        if tried.any():
            own = np.minimum(BEYOND_SHARE / max(int(tried.sum()), 2) * self._growth(), share)
            quota[tried] = np.minimum(quota, own)[tried]
        for probed, most in ((rest & is_open, PROBE_SHARE), (rest & is_half_open, HALF_OPEN_SHARE)):
            if probed.any():
                quota[probed] = np.minimum(quota[probed], min(most, HALF_OPEN_SHARE / probed.sum()))
        if (serving & is_open).any():
            # All of them, then: whichever is called will probably fail, so that probes take nothing away.
            quota[serving] = MOST_ON_TRIAL / serving.sum()
        quota *= min(1.0, MOST_ON_TRIAL / max(float(quota.sum()), MOST_ON_TRIAL))
        is_broken = is_open | is_half_open
        doubted = rest & ~(newcomers & ~beyond & ~is_broken)
        # One that nothing spoke against any more would take the place of those that something speaks against,
        # however good they are.
        has_better = (serving & ~(unknown | beyond | newcomers | is_broken)).any()
        return Standing(serving, quota, doubted, doubted & has_better)

    def _growth(self) -> FloatArray:
        """Factor of each provider's quota: more the longer it has been within, less the dearer it is."""
        is_beyond = self.unmet & (self.excess > 1.0)
        rows = np.where(is_beyond, self.in_a_row, max(ENOUGH_IN_A_ROW))
        dearer = np.where(is_beyond[0], self.excess[0], 1.0)
        factor: FloatArray = GROWTH ** rows.min(axis=0) / np.maximum(dearer, 1.0)
        return factor

    def reasons(self, providers: BoolArray) -> dict[str, str]:
        """Say of some ``providers``, (k,), by name, why they do not serve."""
        result: dict[str, str] = {}
        for i in np.flatnonzero(providers).tolist():
            name = self._beliefs.names[i]
            reason, circuit = self._limit_reason(i), self._beliefs.circuits.get(name)
            if reason is None and circuit is not None:
                state = circuit.state.replace("_", " ")
                reason = f"failed: its circuit is {state} since decision {circuit.since_seq} of the route"
            if reason is not None:
                result[name] = reason
        return result

    def _limit_reason(self, index: int) -> str | None:
        for row in np.flatnonzero(self.unmet[:, index]).tolist():
            value = float(self._values[row][index])
            if row == 1 and index in self._turned:
                return self._checker.slow_reason(value, calls=TURNED)
            return self._checker.limit_reason(row, value)
        return None

    def relaxed(self, index: int) -> tuple[str, ...]:
        """Name the limits that a provider is not believed to meet."""
        return tuple(name for name, unmet in zip(LIMITS, self.unmet[:, index].tolist(), strict=True) if unmet)


def _serving(
    eligible: BoolArray,
    doubts: tuple[BoolArray, BoolArray, BoolArray],
    circuits: tuple[BoolArray, BoolArray],
    *,
    excess: FloatArray,
) -> BoolArray:
    """Mark those that nothing speaks against; else those that least does. An open circuit is the worst."""
    unknown, beyond, newcomers = doubts
    is_open, is_half_open = circuits
    for broken in (is_open | is_half_open, is_open, np.zeros_like(is_open)):
        pool = eligible & ~broken
        if not pool.any():
            continue
        for best in (~unknown & ~beyond & ~newcomers, ~unknown & ~beyond):
            if (pool & best).any():
                return pool & best
        if not (pool & beyond).any():
            return pool & ~newcomers if (pool & ~newcomers).any() else pool
        pool = pool & beyond
        worst = np.where(pool, np.nan_to_num(excess, nan=0.0, posinf=np.inf).max(axis=0), np.inf)
        least: BoolArray = pool & (worst == worst.min())
        return least
    return eligible
