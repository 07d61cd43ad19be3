"""Checks before a verdict: enough decisions that speak, and propensities that can be true.

Each finding states its measured value, its limit and, if it fails, what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import chdtrc

from fairlead.experiments.ope.counts import KeyedDraws, LogCounts, WeightCounts

# At 100 the worst interval of a quality in [0, 1] is ± .1; with fewer, the normal approximation is no good
# either (docs/estimators.md, coverage against effective sample size).
LEAST_EFFECTIVE_SIZE: Final = 100.0
# A single decision may not move a quality in [0, 1] by more than this.
LARGEST_WEIGHT_SHARE: Final = 0.05
# What the target does without support can move a quality in [0, 1] by this much, and no interval knows of it.
LARGEST_WITHOUT_SUPPORT: Final = 0.01
# Fewer, and the normal approximation of a mean near 0 or 1 is no good.
LEAST_OUTCOMES: Final = 10.0
LARGEST_CLUSTER_SHARE: Final = 0.1
# Of a single key the statistic is that of a χ² with one degree: beyond 5 standard errors in 1 of 200.
MOST_ALIKE: Final = 5.0
# Chance of a false alarm per check if all is well; several checks are made per log and policy.
FALSE_ALARM: Final = 0.001
_Z: Final = 3.2905  # the two-sided normal quantile of FALSE_ALARM
# Decisions served by another provider than the drawn one carry a reward that is not the drawn one's.
LARGEST_FALLBACK_SHARE: Final = 0.02
# Response rates that differ by less than this between providers move a quality by less than a point or two.
LARGEST_RESPONSE_GAP: Final = 0.05
_COUNTED_FROM: Final = 30  # decisions of a provider before its response rate is looked at


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check. `measured` is NaN if it cannot be known, which does not fail.

    `text` is a sentence; `more_decisions` is how many more from the same policy would fix it, None if none
    would.

    >>> finding = effective_size(WeightCounts.of(weight=np.full(40, 1.0)))
    >>> finding.passed, finding.more_decisions
    (False, 60)
    """

    name: str
    measured: float
    limit: float
    passed: bool
    text: str
    more_decisions: int | None = None


def diagnose(
    weights: WeightCounts,
    log: LogCounts | None = None,
    *,
    providers: Sequence[str] | None = None,
    watched: bool = False,
) -> tuple[Finding, ...]:
    """Every check that the counts allow, for one target policy; `providers` are the names of the columns.

    A confidence sequence holds for any number of decisions and any weights, so a verdict that is `watched`
    needs neither a least sample size nor a largest weight.

    >>> for finding in diagnose(WeightCounts.of(weight=np.repeat([0.5, 1.5], 100))):
    ...     print(finding.name, finding.passed)
    effective sample size True
    share of the largest weight True
    mean weight True
    unsupported actions True
    """
    findings = [] if watched else [effective_size(weights), weight_share(weights)]
    findings += [mean_weight(weights), support(weights)]
    if log is not None:
        findings += [calibration(log, providers=providers), fallback_served(log), missing_feedback(log)]
    return tuple(findings)


def effective_outcomes(weights: WeightCounts) -> Finding:
    """How many successes and failures of the target's own the log is worth; the rarer of both counts.

    The central limit theorem takes some of each: near the ends of the range an interval of few is [1, 1].
    """
    size, least = min(weights.effective_successes, weights.effective_failures), LEAST_OUTCOMES
    return Finding(
        name="effective successes and failures",
        measured=size,
        limit=least,
        passed=size >= least,
        text=f"The log is worth {weights.effective_successes:,.0f} of the target's own successes and "
        f"{weights.effective_failures:,.0f} of its failures; {least:,.0f} of each are needed.",
        more_decisions=math.ceil(weights.n * (least / size - 1.0)) if 0.0 < size < least else None,
    )


def independent_draws(draws: KeyedDraws, key: str) -> Finding:
    """Whether draws of the same key are as independent as their propensities say (z, one-sided)."""
    z = draws.likeness
    return Finding(
        name=f"draws within {key}",
        measured=z,
        limit=MOST_ALIKE,
        passed=z <= MOST_ALIKE,
        text=f"Decisions of the same {key} have drawn the same provider more often than their propensities "
        f"say ({z:.1f} standard errors; {MOST_ALIKE:.0f} is the limit): give --cluster {key}.",
    )


def largest_cluster(share: float, key: str) -> Finding:
    """Limit the share of the decisions that one cluster has."""
    return Finding(
        name=f"largest {key}",
        measured=share,
        limit=LARGEST_CLUSTER_SHARE,
        passed=share <= LARGEST_CLUSTER_SHARE,
        text=f"One {key} has {share:.1%} of the decisions, and its luck is one draw; "
        f"{LARGEST_CLUSTER_SHARE:.0%} is the limit.",
    )


def effective_size(weights: WeightCounts) -> Finding:
    """(Σ w)² / Σ w²: how many decisions of the target policy itself this log is worth (Kish 1965)."""
    size, least = weights.effective_size, LEAST_EFFECTIVE_SIZE
    more = math.ceil(weights.n * (least / size - 1.0)) if 0.0 < size < least else None
    return Finding(
        name="effective sample size",
        measured=size,
        limit=least,
        passed=size >= least,
        text=f"{weights.n:,} decisions are worth {size:,.0f} of the target policy's own; "
        f"{least:,.0f} are needed.",
        more_decisions=more,
    )


