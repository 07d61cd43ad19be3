"""Intervals out of moments: of estimates, and of weighted sums of them.

A *contrast* is the name of an estimate, or a factor by name: `difference("dr", "logged")` compares two
policies on the same decisions (paired: what both share cancels), `{"quality": 1, "cost": -1 / wtp_usd}` is
the utility of a policy whose quality and cost are two estimates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from scipy.special import stdtrit

from fairlead.experiments.ope.moments import WIDTH, Contrast, Moments, columns_of, resolve
from fairlead.optimizer.errors import InvalidInput, finite

LEVEL: Final = 0.95
# Every choice is valid. A sequence is tightest after this many decisions, about as many as a rollout needs.
TIGHTEST_AT_DECISIONS: Final = 5_000.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval [low, high] at a confidence `level`, from n decisions.

    `method` names the interval. The standard error is NaN if the method has none; ends are infinite if the
    decisions leave them open.

    >>> estimate = Estimate(
    ...     value=0.7, low=0.66, high=0.74, standard_error=0.02, n=900, level=0.95, method="asymptotic"
    ... )
    >>> round(estimate.half_width, 3)
    0.04
    """

    value: float
    low: float
    high: float
    standard_error: float
    n: int
    level: float
    method: str

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2.0


def asymptotic(moments: Moments, contrast: Contrast | None = None, *, level: float = LEVEL) -> Estimate:
    """Return the value with its interval v ± t · s / √n by the central limit theorem.

    t is the quantile of Student's t with n − 1 degrees of freedom.

    >>> import numpy as np
    >>> from fairlead.experiments.ope.terms import Terms
    >>> estimate = asymptotic(Moments.of(Terms(plain=np.array([0.0, 0.5, 1.0, 0.5]))))
    >>> f"{estimate.value:.2f} in [{estimate.low:.2f}, {estimate.high:.2f}]"
    '0.50 in [-0.15, 1.15]'
    """
    centre, error = moments.value(contrast), moments.standard_error(contrast)
    upper = 0.5 + 0.5 * check_level(level)
    reach = math.inf if math.isinf(error) else error * float(stdtrit(moments.n - 1, upper))
    return _symmetric(centre, reach, error=error, n=moments.n, level=level, method="asymptotic")


def asymptotic_or_unknown(
    moments: Moments, contrast: Contrast | None = None, *, level: float = LEVEL
) -> Estimate:
    """Return the same, or NaN on the whole line if all weights are 0, which leaves nothing to divide by."""
    weights = (moments.mean[WIDTH * i + WIDTH - 1] for i, _ in resolve(moments.names, contrast))
    if all(weight > 0.0 for weight in weights):
        return asymptotic(moments, contrast, level=level)
    return Estimate(
        value=math.nan,
        low=-math.inf,
        high=math.inf,
        standard_error=math.inf,
        n=moments.n,
        level=level,
        method="asymptotic",
    )


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

    >>> import numpy as np
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
    method = "asymptotic confidence sequence"
    return _symmetric(centre, reach, error=error, n=n, level=level, method=method)


def empirical_bernstein(
    moments: Moments, name: str | None = None, *, low: float, high: float, level: float = LEVEL
) -> Estimate:
    """Bound a mean whose terms all lie in [low, high] (Maurer and Pontil 2009, theorem 4).

    It is v ± √(2 V ln(4/α) / n) ± 7 (high − low) ln(4/α) / (3 (n − 1)), V the sample variance.
    For IPS with rewards in [0, 1] that is [0, W], for DR with predictions in [0, 1] too [−W, 1 + W], where W
    bounds every weight that the target policy can have, seen or not (1 over the logging policy's floor). The
    bound fails with probability at most 1 − level, at any n.

    >>> import numpy as np
    >>> from fairlead.experiments.ope.terms import Terms
    >>> estimate = empirical_bernstein(Moments.of(Terms(plain=np.tile([0.0, 1.0], 500))), low=0.0, high=1.0)
    >>> f"{estimate.value:.2f} in [{estimate.low:.2f}, {estimate.high:.2f}]"
    '0.50 in [0.44, 0.56]'
    """
    columns = columns_of(moments.names, name)
    mean, weighted, weight = moments.mean[columns].tolist()
    scatter = moments.scatter[columns, columns]
    if weighted != 0.0 or weight != 1.0 or scatter[2, 2] != 0.0:
        raise InvalidInput("this bound holds for means, not for self-normalised estimates: bound IPS or DR")
    first, last = moments.low[columns.start], moments.high[columns.start]
    if not (low <= first and last <= high):
        raise InvalidInput(
            f"terms run from {first:g} to {last:g}, outside [{low:g}, {high:g}]: give a range that holds them"
        )
    n, log, reach = moments.n, math.log(4.0 / (1.0 - check_level(level))), math.inf
    if n > 1:
        reach = math.sqrt(2.0 * log * float(scatter[0, 0]) / n / (n - 1))
        reach += 7.0 * (high - low) * log / (3.0 * (n - 1))
    return Estimate(
        value=mean,
        low=max(low, mean - reach),
        high=min(high, mean + reach),
        standard_error=math.nan,
        n=n,
        level=level,
        method="empirical Bernstein",
    )


def _symmetric(value: float, reach: float, *, error: float, n: int, level: float, method: str) -> Estimate:
    low, high = value - reach, value + reach
    return Estimate(value=value, low=low, high=high, standard_error=error, n=n, level=level, method=method)


def check_level(level: float) -> float:
    """Return the level if it lies between 0 and 1, neither included; `InvalidInput` otherwise."""
    level = finite("level", level, low=0.0, high=1.0, remedy="give a confidence level such as 0.95")
    if level in (0.0, 1.0):
        raise InvalidInput(f"level is {level:g}, which no interval has: give a confidence level such as 0.95")
    return level
