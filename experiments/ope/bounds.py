"""Intervals that hold at every n, not only in the limit, for terms of which a range is known."""

from __future__ import annotations

import math
from collections.abc import Callable

from fairlead.experiments.ope.intervals import LEVEL, Estimate, check_level
from fairlead.experiments.ope.moments import Moments, columns_of
from fairlead.optimizer.errors import InvalidInput, finite


def empirical_bernstein(
    moments: Moments, name: str | None = None, *, low: float, high: float, level: float = LEVEL
) -> Estimate:
    """Bound a mean whose terms all lie in [low, high] (Maurer and Pontil 2009, theorem 4).

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
    reach = _reach(float(scatter[0, 0]), width=high - low, n=moments.n, level=level)
    return _interval(mean, (max(low, mean - reach), min(high, mean + reach)), n=moments.n, level=level)


def bernstein_ratio(
    moments: Moments, name: str | None = None, *, largest_weight: float, level: float = LEVEL
) -> Estimate:
    """Empirical Bernstein for SNIPS with rewards in [0, 1].

    It holds every v for which E[w (r − v)] = 0 is not refuted. w (r − v) lies in a range of width W, which
    bounds the weights, seen or not. The true value is such a v, so the set covers it whatever the bias of the
    ratio.

    >>> import numpy as np
    >>> from fairlead.experiments.ope.terms import Terms
    >>> reward, weight = np.tile([0.0, 1.0], 500), np.tile([0.5, 1.5, 1.5, 0.5], 250)
    >>> moments = Moments.of(Terms(weighted=weight * reward, weight=weight))
    >>> estimate = bernstein_ratio(moments, largest_weight=2.0)
    >>> f"{estimate.value:.2f} in [{estimate.low:.2f}, {estimate.high:.2f}]"
    '0.50 in [0.43, 0.57]'
    """
    largest_weight = finite("largest_weight", largest_weight, low=1.0, remedy="give the bound of the weights")
    columns = columns_of(moments.names, name)
    plain, top, largest_seen = moments.high[columns].tolist()
    plain_low, low, _ = moments.low[columns].tolist()
    if plain != 0.0 or plain_low != 0.0:
        raise InvalidInput("this bound holds for SNIPS alone: bound IPS or DR by empirical_bernstein")
    if low < 0.0 or top > largest_weight:
        raise InvalidInput("weighted rewards leave [0, largest_weight]: scale the rewards to [0, 1]")
    if largest_seen > largest_weight:
        raise InvalidInput(
            f"a weight is {largest_seen:g}, above largest_weight {largest_weight:g}: give a bound that holds"
        )
    centre = moments.value(name)
    _, top, bottom = moments.mean[columns].tolist()
    _, (_, tt, tb), (_, _, bb) = moments.scatter[columns, columns].tolist()

    def refuted(v: float) -> bool:
        scatter = max(tt - 2.0 * v * tb + v * v * bb, 0.0)
        return bool(abs(top - v * bottom) > _reach(scatter, width=largest_weight, n=moments.n, level=level))

    # |linear| − convex is concave on either side of the estimate: at most one crossing before a refuted end.
    ends = _crossing(centre, 0.0, refuted), _crossing(centre, 1.0, refuted)
    return _interval(centre, ends, n=moments.n, level=level)


def _crossing(inside: float, end: float, refuted: Callable[[float], bool]) -> float:
    if not refuted(end):
        return end
    outside = end
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        inside, outside = (inside, middle) if refuted(middle) else (middle, outside)
    return outside


def _reach(scatter: float, *, width: float, n: int, level: float) -> float:
    """√(2 V ln(4/α) / n) + 7 width ln(4/α) / (3 (n − 1)), V the sample variance with n − 1, α = 1 − level.

    `scatter` is the sum of squared deviations. The published form divides V by n; √(scatter / n / (n − 1)) is
    the same number.
    """
    if n < 2:
        return math.inf
    log = math.log(4.0 / (1.0 - check_level(level)))
    return math.sqrt(2.0 * log * scatter / n / (n - 1)) + 7.0 * width * log / (3.0 * (n - 1))


def _interval(centre: float, ends: tuple[float, float], *, n: int, level: float) -> Estimate:
    return Estimate(
        value=centre,
        low=ends[0],
        high=ends[1],
        standard_error=math.nan,
        n=n,
        level=level,
        method="empirical Bernstein",
    )
