"""Trust in context, learned by likelihood: a mixture of hierarchical Bayesian linear models as one Gaussian.

For each provider k, y = x·w_k + noise with w_k ~ N(w_0, σ² Λ⁻¹). A *member* of the mixture fixes the
prior precisions Λ (how much each block of the context may matter) and whether w_0, what all providers
have in common, is learned too (*pooled*) or 0. Members are weighted by their marginal likelihood, which
for these models is the product of their sequential predictive likelihoods and a function of additive
statistics alone. The mixture is then collapsed into one Gaussian per provider with the mixture's mean
and covariance, so that a decision costs no more than it would with a single model.

Formulas: Bishop, Pattern Recognition and Machine Learning (2006), eqs. 3.49-3.51 (posterior), 3.86
(marginal likelihood), 2.158 (Student marginal); the pooled w_0 integrates each provider's deviation out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.kernels import invert, pool_information
from fairlead.optimizer.types.arrays import FloatArray

PRECISIONS: Final = (10.0, 100.0, 1_000.0, 10_000.0)
"""Prior precisions of a context weight, in observations per unit of standardised coordinate."""

BLOCK_PRECISION: Final = 300.0
"""Precision of the members that trust one block of the context alone."""

_OFF: Final = 1e7
_INTERCEPT: Final = 1.0
_COMMON_INTERCEPT: Final = 0.01
_COMMON_RATIO: Final = 0.25
_LEAST_WEIGHT: Final = 1e-3
_SCALE_PRIOR: Final = 4.0


_WITHIN: Final = (0.5, 4.0)
"""Variance of a provider's targets over the square of their mean, and the observations it counts for."""

_BETWEEN: Final = (0.25, 2.0)
"""Variance of the logarithms of what is typical of providers, a factor of 1.6, and the providers it counts
for: their answers to the same requests differ that much, unless some of them reason at length."""

_LEAST_BETWEEN: Final = 0.01
_UNIT: Final = 1.0 / 16.0
"""Providers that the unit counts for, so that there is a scale before the first observation."""


@dataclass(frozen=True)
class Sums:
    """Stacked statistics: gram (k, d, d), moment (k, d), square and count (k,); d counts the intercept."""

    gram: FloatArray
    moment: FloatArray
    square: FloatArray
    count: FloatArray

    def over(self, unit: FloatArray) -> Sums:
        """Return the sums of targets in these units, shape (k,)."""
        return Sums(self.gram, self.moment / unit[:, None], self.square / (unit * unit), self.count)


@dataclass(frozen=True)
class Posterior:
    """Belief about all providers: E[y|x] = mean_k·x and var = xᵀ cov_k x, with x = (1, features)."""

    mean: FloatArray
    """Shape (k, d)."""
    cov: FloatArray
    """Shape (k, d, d)."""
    noise: FloatArray
    """Variance of one observation around its expectation, shape (k,)."""
    weights: FloatArray
    """Posterior probability of each member, shape (m,)."""
    centre: FloatArray
    """Mean of the context over what was learned from; its shape is that of the features with intercept."""
    basis: FloatArray | None = None
    """Map from features with intercept to x, shape (d, ...); None if x is these features themselves."""
    log_likelihood: float = 0.0
    """Of what was observed, given the evidence from before (`Mixture.fit`)."""
    trust: FloatArray | None = None
    """Probability of each way to trust the sources of evidence (`trust.powers_of`); None without any."""
    typical: FloatArray | None = None
    """What is typical of each provider's y, shape (k,), if multiples of that were modelled."""

    def times(self, unit: FloatArray) -> Posterior:
        """Return the belief about the same y counted in units that are 1 / ``unit`` as large, shape (k,)."""
        square = unit * unit
        mean, cov = self.mean * unit[:, None], self.cov * square[:, None, None]
        return replace(self, mean=mean, cov=cov, noise=self.noise * square)

    def rows(self, indices: Sequence[int]) -> Posterior:
        """Return the belief about these of its providers, in this order."""
        at = list(indices)
        return replace(self, mean=self.mean[at], cov=self.cov[at], noise=self.noise[at])