def weight_share(weights: WeightCounts) -> Finding:
    """max w / Σ w: how much of the estimate is one decision."""
    share = weights.largest / weights.total if weights.total > 0.0 else 1.0
    fails = share > LARGEST_WEIGHT_SHARE
    return Finding(
        name="share of the largest weight",
        measured=share,
        limit=LARGEST_WEIGHT_SHARE,
        passed=not fails,
        text=f"One decision carries {share:.1%} of all weight; {LARGEST_WEIGHT_SHARE:.0%} is the limit.",
        more_decisions=math.ceil(weights.n * (share / LARGEST_WEIGHT_SHARE - 1.0)) if fails else None,
    )


def mean_weight(weights: WeightCounts) -> Finding:
    """Mean w, whose expectation is 1 if the propensities are right and the target has support.

    Fails if its interval at `FALSE_ALARM` excludes 1.
    """
    n, mean = weights.n, weights.total / weights.n
    variance = max(weights.squares / n - mean * mean, 0.0)
    reach = _Z * math.sqrt(variance / (n - 1)) if n > 1 else math.inf
    # Equal weights leave a spread of 0: rounding is then no evidence.
    passed = abs(mean - 1.0) <= max(reach, 1e-9)
    cause = ": propensities are wrong, or the log lacks choices that the target would make."
    return Finding(
        name="mean weight",
        measured=mean,
        limit=1.0,
        passed=passed,
        text=f"The mean weight is {mean:.3f}, 99.9% interval [{mean - reach:.3f}, {mean + reach:.3f}], and "
        f"should be 1{'.' if passed else cause}",
    )


def support(weights: WeightCounts) -> Finding:
    """Return the target's mean probability of providers that the log could not have chosen."""
    limit = LARGEST_WITHOUT_SUPPORT
    if weights.without_support is None:
        return Finding(
            name="unsupported actions",
            measured=math.nan,
            limit=limit,
            passed=True,
            text="The log holds only the chosen provider's propensity, so support is unknown.",
        )
    share = weights.without_support / weights.n
    return Finding(
        name="unsupported actions",
        measured=share,
        limit=limit,
        passed=share <= limit,
        text=f"{share:.1%} of the target's choices are providers that the logging policy never chose there; "
        f"{limit:.0%} is the limit, and only exploration of them helps.",
    )


def calibration(log: LogCounts, *, providers: Sequence[str] | None = None) -> Finding:
    """Whether providers were drawn as often as their propensities say: a χ² test, k − 1 degrees at most.

    The statistic is (N − E)' C⁺ (N − E), with C the covariance of the counts N under the propensities.
    `measured` is its p-value.
    """
    gap = log.chosen - log.expected
    values, vectors = np.linalg.eigh(log.covariance)
    kept = values > 1e-9 * max(float(values.max(initial=0.0)), 1.0)
    turned = vectors.T @ gap
    statistic = float((turned[kept] ** 2 / values[kept]).sum())
    degrees = int(kept.sum())
    # What cannot vary must be exact: a provider with probability 1 that was not drawn is proof.
    impossible = bool((np.abs(turned[~kept]) > 1e-6 * log.n).any())
    p_value = 0.0 if impossible else _chi_square_tail(statistic, degrees)
    worst = int(np.abs(gap).argmax())
    name = f"Provider {worst}" if providers is None else providers[worst]
    return Finding(
        name="propensity calibration",
        measured=p_value,
        limit=FALSE_ALARM,
        passed=p_value >= FALSE_ALARM,
        text=f"{name} was drawn {log.chosen[worst]:,.0f} times; by its propensities "
        f"{log.expected[worst]:,.0f} are expected (p = {p_value:.2g} over all providers).",
    )


def fallback_served(log: LogCounts) -> Finding:
    """Return the share of decisions that another provider than the drawn one served."""
    share = log.fallback_served / log.n
    return Finding(
        name="served by another provider",
        measured=share,
        limit=LARGEST_FALLBACK_SHARE,
        passed=share <= LARGEST_FALLBACK_SHARE,
        text=f"{share:.1%} of the decisions were not served by the provider that was drawn; "
        f"{LARGEST_FALLBACK_SHARE:.0%} is the limit.",
    )


def missing_feedback(log: LogCounts) -> Finding:
    """How much the share of answered calls with a reward differs by provider, and whether by chance (χ²).

    Failed calls are left out: nobody has to judge them. Fails if the largest gap to the overall rate is above
    its limit and chance is ruled out. `measured` is that gap, over providers with at least 30 answered calls.
    """
    answered = log.chosen - log.failed
    rate = float(log.rewarded.sum()) / max(float(answered.sum()), 1.0)
    used = answered > 0.0
    chosen, rewarded = answered[used], log.rewarded[used]
    spread = rate * (1.0 - rate)
    p_value = 1.0
    if spread > 0.0 and used.sum() > 1:
        statistic = float(((rewarded - chosen * rate) ** 2 / (chosen * spread)).sum())
        p_value = _chi_square_tail(statistic, int(used.sum()) - 1)
    common = chosen >= _COUNTED_FROM
    gap = float(np.abs(rewarded[common] / chosen[common] - rate).max()) if common.any() else 0.0
    return Finding(
        name="missing feedback by provider",
        measured=gap,
        limit=LARGEST_RESPONSE_GAP,
        passed=gap <= LARGEST_RESPONSE_GAP or p_value >= FALSE_ALARM,
        text=f"{1.0 - rate:.1%} of the answered calls have no reward; by provider the share differs "
        f"from that by up to {gap:.1%} (p = {p_value:.2g}). "
        "If the difference is real, the rest is no fair sample.",
    )


def _chi_square_tail(statistic: float, degrees: int) -> float:
    return float(chdtrc(degrees, statistic)) if degrees else 1.0
