"""Asymptotic intervals out of moments: of estimates, and of weighted sums of them.

A *contrast* is the name of an estimate, or a factor by name: `difference("dr", "logged")` compares two
policies on the same decisions (paired: what both share cancels), `{"quality": 1, "cost": -1 / wtp_usd}` is
the utility of a policy whose quality and cost are two estimates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from scipy.special import stdtrit

from fairlead.experiments.ope.moments import WIDTH, Contrast, Moments, resolve
from fairlead.optimizer.errors import InvalidInput, finite

LEVEL: Final = 0.95


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
    return Estimate(
        value=centre,
        low=centre - reach,
        high=centre + reach,
        standard_error=error,
        n=moments.n,
        level=level,
        method="asymptotic",
    )


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


def check_level(level: float) -> float:
    """Return the level if it lies between 0 and 1, neither included; `InvalidInput` otherwise."""
    level = finite("level", level, low=0.0, high=1.0, remedy="give a confidence level such as 0.95")
    if level in (0.0, 1.0):
        raise InvalidInput(f"level is {level:g}, which no interval has: give a confidence level such as 0.95")
    return level
