"""Bounds that hold at every n, not only in the limit, and the one-sided bounds that tuning needs.

They bound a mean of independent terms of which a range is known. Where the range is not given, the sample's
own largest term stands in, as in Thomas, Theocharous and Ghavamzadeh (2015, *High confidence off-policy
evaluation* and *... improvement*); that is customary, and not a guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fairlead.experiments.ope.intervals import LEVEL, Estimate, check_level, t_quantile
from fairlead.experiments.ope.moments import Moments, columns_of
from fairlead.optimizer.errors import InvalidInput, finite


def hoeffding_lower(
    moments: Moments, name: str | None = None, *, delta: float, largest: float | None = None
) -> float:
    """mean − b √(ln(1/δ) / 2n) for terms in [0, b]: at most δ likely to lie above the expectation."""
    mean, top = _mean(moments, name), _largest(moments, name, largest)
    return mean - top * math.sqrt(_log(1.0, delta) / (2.0 * moments.n))


def bernstein_lower(
    moments: Moments, name: str | None = None, *, delta: float, largest: float | None = None
) -> float:
    """Maurer and Pontil (2009, theorem 4) for terms in [0, b], with n − 1 in both places: see `_reach`."""
    mean, top = _mean(moments, name), _largest(moments, name, largest)
    return mean - _reach(_scatter(moments, name), top, moments.n, _log(2.0, delta))


def student_lower(moments: Moments, name: str | None = None, *, delta: float) -> float:
    """mean − t_{1−δ, n−1} s / √n: approximate; it assumes that the mean is about normal."""
    mean, n = _mean(moments, name), moments.n
    if n < 2:
        return -math.inf
    reach = t_quantile(n - 1, 1.0 - 2.0 * delta) if delta < 0.5 else 0.0
    return mean - reach * math.sqrt(_scatter(moments, name) / (n - 1) / n)


def empirical_bernstein(
    moments: Moments, name: str | None = None, *, low: float, high: float, level: float = LEVEL
) -> Estimate:
    """The interval of Maurer and Pontil (2009) around a mean whose terms all lie in [low, high].

    For IPS with rewards in [0, 1] that is [0, W], for DR with predictions in [0, 1] too [−W, 1 + W], where W
    bounds every weight that the target policy can have, seen or not (1 over the logging policy's floor). The
    bound fails with probability at most 1 − level, at any n.
    """
    mean = _mean(moments, name)
    plain = columns_of(moments.names, name).start
    first, last = moments.low[plain], moments.high[plain]
    if not (low <= first and last <= high):
        raise InvalidInput(
            f"terms run from {first:g} to {last:g}, outside [{low:g}, {high:g}]: give a range that holds them"
        )
    reach = _reach(_scatter(moments, name), high - low, moments.n, _log(4.0, 1.0 - check_level(level)))
    return _interval(moments, mean, max(low, mean - reach), min(high, mean + reach), level)


def bernstein_ratio(
    moments: Moments, name: str | None = None, *, largest_weight: float, level: float = LEVEL
) -> Estimate:
    """Empirical Bernstein for SNIPS with rewards in [0, 1]: every v for which E[w (r − v)] = 0 is not
    refuted.

    w (r − v) lies in a range of width W, which bounds the weights, seen or not. The true value is such a v,
    so the set covers it whatever the bias of the ratio.
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
    log = _log(4.0, 1.0 - check_level(level))

    def refuted(v: float) -> bool:
        scatter = max(tt - 2.0 * v * tb + v * v * bb, 0.0)
        return bool(abs(top - v * bottom) > _reach(scatter, largest_weight, moments.n, log))

    # |linear| − convex is concave on either side of the estimate: at most one crossing before a refuted end.
    return _interval(moments, centre, _crossing(centre, 0.0, refuted), _crossing(centre, 1.0, refuted), level)


def _crossing(inside: float, end: float, refuted: Callable[[float], bool]) -> float:
    if not refuted(end):
        return end
    outside = end
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        inside, outside = (inside, middle) if refuted(middle) else (middle, outside)
    return outside


def _reach(scatter: float, width: float, n: int, log: float) -> float:
    """√(2 V ln(·/δ) / n) + 7 width ln(·/δ) / (3 (n − 1)), V the sample variance with n − 1.

    `scatter` is the sum of squared deviations. The published form divides V by n; √(scatter / n / (n − 1)) is
    the same number.
    """
    if n < 2:
        return math.inf
    return math.sqrt(2.0 * log * scatter / n / (n - 1)) + 7.0 * width * log / (3.0 * (n - 1))


def _mean(moments: Moments, name: str | None) -> float:
    columns = columns_of(moments.names, name)
    mean, weighted, weight = moments.mean[columns].tolist()
    if weighted != 0.0 or weight != 1.0 or moments.scatter[columns, columns][2, 2] != 0.0:
        raise InvalidInput("this bound holds for means, not for self-normalised estimates: bound IPS or DR")
    return float(mean)


def _scatter(moments: Moments, name: str | None) -> float:
    columns = columns_of(moments.names, name)
    return float(moments.scatter[columns, columns][0, 0])


def _largest(moments: Moments, name: str | None, largest: float | None) -> float:
    observed = float(moments.high[columns_of(moments.names, name)][0])
    if largest is not None and largest < observed:
        raise InvalidInput(
            f"largest is {largest:g}, but a term is {observed:g}: give a bound that holds them all"
        )
    return observed if largest is None else largest


def _log(factor: float, delta: float) -> float:
    delta = finite("delta", delta, low=1e-300, high=1.0, remedy="give an error probability such as 0.05")
    return math.log(factor / delta)


def _interval(moments: Moments, centre: float, low: float, high: float, level: float) -> Estimate:
    return Estimate(
        value=centre,
        low=low,
        high=high,
        standard_error=math.nan,
        n=moments.n,
        level=level,
        method="empirical Bernstein",
    )
