"""Intervals that hold at all times at once, so that a running log may be inspected at any time.

The closed ones rest on one supermartingale. Let terms x have the conditional mean μ, let c be fixed before x
is seen and x ≥ c − h. With S = Σ (x − μ) / h and V = Σ (x − c)² / h², exp(λ S − V (−ln(1 − λ) − λ)) is one
for every λ in [0, 1) (Howard, Ramdas, McAuliffe and Sekhon 2021, *Time-uniform, nonparametric, nonasymptotic
confidence sequences*, theorem 4). Mixing λ over a truncated gamma density keeps it one (proposition 9), and
Ville's inequality bounds it at all times. Only a lower limit of the terms is needed (Waudby-Smith, Wu,
Ramdas, Karampatziakis and Mineiro 2022, *Anytime-valid off-policy inference for contextual bandits*): w r and
w (1 − r) are never negative, so the weights need no bound, and the logging policy may change as it learns.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.special import gammainc, gammaln

from fairlead.experiments.ope.doubly_robust import dr
from fairlead.experiments.ope.intervals import LEVEL, Estimate, check_level
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Contrast, Moments
from fairlead.experiments.ope.validation import Vector, check, vector
from fairlead.optimizer.errors import InvalidInput, finite

# Every choice is valid. The closed sequences are tightest when V h² is about this, the asymptotic one at so
# many decisions: about the size of log at which a rollout is decided.
TIGHTEST_AT_VARIANCE: Final = 500.0
TIGHTEST_AT_DECISIONS: Final = 5_000.0
_KNOTS: Final = 2_000
_NEWTON_STEPS: Final = 12


def ips_sequence(batch: LoggedBatch, *, level: float = LEVEL) -> tuple[Vector, Vector]:
    """Lower and upper ends, shape (n,) each, for IPS with rewards in [0, 1]; decisions in order of time.

    With probability `level`, the value lies between both at every length of the log. The weights need no
    bound.

    >>> batch = LoggedBatch(
    ...     reward=np.tile([1.0, 0.0], 500), action=np.tile([0, 1], 500), propensity=np.full(1_000, 0.5),
    ...     target=np.tile([0.8, 0.2], (1_000, 1)),
    ... )
    >>> low, high = ips_sequence(batch)
    >>> f"{low[99]:.2f} to {high[99]:.2f} after 100, {low[-1]:.2f} to {high[-1]:.2f} after 1,000"
    '0.49 to 1.00 after 100, 0.72 to 0.83 after 1,000'
    """
    reward = _check_rewards(batch)
    tail = 0.5 * (1.0 - check_level(level))
    lower = lower_sequence(batch.weight * reward, least=0.0, centre_at_most=1.0, alpha=tail)
    upper = lower_sequence(batch.weight * (1.0 - reward), least=0.0, centre_at_most=1.0, alpha=tail)
    return lower, 1.0 - upper


def gain_sequence(batch: LoggedBatch, *, level: float = LEVEL) -> tuple[Vector, Vector]:
    """Lower and upper ends, shape (n,) each, for the gain over the logging policy, E[(w − 1) r].

    Rewards lie in [0, 1], decisions are in order of time. Both (w − 1) r and (w − 1) (1 − r) are at least −1,
    and their expectations are opposite.

    >>> batch = LoggedBatch(
    ...     reward=np.tile([1.0, 0.0], 500), action=np.tile([0, 1], 500), propensity=np.full(1_000, 0.5),
    ...     target=np.tile([0.8, 0.2], (1_000, 1)),
    ... )
    >>> low, high = gain_sequence(batch)
    >>> f"{low[-1]:.2f} to {high[-1]:.2f}"
    '0.26 to 0.33'
    """
    reward = _check_rewards(batch)
    tail = 0.5 * (1.0 - check_level(level))
    surplus = batch.weight - 1.0
    lower = lower_sequence(surplus * reward, least=-1.0, centre_at_most=0.0, alpha=tail)
    upper = lower_sequence(surplus * (1.0 - reward), least=-1.0, centre_at_most=0.0, alpha=tail)
    return lower, -upper


def dr_sequence(batch: LoggedBatch, *, largest_weight: float, level: float = LEVEL) -> tuple[Vector, Vector]:
    """Lower and upper ends, shape (n,) each, for DR with rewards and predictions in [0, 1].

    `largest_weight` bounds every weight that there can be, seen or not: its terms reach down to
    −largest_weight. Shorter than `ips_sequence` if the model is good and that bound is not far away.
    `q_hat` must not have seen what comes later: a model from before the log, or one per time.

    >>> batch = LoggedBatch(
    ...     reward=np.tile([1.0, 0.0], 500), action=np.tile([0, 1], 500), propensity=np.full(1_000, 0.5),
    ...     target=np.tile([0.8, 0.2], (1_000, 1)), q_hat=np.tile([0.9, 0.1], (1_000, 1)),
    ... )
    >>> low, high = dr_sequence(batch, largest_weight=2.0)
    >>> f"{low[-1]:.2f} to {high[-1]:.2f}"
    '0.77 to 0.83'
    """
    _check_rewards(batch)
    largest_weight = finite("largest_weight", largest_weight, low=1.0, remedy="give the bound of the weights")
    within = batch.weight <= largest_weight
    rule = f"above largest_weight {largest_weight:g}"
    check(batch.weight, within, name="weight", rule=rule, remedy="give one that holds")
    if batch.q_hat is not None and not (batch.q_hat.min() >= 0.0 and batch.q_hat.max() <= 1.0):
        raise InvalidInput("q_hat leaves [0, 1], where these bounds do not hold: clip the predictions")
    terms = dr(batch).plain
    assert terms is not None
    tail = 0.5 * (1.0 - check_level(level))
    # V counts in units of h², which is large here.
    tightest_at = TIGHTEST_AT_VARIANCE / (largest_weight + 1.0) ** 2
    lower, upper = (
        lower_sequence(x, least=-largest_weight, centre_at_most=1.0, alpha=tail, tightest_at=tightest_at)
        for x in (terms, 1.0 - terms)
    )
    return np.maximum(lower, 0.0), np.minimum(1.0 - upper, 1.0)


def lower_sequence(
    terms: Vector,
    *,
    least: float,
    centre_at_most: float,
    alpha: float,
    tightest_at: float = TIGHTEST_AT_VARIANCE,
) -> Vector:
    """Lower ends, shape (n,), of the mean of terms in order: with probability 1 − alpha all hold.

    No term that can occur lies below `least`. The centre is the mean of the terms before, kept between
    `least` and `centre_at_most`, which sets h; every choice is valid, and near the mean is good.
    """
    terms = vector("terms", terms)
    possible = np.isfinite(terms) & (terms >= least)
    check(terms, possible, name="terms", rule=f"not a number from {least:g} up", remedy="check it")
    width = centre_at_most - least
    if not (math.isfinite(width) and width > 0.0):
        raise InvalidInput(
            f"centre_at_most {centre_at_most:g} is not above least {least:g}: give a larger one"
        )
    alpha = finite("alpha", alpha, low=1e-12, high=0.5, remedy="give an error probability such as 0.025")
    tightest_at = finite("tightest_at", tightest_at, low=1e-6, high=1e12, remedy="give a V of likely size")
    count = np.arange(1.0, len(terms) + 1.0)
    total = np.cumsum(terms)
    # One imagined term in the middle comes first.
    before = (0.5 * (least + centre_at_most) + np.concatenate([[0.0], total[:-1]])) / count
    centre = np.clip(before, least, centre_at_most)
    variance = np.cumsum(((terms - centre) / width) ** 2)
    lower = (total - width * _boundary(variance, alpha, tightest_at)) / count
    return np.maximum(np.maximum.accumulate(lower), least)


def asymptotic_sequence(
    moments: Moments,
    contrast: Contrast | None = None,
    *,
    level: float = LEVEL,
    tightest_at: float = TIGHTEST_AT_DECISIONS,
) -> Estimate:
    """Return the interval after n decisions of an *asymptotic* sequence, for any estimate or contrast.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021, *Time-uniform central limit theory and asymptotic
    confidence sequences*): v ± s √((2 (n ρ² + 1) / (n² ρ²)) ln(√(n ρ² + 1) / α)). In the limit of late starts
    it may be inspected at any time. Like the central limit theorem it guarantees nothing for few decisions,
    or weights that a handful of them dominate.

    >>> from fairlead.experiments.ope.terms import Terms
    >>> estimate = asymptotic_sequence(Moments.of(Terms(plain=np.tile([0.0, 1.0], 500))))
    >>> f"{estimate.value:.2f} in [{estimate.low:.2f}, {estimate.high:.2f}]"
    '0.50 in [0.45, 0.55]'
    """
    centre, error, n = moments.value(contrast), moments.standard_error(contrast), moments.n
    alpha = 1.0 - check_level(level)
    tightest_at = finite("tightest_at", tightest_at, low=1.0, remedy="give a likely number of decisions")
    log = -2.0 * math.log(alpha)
    scale = n * (log + math.log1p(log)) / tightest_at  # n ρ²
    reach = error * math.sqrt((scale + 1.0) / scale * (log + math.log(scale + 1.0)))
    return Estimate(
        value=centre,
        low=centre - reach,
        high=centre + reach,
        standard_error=error,
        n=n,
        level=level,
        method="asymptotic confidence sequence",
    )


def _check_rewards(batch: LoggedBatch) -> Vector:
    reward = batch.reward
    inside = (reward >= 0.0) & (reward <= 1.0)
    rule = "outside [0, 1], where these bounds do not hold"
    check(reward, inside, name="reward", rule=rule, remedy="scale the rewards to it")
    return reward


def _boundary(variance: Vector, alpha: float, tightest_at: float) -> Vector:
    """Return the S that the mixture refutes at each V, shape (n,), rounded up to one of 2,000 values of V."""
    top = max(float(variance[-1]), 1.0)
    knots = np.concatenate([[0.0], np.geomspace(min(0.01, top), top, _KNOTS)])
    knots[-1] = max(top, float(knots[-1]))
    log = -2.0 * math.log(alpha)
    rho = tightest_at / (log + math.log1p(log))  # Howard et al. 2021, section 3.5, for the normal mixture
    target = -math.log(alpha)
    s = 4.0 * np.sqrt((knots + rho) * (target + 1.0)) + 4.0 * (target + 1.0)
    while (short := _log_mixture(s, knots, rho) < target).any():
        s = np.where(short, 2.0 * s, s)
    # Convex in s, so that Newton's steps come down to the root and never pass it: they end on the safe side.
    for _ in range(_NEWTON_STEPS):
        s = s - np.maximum(_log_mixture(s, knots, rho) - target, 0.0) / _slope(s, knots, rho)
    boundary: Vector = s[np.searchsorted(knots, variance, side="left")]
    return boundary


def _log_mixture(s: Vector, v: Vector, rho: float) -> Vector:
    """ln ∫ exp(λ s − v (−ln(1 − λ) − λ)) f(λ) dλ, where 1 − λ is gamma(ρ, ρ) cut at 1 (proposition 9)."""
    at, shape = s + v + rho, v + rho
    logarithm: Vector = (
        s
        + v
        + rho * math.log(rho)
        - gammaln(rho)
        - np.log(gammainc(rho, rho))
        + gammaln(shape)
        + np.log(gammainc(shape, at))
        - shape * np.log(at)
    )
    return logarithm


def _slope(s: Vector, v: Vector, rho: float) -> Vector:
    """Return the derivative of `_log_mixture` in s: the mean of λ under the tilted density, in (0, 1)."""
    at, shape = s + v + rho, v + rho
    density = np.exp((shape - 1.0) * np.log(at) - at - gammaln(shape)) / gammainc(shape, at)
    mean: Vector = 1.0 + density - shape / at
    return mean
