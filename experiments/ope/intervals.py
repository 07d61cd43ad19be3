"""Values, standard errors and asymptotic intervals out of moments: of estimates, and of sums of them.

A *contrast* gives every estimate a factor: `{0: 1}` is the first one itself, `{0: 1, 1: -1}` the difference
of two policies judged on the same decisions (paired: what both share cancels), `{0: 1, 1: -1 / wtp_usd}` the
utility of a policy whose quality and cost are estimates 0 and 1. Self-normalised estimates are linearised
(delta method; Owen 2013, *Monte Carlo theory, methods and examples*, section 9.2): with v = A + B / C, the
deviation of one decision is (a − A) + (b − (B / C) c) / C.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import stdtrit

from fairlead.experiments.ope.moments import WIDTH, Moments
from fairlead.experiments.ope.terms import positive
from fairlead.experiments.ope.validation import Vector
from fairlead.optimizer.errors import InvalidInput, finite

Contrast = Mapping[int, float]
FIRST: Final[Contrast] = {0: 1.0}
LEVEL: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval [low, high] at a confidence `level`, from n decisions.

    `method` names the interval. The standard error is NaN where the method has none; ends are infinite where
    the decisions leave them open.
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


def value(moments: Moments, contrast: Contrast = FIRST) -> float:
    """The value of a contrast."""
    total = 0.0
    for i, factor in factors(moments, contrast):
        plain, weighted, weight = moments.mean[WIDTH * i : WIDTH * (i + 1)].tolist()
        total += factor * (plain + weighted / positive(weight))
    return total


def standard_error(moments: Moments, contrast: Contrast = FIRST) -> float:
    """Its standard error by the delta method; infinite for a single decision."""
    if moments.n < 2:
        return math.inf
    gradient = _gradient(moments, contrast)
    variance = float(gradient @ moments.scatter @ gradient) / (moments.n - 1)
    return math.sqrt(max(variance, 0.0) / moments.n)


def asymptotic(moments: Moments, contrast: Contrast = FIRST, *, level: float = LEVEL) -> Estimate:
    """The value with its interval by the central limit theorem, quantiles of Student's t with n − 1
    degrees.
    """
    centre, error = value(moments, contrast), standard_error(moments, contrast)
    reach = math.inf if math.isinf(error) else error * t_quantile(moments.n - 1, level)
    return Estimate(
        value=centre,
        low=centre - reach,
        high=centre + reach,
        standard_error=error,
        n=moments.n,
        level=level,
        method="asymptotic",
    )


def asymptotic_or_unknown(moments: Moments, contrast: Contrast = FIRST, *, level: float = LEVEL) -> Estimate:
    """The same, and NaN on the whole line where weights of 0 throughout leave nothing to divide by."""
    weights = (moments.mean[WIDTH * i + WIDTH - 1] for i, _ in factors(moments, contrast))
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


def difference(target: int, incumbent: int) -> Contrast:
    """The contrast of two estimates; a policy compared with itself is 0 without spread."""
    return {target: 1.0, incumbent: -1.0} if target != incumbent else {target: 0.0}


def t_quantile(degrees: int, level: float) -> float:
    """The two-sided quantile of Student's t."""
    return float(stdtrit(degrees, 0.5 + 0.5 * checked_level(level)))


def checked_level(level: float) -> float:
    """A confidence level between 0 and 1, neither included."""
    level = finite("level", level, low=0.0, high=1.0, remedy="give a confidence level such as 0.95")
    if level in (0.0, 1.0):
        raise InvalidInput(f"level is {level:g}, which no interval has: give a confidence level such as 0.95")
    return level


def factors(estimates: Sized, contrast: Contrast) -> list[tuple[int, float]]:
    """The contrast's places and factors, checked against how many estimates there are."""
    for i, factor in contrast.items():
        if not 0 <= i < len(estimates):
            raise InvalidInput(f"there is no estimate {i}: name one from 0 to {len(estimates) - 1}")
        finite(f"the factor of estimate {i}", factor, remedy="give a finite factor")
    return list(contrast.items())


def _gradient(moments: Moments, contrast: Contrast) -> Vector:
    gradient = np.zeros(len(moments.mean))
    for i, factor in factors(moments, contrast):
        _, weighted, weight = moments.mean[WIDTH * i : WIDTH * (i + 1)].tolist()
        weight = positive(weight)
        gradient[WIDTH * i : WIDTH * (i + 1)] += (factor, factor / weight, -factor * weighted / weight**2)
    return gradient