class Mixture:
    """The members, fixed by the blocks of the context; `fit` is a pure function of the sums."""

    def __init__(
        self, blocks: Sequence[Block], *, prior_mean: float, prior_variance: float, is_sparse: bool = False
    ) -> None:
        self._runs = tuple((block.width, block.isotropic) for block in blocks)
        self._is_sparse = is_sparse
        """Whether members leave out the coordinates that they do not trust (`models.sparse`)."""
        self._prior_mean = prior_mean
        self._prior_variance = prior_variance
        names = [block.name for block in blocks]
        patterns = [("none", dict[str, float]())]
        if names:
            patterns += [(f"all@{p:g}", dict.fromkeys(names, p)) for p in PRECISIONS]
        if len(names) > 1:
            patterns += [(f"{name}@{BLOCK_PRECISION:g}", {name: BLOCK_PRECISION}) for name in names]
        self.precision: FloatArray = np.array([_diagonal(blocks, chosen) for _, chosen in patterns])
        """Prior precision of each coordinate under each pattern, shape (p, d)."""
        single = [name for name, _ in patterns]
        self.names = tuple(single + [f"{name} pooled" for name in single])
        """One name per member, in the order of `Posterior.weights`."""

    def among(self, inside: NDArray[np.int64]) -> Mixture:
        """Return the same members over some of the coordinates, by their indices; 0 is the intercept."""
        restricted = copy(self)
        restricted.precision = np.ascontiguousarray(self.precision[:, inside])
        ends = np.cumsum([1, *(width for width, _ in self._runs)])
        widths = np.diff(np.searchsorted(inside, ends)).tolist()
        restricted._runs = tuple((n, isotropic) for n, (_, isotropic) in zip(widths, self._runs, strict=True))
        return restricted

    def levelled(self, worth: float) -> Mixture:
        """Return the same members with levels that are worth so many observations beforehand."""
        other = copy(self)
        other.precision = self.precision.copy()
        other.precision[:, 0] = worth
        return other

    def prior(self, providers: int) -> Posterior:
        """Return what `fit` gives before the first observation, which is diagonal and the same for all.

        Whoever creates a route waits for it, and a stack of matrices need not be inverted to know it.
        """
        spread = self._prior_variance
        common = common_precision(self.precision, spread)
        # Half of the members have a common part, whose prior adds to each provider's own.
        variance = (spread / self.precision + 0.5 / common).mean(axis=0)
        size = len(variance)
        mean, cov = np.zeros((providers, size)), np.zeros((providers, size, size))
        mean[:, 0] = self._prior_mean
        index = np.arange(size)
        cov[:, index, index] = variance
        centre = np.zeros(size)
        centre[0] = 1.0
        weights = np.full(len(self.names), 1.0 / len(self.names))
        return Posterior(mean, cov, np.full(providers, spread), weights, centre)

    def fit(self, sums: Sums, *, evidence: Sums | None = None) -> Posterior:
        """Compute the posterior of all providers; those without observations get the prior.

        If some of them are ``evidence``, it comes with the likelihood of the others given that: of all
        together, divided by that of the evidence.
        """
        if not sums.count.any():
            return self.prior(len(sums.count))
        transform = self._standardising(sums)
        total = sums.count.sum()
        centre, spread = self.level(sums)
        centred = _moved(sums, transform, centre)
        parts = self._parts(centred, spread)
        mean, cov, noise, weights = self._average(parts, centred)
        mean[:, 0] += centre
        if total < 1:
            average = np.zeros(len(transform))
            average[0] = 1.0
        else:
            average = sums.gram[:, 0, :].sum(axis=0) / total
        posterior = Posterior(mean @ transform, transform.T @ cov @ transform, noise, weights, average)
        if evidence is None:
            return posterior
        # Under the level and noise that are expected of any route: those of this fit follow from what was
        # observed, which would foretell itself.
        spread, every = self._prior_variance, _moved(sums, transform, self._prior_mean)
        likelihood = _log_mean([part.under(every, spread) for part in parts])
        if evidence.count.any():
            alone = _moved(evidence, transform, self._prior_mean)
            likelihood -= _log_mean(self._parts(alone, spread))
        return replace(posterior, log_likelihood=likelihood)

    def level(self, sums: Sums) -> tuple[float, float]:
        """Return mean and variance of all targets."""
        total = sums.count.sum()
        centre = self._prior_mean if total < 1 else float(sums.moment[:, 0].sum() / total)
        spread = self._prior_variance
        if total > 3:
            spread = max(float(sums.square.sum() / total) - centre * centre, 1e-4)
        return centre, spread

    def _standardising(self, sums: Sums) -> FloatArray:
        """Return the linear map to coordinates of mean 0 and unit variance over all observations."""
        size = sums.gram.shape[1]
        transform = np.eye(size)
        total = float(sums.count.sum())
        if total < 2:
            return transform
        pooled = sums.gram.sum(axis=0) / total
        centre = pooled[0, 1:]
        variance = np.maximum(np.diag(pooled)[1:] - centre * centre, 0.0)
        start = 0
        for width, isotropic in self._runs:
            if isotropic and width:
                variance[start : start + width] = variance[start : start + width].mean()
            start += width
        scale = imagined_scale(variance, total)
        inner = np.arange(1, size)
        transform[inner, inner] = 1.0 / scale
        transform[1:, 0] = -centre / scale
        return transform

    def _average(
        self, parts: Sequence[_Part], sums: Sums
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        patterns, (k, size) = len(self.precision), sums.moment.shape
        evidence, noises = np.empty((2, patterns)), np.empty((2, patterns, k))
        means = np.zeros((2, patterns, k, size))
        for part in parts:
            for source, members in enumerate(part.members):
                evidence[source, part.patterns] = members.evidence.sum(axis=1)
                noises[source, part.patterns] = members.noise
                means[source][np.ix_(part.patterns, np.arange(k), part.inside)] = members.mean
        weights = np.exp(evidence - evidence.max()).ravel()
        weights /= weights.sum()
        kept = np.where(weights > _LEAST_WEIGHT, weights, 0.0)
        kept /= kept.sum()
        every = means.reshape(-1, k, size)
        mean = np.einsum("m,mkd->kd", kept, every)
        cov = np.zeros_like(sums.gram)
        for member in np.flatnonzero(kept):
            off = every[member] - mean
            source, pattern = divmod(int(member), patterns)
            part = next(part for part in parts if pattern in part.patterns)
            within = part.covariance(source, pattern)
            cov += kept[member] * (within + off[:, :, None] * off[:, None, :])
        return mean, cov, kept @ noises.reshape(-1, k), weights

    def _parts(self, sums: Sums, spread: float) -> list[_Part]:
        """Compute all members, grouped by the coordinates that they look at."""
        return [_Part(self.precision, sums, chosen, spread=spread) for chosen in self._groups()]

    def _groups(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Group patterns by the coordinates that they look at: the patterns, the coordinates."""
        patterns, size = self.precision.shape
        if not self._is_sparse:
            return [(np.arange(patterns), np.arange(size))]
        groups: dict[bytes, tuple[list[int], NDArray[np.int64]]] = {}
        for pattern, precision in enumerate(self.precision):
            inside = np.flatnonzero(precision < _OFF)
            groups.setdefault(inside.tobytes(), ([], inside))[0].append(pattern)
        return [(np.array(members), inside) for members, inside in groups.values()]


def _diagonal(blocks: Sequence[Block], chosen: dict[str, float]) -> FloatArray:
    parts = [np.full(block.width, chosen.get(block.name, _OFF)) for block in blocks]
    return np.concatenate([[_INTERCEPT], *parts])


def _moved(sums: Sums, transform: FloatArray, centre: float) -> Sums:
    """Return these sums for contexts in standardised coordinates, and targets relative to their mean."""
    gram = transform @ sums.gram @ transform.T
    moment = sums.moment @ transform.T - centre * gram[:, :, 0]
    square = sums.square - 2 * centre * sums.moment[:, 0] + centre * centre * sums.count
    return Sums(gram, moment, np.maximum(square, 0.0), sums.count)


def _log_mean(parts: Sequence[_Part]) -> float:
    """Log of the mean marginal likelihood of all members."""
    evidence = np.concatenate([m.evidence.sum(axis=1) for part in parts for m in part.members])
    most = float(evidence.max())
    return most + math.log(float(np.exp(evidence - most).mean()))


def imagined_scale(variance: FloatArray, count: float) -> FloatArray:
    """Return the scale to standardise coordinates by that had this variance in ``count`` observations.

    A few imagined observations of unit variance: a coordinate that barely varied is not blown up.
    """
    scale: FloatArray = np.sqrt((variance * count + _SCALE_PRIOR) / (count + _SCALE_PRIOR))
    return scale


class _Part:
    """Members that look at the same coordinates; of the others they know the prior alone."""

    def __init__(
        self,
        precision: FloatArray,
        sums: Sums,
        chosen: tuple[NDArray[np.int64], NDArray[np.int64]],
        *,
        spread: float,
    ) -> None:
        self.patterns, self.inside = patterns, inside = chosen
        self._precision, self._size = precision[patterns], precision.shape[1]
        within = self._among(sums)
        self._alone = _Members(np.ascontiguousarray(self._precision[:, inside]), within, spread)
        self.members: tuple[_Members | _PooledMembers, ...] = (self._alone, _PooledMembers(self._alone))
        self._common = common_precision(self._precision, spread)

    def _among(self, sums: Sums) -> Sums:
        inside = self.inside
        if len(inside) == self._size:
            return sums
        gram = np.ascontiguousarray(sums.gram[:, inside[:, None], inside])
        return Sums(gram, np.ascontiguousarray(sums.moment[:, inside]), sums.square, sums.count)

    def under(self, sums: Sums, spread: float) -> _Part:
        """Return the same members for other targets of the same contexts, and another spread of them."""
        part = copy(self)
        part._alone = self._alone.under(self._among(sums), spread)
        part.members = (part._alone, _PooledMembers(part._alone))
        part._common = common_precision(self._precision, spread)
        return part

    def covariance(self, source: int, pattern: int) -> FloatArray:
        """Covariance of all weights under one pattern, pooled (source 1) or not, shape (k, d, d)."""
        members, i = self.members[source], int(np.flatnonzero(self.patterns == pattern)[0])
        within = members.covariance(i)
        if len(self.inside) == self._size:
            return within
        full = np.zeros((len(within), self._size, self._size))
        full[:, self.inside[:, None], self.inside] = within
        outside = np.setdiff1d(np.arange(self._size), self.inside)
        prior = members.noise[i][:, None] / self._precision[i, outside]
        full[:, outside, outside] = prior + (1.0 / self._common[i, outside] if source else 0.0)
        return full


def common_precision(precision: FloatArray, spread: float) -> FloatArray:
    """Prior precision of the common part w_0 under each pattern, shape (p, d)."""
    prior = np.where(precision >= _OFF, _OFF, precision * _COMMON_RATIO)
    prior[:, 0] = _COMMON_INTERCEPT
    prior /= spread
    return prior


class _Members:
    """Posteriors of all patterns p and providers k at once, with σ² from a normal-inverse-gamma prior."""

    def __init__(self, precision: FloatArray, sums: Sums, spread: float) -> None:
        self.precision, self.sums, self.spread = precision, sums, spread
        size = precision.shape[1]
        index = np.arange(size)
        a: FloatArray = np.repeat(sums.gram[None], len(precision), axis=0)
        a[:, :, index, index] += precision[:, None, :]
        self.inverse, log_determinant = invert(a)
        # The precision relative to the prior's: 1 + what the observations add.
        self._log_ratio = log_determinant - np.log(precision).sum(axis=1)[:, None]
        self._solve_own()

    def _solve_own(self) -> None:
        target = np.broadcast_to(self.sums.moment, self.inverse.shape[:3])
        self.mean, self.noise, self.evidence = self.solve(target, self.sums.square[None, :])

    def under(self, sums: Sums, spread: float) -> _Members:
        """Return the same for other targets of the same contexts; what was inverted stays so."""
        members = copy(self)
        members.sums, members.spread = sums, spread
        members._solve_own()
        return members

    def solve(self, moment: FloatArray, square: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean of the weights (p, k, d), variance of the noise and log evidence (p, k) for these targets."""
        weight = (self.inverse @ moment[..., None])[..., 0]
        rest = np.maximum(square - (weight * moment).sum(axis=-1), 1e-12)
        count = np.maximum(self.sums.count, 0.0)
        shape = 1.0 + count / 2
        rate = self.spread + rest / 2
        evidence = (
            gammaln(shape)
            - shape * np.log(rate)
            + np.log(self.spread)
            - self._log_ratio / 2
            - count / 2 * np.log(2 * np.pi)
        )
        return weight, rate / shape, evidence

    def covariance(self, pattern: int) -> FloatArray:
        """Covariance of the weights under one pattern, shape (k, d, d)."""
        within: FloatArray = self.noise[pattern][:, None, None] * self.inverse[pattern]
        return within


class _PooledMembers:
    """The same patterns with a common part w_0 learned from all providers."""

    def __init__(self, alone: _Members) -> None:
        self._alone = alone
        sums, precision, size = alone.sums, alone.precision, alone.precision.shape[1]
        prior = common_precision(precision, alone.spread)
        total = prior[:, :, None] * np.eye(size)
        pull = pool_information((precision, alone.inverse, alone.noise), sums.moment, total)
        self._common, log_determinant = invert(total)
        common = (self._common @ pull[..., None])[..., 0]
        applied = np.einsum("kij,pj->pki", sums.gram, common)
        square = sums.square - 2 * (common @ sums.moment.T) + np.einsum("pki,pi->pk", applied, common)
        deviation, self.noise, evidence = alone.solve(sums.moment - applied, square)
        self.mean = deviation + common[:, None]
        # Laplace's integral over w_0, exact for Gaussians.
        integral = (np.log(prior).sum(axis=1) - log_determinant - (common**2 * prior).sum(axis=1)) / 2
        self.evidence = evidence + integral[:, None] / len(sums.count)

    def covariance(self, pattern: int) -> FloatArray:
        """Covariance of the weights under one pattern, shape (k, d, d)."""
        within = self.noise[pattern][:, None, None] * self._alone.inverse[pattern]
        # Λ A⁻¹: what integrating each provider's deviation out leaves of its information about w_0.
        passed = self._alone.precision[pattern][:, None] * self._alone.inverse[pattern]
        shared: FloatArray = within + passed.transpose(0, 2, 1) @ self._common[pattern] @ passed
        return shared


def typical_values(
    count: FloatArray, total: FloatArray, square: FloatArray, *, shared: Sequence[bool]
) -> tuple[FloatArray, float]:
    """Return what is typical of each provider, (k,), and in observations what the route's value is worth.

    By number, total and sum of squares of each provider's targets, (k,). A quantity such as the length of an
    answer differs between routes by a factor of a thousand (a label, a report) and between the providers of
    one route by nothing or by thirty. So, on a logarithmic scale, the typical value of the route is learned
    from all providers, whatever the unit is that targets come in, and that of a provider moves from there to
    its own mean as its observations come; the sooner, the more providers differ. One that was never called is
    believed to be as the others are. Those that are not ``shared`` are compared with the unit, since their
    targets say nothing about others.

    >>> count, total = np.array([4.0, 0.0]), np.array([0.04, 0.0])
    >>> typical, worth = typical_values(count, total, np.array([4e-4, 0.0]), shared=[True, True])
    >>> typical.round(3).tolist()
    [0.012, 0.014]
    """
    is_known = (count > 0) & (total > 0)
    n, mean = np.where(is_known, count, 0.0), np.where(is_known, total, 1.0) / np.where(is_known, count, 1.0)
    log_mean = np.log(mean)
    rest = np.where(is_known, np.maximum(square / (mean * mean) - n, 0.0), 0.0)
    free = np.maximum(n - 1.0, 0.0)
    within = (_WITHIN[0] * _WITHIN[1] + float(rest.sum())) / (_WITHIN[1] + float(free.sum()))
    alike = np.where(shared, n / (n + 1.0), 0.0)
    route = float(alike @ log_mean) / (float(alike.sum()) + _UNIT)
    # What providers differ by, beyond what so many observations of each differ by anyway.
    apart = (log_mean - route) ** 2 - within / np.maximum(n, 1.0)
    between = (_BETWEEN[0] * _BETWEEN[1] + float(alike @ apart)) / (_BETWEEN[1] + float(alike.sum()))
    # Twice, since the model of multiples moves from there to the provider's own mean once more.
    worth = 2.0 * within / max(between, _LEAST_BETWEEN)
    expected = np.where(shared, route, 0.0)
    typical: FloatArray = np.exp(expected + n / (n + np.where(shared, worth, 1.0)) * (log_mean - expected))
    return typical, worth
