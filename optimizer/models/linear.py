"""One quantity (quality, or cost relative to the price list) as a linear function of the context.

Statistics of each provider are kept in two sums: what was decided since its last change, and before.
A drift alarm moves the boundary; what lies before it then counts as `PAST_WORTH` observations at most.
The boundary is a seq of decisions, never a time of arrival, so late feedback falls on its own side of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.compiled import compiled, compiled_aside
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.kernels import WIDEST, condition
from fairlead.optimizer.models.posterior import Mixture, Posterior, Sums, typical_values
from fairlead.optimizer.models.prior import PAST_WORTH, Means, Prior
from fairlead.optimizer.models.reduction import Reduction
from fairlead.optimizer.models.sparse import fit_sparse
from fairlead.optimizer.models.statistics import ROW_UNIT, Observation, Statistics
from fairlead.optimizer.models.trust import added, fit_trusting
from fairlead.optimizer.types.arrays import BOUND, FloatArray, State, from_texts, joined, part, texts

GROWTH: Final = 1.3
"""The posterior is recomputed from the sums when the number of observations has grown by this factor."""

_POSTERIOR: Final = ("mean", "cov", "noise", "weights", "centre")

_ARRIVED: Final = 100_000
"""Observations after which it no longer matters when a provider joined."""


class LinearBelief:
    """Belief about one quantity for all providers of a route, by provider name."""

    def __init__(
        self, blocks: Sequence[Block], *, prior_mean: float, prior_variance: float, is_scaled: bool = False
    ) -> None:
        self._width = sum(block.width for block in blocks)
        self._bits = 12 if is_scaled else 16  # multiples are counted less finely, and reach further
        self._level = prior_mean, prior_variance
        self._reduction = Reduction(blocks)
        self._is_sparse = self._reduction.is_needed or self._width >= WIDEST
        self._mixture = Mixture(
            self._reduction.blocks,
            prior_mean=prior_mean,
            prior_variance=prior_variance,
            is_sparse=self._is_sparse,
        )
        self._is_scaled = is_scaled  # whether multiples of what is typical of each provider are modelled
        self.alike: frozenset[str] = frozenset()
        """Providers whose targets say what is typical of each other's, if so."""
        self._current: dict[str, Statistics] = {}
        self._past: dict[str, Statistics] = {}
        self._prior: Prior | None = None
        self.worth: tuple[FloatArray, FloatArray] | None = None
        """Probability of each way to trust evidence, (c,), and the observations that it is worth, (c, k)."""
        self.changes: dict[str, int] = {}
        """Seq of the last change of each provider that has changed."""
        self._index: dict[str, int] = {}
        """Row of the posterior by provider."""
        self.total = 0
        """Observations in force of all providers."""
        self.since_change = 0
        """Observations of all providers, of decisions since the latest change of one of them."""
        self.arrivals: dict[str, tuple[int, int]] = {}
        """For each provider that joined a running route: its first seq, and all observations since."""
        self._fit_at = -np.inf
        """Number of observations at which the posterior must be recomputed."""
        self.posterior: Posterior
        self.centre: FloatArray
        """The average context in the coordinates of the posterior."""
        self.level_variance: FloatArray
        """Variance of each provider's expectation at the average context, shape (k,)."""
        self.version = 0

    @property
    def members(self) -> dict[str, float]:
        """Weight of each member of the mixture by its name: how much which context is trusted."""
        return dict(zip(self._mixture.names, self.posterior.weights.tolist(), strict=True))

    def set_providers(self, names: Sequence[str]) -> None:
        """Make ``names`` the rows of the posterior, in this order; what was learned of others is kept."""
        if list(names) == list(self._index):
            return
        rows = [self._index.get(name) for name in names]
        self._index = {name: i for i, name in enumerate(names)}
        for name in names:
            if name not in self._current:
                self._current[name] = self._empty()
                self._past[name] = self._empty()
        if not self._index or not self._has_observations():
            self.refit()
            return
        # Until the fit, who was there is believed to be as before, and a newcomer average.
        self.adopt(self._rearranged(rows))
        self._fit_at = -np.inf

    def know(self, source: str, seq: int, means: Mapping[str, Means | None]) -> None:
        """Replace what a source of evidence says of these providers; its weight is that which it earns."""
        prior = self._prior or Prior(width=self._width, target_bits=self._bits)
        prior.know(source, seq, means)
        self._prior = prior if prior.names else None
        self._fit_at = -np.inf

    @property
    def trust(self) -> dict[str, float]:
        """Earned power of each source of evidence, in [0, 1]."""
        return {} if self._prior is None else self._prior.powers(self.posterior.trust)

    def earned(self, name: str) -> float:
        """Return how many observations of one provider its evidence is worth, by the trust that it earned."""
        if self.worth is None or name not in self._index:
            return 0.0
        trust, worth = self.worth
        return float(trust @ worth[:, self._index[name]])

    def _worth(self) -> tuple[FloatArray, FloatArray] | None:
        trust = self.posterior.trust
        if self._prior is None or trust is None:
            return None
        return trust, self._prior.worth(list(self._index), self.changes)

    def reencoded(
        self,
        blocks: Sequence[Block],
        transform: FloatArray,
        again: Mapping[str, Sequence[Observation]],
    ) -> LinearBelief:
        """Return what was observed in other features, not fitted yet and without evidence; changes nothing.

        ``again`` holds, by provider, the observations that are known one by one. The sums of the rest are
        mapped by ``transform``, as in `Statistics.reencoded`.
        """
        mean, variance = self._level
        other = LinearBelief(blocks, prior_mean=mean, prior_variance=variance, is_scaled=self._is_scaled)
        other.alike = self.alike
        for name in self._current:
            change = self.changes.get(name, 0)
            late = [each for each in again.get(name, ()) if each.seq >= change]
            early = [each for each in again.get(name, ()) if each.seq < change]
            other._current[name] = self._current[name].reencoded(transform, late)
            other._past[name] = self._past[name].reencoded(transform, early)
        other.changes, other.arrivals = dict(self.changes), dict(self.arrivals)
        other.total, other.since_change, other.version = self.total, self.since_change, self.version
        other._index = dict(self._index)
        return other

    def _has_observations(self) -> bool:
        return self._prior is not None or any(
            self._current[name].count or self._past[name].count for name in self._index
        )

    def _rearranged(self, rows: Sequence[int | None]) -> Posterior:
        """Return the present posterior with these of its rows; None gives the prior."""
        posterior, prior = self.posterior, self._mixture.prior(len(rows))
        mean, cov, noise = prior.mean, prior.cov, prior.noise
        for i, row in enumerate(rows):
            if row is not None:
                mean[i], cov[i], noise[i] = posterior.mean[row], posterior.cov[row], posterior.noise[row]
        arranged = replace(posterior, mean=mean, cov=cov, noise=noise)
        if not self._is_scaled:
            return arranged
        typical, _ = self._typical(list(self._index))
        is_new = np.array([row is None for row in rows])
        return replace(arranged.times(np.where(is_new, typical, 1.0)), typical=typical)

    def _typical(self, names: Sequence[str]) -> tuple[FloatArray, float]:
        """Return what is typical of these providers' targets, shape (k,), and what the route's is worth."""
        count, total, square = np.array([self._totals(name) for name in names]).reshape(-1, 3).T
        for sums in self._evidence(self._stacked(names), names) if self._prior is not None else ():
            # All that a source says counts as one observation: a scale, if there is no other.
            share = 1.0 / np.maximum(sums.count, 1.0)
            count, total = count + share * sums.count, total + share * sums.moment[:, 0]
            square = square + share * sums.square
        return typical_values(count, total, square, shared=[name in self.alike for name in names])

    def _empty(self) -> Statistics:
        return Statistics(width=self._width, target_bits=self._bits)

    def add(self, name: str, row: FloatArray, target: float, *, seq: int, sign: int = 1) -> None:
        """Count one observation (sign 1), or take it back (sign -1); ``row`` comes from `quantise`."""
        if len(row) != self._width + 1:
            # A compiled loop would write beyond the end of a matrix.
            raise InvalidInput(f"a row has {len(row) - 1} features, but this model has {self._width}")
        side = self._current if seq >= self.changes.get(name, 0) else self._past
        side[name].add(row, target, sign=sign)
        self.total += sign
        if not self.changes or seq >= max(self.changes.values()):
            self.since_change += sign
        for newcomer, (since, count) in self.arrivals.items():
            if seq >= since:
                self.arrivals[newcomer] = (since, count + sign)
        if side is self._current and name in self._index:
            posterior, index = self.posterior, self._index[name]
            belief = (posterior.mean, posterior.cov, self.centre, self.level_variance)
            noise = sign * float(posterior.noise[index])
            x = row * ROW_UNIT if posterior.basis is None else posterior.basis @ (row * ROW_UNIT)
            if not condition(belief, index, x, target, noise):
                self._fit_at = -np.inf

    def forget(self, name: str) -> None:
        """Forget one provider's observations; those of later decisions are counted from nothing."""
        self.total -= self._current[name].count + self._past[name].count
        self.since_change -= self._current[name].count
        self._current[name], self._past[name] = self._empty(), self._empty()
        self._fit_at = -np.inf

    def add_arrival(self, name: str, since: int, count: int) -> None:
        """Note that a provider joins at seq ``since``, from which ``count`` observations have come."""
        recent = {each: arrival for each, arrival in self.arrivals.items() if arrival[1] < _ARRIVED}
        self.arrivals = {**recent, name: (since, count)}

    def count(self, name: str) -> int:
        """Count one provider's observations in force since its last change."""
        return self._current[name].count

    def observed(self, name: str) -> int:
        """Count all of one provider's observations in force."""
        return self._current[name].count + self._past[name].count

    @property
    def needs_fit(self) -> bool:
        """Whether enough was observed since the last posterior to recompute it."""
        return self.total >= self._fit_at

    def mark_change(self, name: str, since: int, later: Iterable[tuple[FloatArray, float]]) -> None:
        """Let decisions before ``since`` count for little; ``later`` are the observations from then on."""
        everything = self._current[name]
        everything.merge(self._past[name])
        fresh = self._empty()
        for row, target in later:
            fresh.add(row, target)
        everything.merge(fresh, sign=-1)
        self._current[name], self._past[name] = fresh, everything
        self.changes[name] = since
        self.since_change = 0
        self._fit_at = -np.inf

    def refit(self) -> None:
        """Compute the posterior from the present statistics, and use it."""
        self.adopt(self.fit())

    def adopt(self, posterior: Posterior) -> None:
        """Use a posterior that was fitted to the present statistics."""
        self.posterior = posterior
        self.centre = self._reduced(posterior.centre)
        self.level_variance = (posterior.cov @ self.centre) @ self.centre
        self.worth = self._worth()
        self._fit_at = max(self.total * GROWTH, self.total + 1.0)
        self.version += 1

    def fit(self) -> Posterior:
        """Compute the posterior of the statistics; changes nothing, and other threads go on."""
        if not self._has_observations():
            size, prior = self._width + 1, self._mixture.prior(len(self._index))
            if not self._reduction.is_needed:
                return prior
            basis = self._reduction.basis(np.zeros((size, size)), 0.0)
            return replace(prior, centre=np.eye(1, size)[0], basis=basis)
        if not self._is_scaled:
            return self._fit_multiples(np.ones(len(self._index)), self._mixture)
        typical, worth = self._typical(list(self._index))
        posterior = self._fit_multiples(typical, self._mixture.levelled(max(worth, 1.0)))
        return replace(posterior.times(typical), typical=typical)

    def _fit_multiples(self, typical: FloatArray, mixture: Mixture) -> Posterior:
        """Compute the posterior of targets as multiples of these, (k,)."""
        if not self._is_sparse:
            names = list(self._index)
            live = self._stacked(names)
            evidence = [sums.over(typical) for sums in self._evidence(live, names)]
            return self._fit(mixture.fit, live.over(typical), evidence)
        # Providers that nothing was learned of are believed to be the same: one of them stands for all.
        learned = [name for name in self._index if self._is_learned(name)]
        others = [name for name in self._index if name not in set(learned)]
        names = learned + others[:1]
        live = self._stacked(names)
        units = typical[[self._index[name] for name in names]]
        evidence = [sums.over(units) for sums in self._evidence(live, names)]
        posterior = self._fit_sparse(mixture, live.over(units), evidence)
        row_of = {name: i for i, name in enumerate(learned)}
        return posterior.rows([row_of.get(name, len(learned)) for name in self._index])

    def _stacked(self, names: Sequence[str]) -> Sums:
        size, k = self._width + 1, len(names)
        sums = Sums(np.empty((k, size, size)), np.empty((k, size)), np.empty(k), np.empty(k))
        for i, name in enumerate(names):
            sums.gram[i], sums.moment[i], sums.square[i], sums.count[i] = self._sums(name)
        return sums

    def _is_learned(self, name: str) -> bool:
        return bool(
            self._current[name].count
            or self._past[name].count
            or (self._prior is not None and self._prior.is_about(name))
        )

    def _evidence(self, live: Sums, names: Sequence[str]) -> list[Sums]:
        """Return the sums of each source, what it says of providers that have changed since discounted."""
        return [] if self._prior is None else self._prior.sums(names, live, self.changes)

    def _fit(self, fit: Callable[..., Posterior], live: Sums, evidence: Sequence[Sums]) -> Posterior:
        return fit_trusting(fit, live, evidence) if evidence else fit(live)

    def _fit_sparse(self, mixture: Mixture, live: Sums, evidence: Sequence[Sums]) -> Posterior:
        if not self._reduction.is_needed:
            return self._fit(partial(fit_sparse, mixture), live, evidence)
        size, every = self._width + 1, added(live, evidence, [1.0] * len(evidence)) if evidence else live
        pooled, total = every.gram.sum(axis=0), float(every.count.sum())
        basis = self._reduction.basis(pooled, total)
        centre = pooled[0] / total if total >= 1 else np.eye(1, size)[0]
        posterior = self._fit(
            partial(fit_sparse, mixture),
            self._reduction.apply(basis, live),
            [self._reduction.apply(basis, sums) for sums in evidence],
        )
        return replace(posterior, centre=centre, basis=basis)

    def _sums(self, name: str) -> tuple[FloatArray, FloatArray, float, float]:
        """Gram, moment, square and count of one provider, what lies before its change discounted."""
        gram, moment, square = self._current[name].sums()
        count = float(self._current[name].count)
        past = self._past[name]
        if past.count > 0:
            share = min(1.0, PAST_WORTH / past.count)
            past_gram, past_moment, past_square = past.sums()
            gram = gram + share * past_gram
            moment, square = moment + share * past_moment, square + share * past_square
            count += share * past.count
        return gram, moment, square, count

    def _totals(self, name: str) -> tuple[float, float, float]:
        """Return number, total and sum of squares of one provider's targets, those before its change less."""
        level, past = self._current[name].level(), self._past[name].level()
        share = min(1.0, PAST_WORTH / past[0]) if past[0] > 0 else 0.0
        count, total, square = (now + share * before for now, before in zip(level, past, strict=True))
        return count, total, square

    def _reduced(self, rows: FloatArray) -> FloatArray:
        """Return rows (..., d) in the coordinates of the posterior."""
        basis = self.posterior.basis
        return rows if basis is None else rows @ basis.T

    def expect(self, rows: FloatArray) -> FloatArray:
        """Predict the mean of the belief alone, shape (n, k), for rows (n, d) with intercept."""
        expected: FloatArray = self._reduced(rows) @ self.posterior.mean.T
        return expected

    def predict(self, rows: FloatArray) -> FloatArray:
        """Predict mean and variance of the belief, shape (2, n, k), for rows (n, d) with intercept."""
        posterior = self.posterior
        result = np.empty((2, len(rows), len(posterior.mean)))
        kernel = predict if len(rows) == 1 else predict_many
        kernel(self._reduced(rows), posterior.mean, posterior.cov, result)
        return result

    def state(self) -> State:
        """Everything that predictions and the next fits depend on."""
        names = list(self._current)
        sides = {
            f"{side}{i}": statistics[name].state()
            for side, statistics in (("current", self._current), ("past", self._past))
            for i, name in enumerate(names)
        }
        basis = self.posterior.basis
        return {
            **{name: getattr(self.posterior, name) for name in _POSTERIOR},
            **({} if basis is None else {"basis": basis}),
            **({} if (trust := self.posterior.trust) is None else {"trust": trust}),
            **({} if self._prior is None else joined(prior=self._prior.state())),
            **({} if (typical := self.posterior.typical) is None else {"typical": typical}),
            "level_variance": self.level_variance,
            "known": texts(names),
            "names": texts(self._index),
            "changes": np.array([self.changes.get(name, -1) for name in names], dtype=np.int64),
            "counts": np.array([self.total, self.since_change, self.version], dtype=np.int64),
            "due_at": np.array(self._fit_at),
            "arrived": texts(self.arrivals),
            "arrivals": np.array(list(self.arrivals.values()), dtype=np.int64).reshape(-1, 2),
            **joined(**sides),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`; the blocks are those that it was made with.

        A state without posterior, whose sums are not those that were fitted, is fitted.
        """
        names = from_texts(state["known"])
        for i, name in enumerate(names):
            self._current[name] = Statistics.from_state(part(state, f"current{i}"))
            self._past[name] = Statistics.from_state(part(state, f"past{i}"))
        self.changes = {
            name: since for name, since in zip(names, state["changes"].tolist(), strict=True) if since >= 0
        }
        self._index = {name: i for i, name in enumerate(from_texts(state["names"]))}
        self.total, self.since_change, self.version = state["counts"].tolist()
        self._fit_at = float(state["due_at"])
        arrivals = map(tuple, state["arrivals"].tolist())
        self.arrivals = dict(zip(from_texts(state["arrived"]), arrivals, strict=True))
        if prior := part(state, "prior"):
            self._prior = Prior(width=self._width, target_bits=self._bits)
            self._prior.restore(prior)
        if "mean" not in state:
            self.refit()
            return
        # Copies: these arrays are changed in place, and the client keeps its own.
        arrays: dict[str, Any] = {name: state[name].copy() for name in _POSTERIOR}
        basis = state["basis"].copy() if "basis" in state else None
        typical = state["typical"].copy() if "typical" in state else None
        self.posterior = Posterior(**arrays, basis=basis, trust=state.get("trust"), typical=typical)
        self.centre = self._reduced(self.posterior.centre)
        self.level_variance = state["level_variance"].copy()
        self.worth = self._worth()

    def statistics(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        """Return the sums of each provider as whole numbers: ``NAME/current`` and ``NAME/past``."""
        sides = (("current", self._current), ("past", self._past))
        return {
            f"{name}/{side}": statistics[name].state()
            for name in sorted(self._current)
            for side, statistics in sides
        }


def design_row(features: FloatArray, *, width: int) -> FloatArray:
    """Make the row (1, width + 1) that models predict from: an intercept, and features clipped to ±BOUND.

    Raises `InvalidInput` for features of another width, or that are not finite.
    """
    if features.shape != (width,):
        raise InvalidInput(
            f"features have shape {features.shape}, but this route's encoder gives ({width},): "
            "encode the request with the encoder that the route declares"
        )
    row = np.empty((1, width + 1))
    row[0, 0] = 1.0
    row[0, 1:] = features
    if not _clip(row[0]):
        raise InvalidInput("features hold NaN or infinity, which no model may see: correct the featuriser")
    return row


@compiled
def _clip(row: FloatArray) -> bool:
    """Clip a row, in place, to ±BOUND; False if it holds NaN or infinity."""
    for i in range(len(row)):
        if not abs(row[i]) < np.inf:
            return False
        row[i] = min(max(row[i], -BOUND), BOUND)
    return True


@compiled
def predict(rows: FloatArray, weights: FloatArray, cov: FloatArray, result: FloatArray) -> None:
    """Fill in mean and variance (2, n, k) of x·w for rows (n, d), weights (k, d) and cov (k, d, d)."""
    d = rows.shape[1]
    turned = np.empty(d)
    for k in range(len(weights)):
        for n in range(len(rows)):
            # Of the symmetric cov only the upper half is read: reading it is what takes the time. Slices
            # of rows let the compiler work on several numbers at once.
            expected, total = 0.0, 0.0
            turned[:] = 0.0
            for i in range(d):
                x, row = rows[n, i], cov[k, i]
                if x == 0.0:
                    continue  # as most coordinates of labels are: reading their rows would add nothing
                expected += x * weights[k, i]
                turned[i] += 0.5 * x * row[i]
                right, rest = turned[i + 1 :], row[i + 1 :]
                for j in range(len(right)):
                    right[j] += x * rest[j]
            for i in range(d):
                total += turned[i] * rows[n, i]
            result[0, n, k] = expected
            result[1, n, k] = max(2.0 * total, 1e-12)


@compiled_aside
def predict_many(rows: FloatArray, weights: FloatArray, cov: FloatArray, result: FloatArray) -> None:
    """Do as `predict` while other threads go on, which for a single row costs more than it is worth."""
    predict(rows, weights, cov, result)
