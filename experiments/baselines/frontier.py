"""Baselines of a router: the best fixed mix, which it must never lose to, and the oracle above it.

Both are upper concave hulls in the cost–quality plane. The best fixed mix is the hull of the policies that
always choose one provider; the oracle is the sum of one such hull per prompt, which solves the fractional
multiple-choice knapsack exactly (Kellerer, Pferschy and Pisinger, *Knapsack Problems*, 2004, chapter 11: take
the steps of the hulls in the order of quality gained per dollar).
"""

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MAX_BUDGET_FACTOR = 2.0


@dataclass(frozen=True, eq=False)
class Hull:
    """A concave, increasing frontier in the cost–quality plane, by its corners, shape (h,).

    `cost_usd` is mean USD per request, `quality` mean quality; both increase. `providers` holds the column of
    the provider at each corner of a best fixed mix, and is empty for an oracle.

    >>> hull = best_fixed_mix([1e-4, 3e-4], [0.6, 0.8])
    >>> round(hull.quality_at(2e-4), 3), hull.providers
    (0.7, (0, 1))
    """

    cost_usd: NDArray[np.float64]
    quality: NDArray[np.float64]
    providers: tuple[int, ...] = ()

    @overload
    def quality_at(self, spend_usd: float) -> float: ...
    @overload
    def quality_at(self, spend_usd: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def quality_at(self, spend_usd: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
        """Return the highest mean quality at a mean spend in USD per request; elementwise for an array.

        Between two corners it is that of their mixture. Below the first corner it stays that corner's: no
        mixture spends less, so a router that does is compared with the cheapest there is. Above the last
        corner more money buys nothing.
        """
        quality = np.interp(spend_usd, self.cost_usd, self.quality)
        return float(quality) if np.ndim(spend_usd) == 0 else np.asarray(quality)


@dataclass(frozen=True, eq=False)
class HullSteps:
    """The hulls of n prompts: the start of each and every step up it, best value first.

    `start` (n,) is the column of the cheapest provider. Per step, shape (s,): the `row`, the columns `origin`
    and `target` of the step, and its `slope`, quality gained per USD.

    >>> steps = hull_steps(np.array([[0.5, 0.9]]), np.array([[0.001, 0.002]]))
    >>> steps.start.tolist(), steps.target.tolist(), steps.slope.round(1).tolist()
    ([0], [1], [400.0])
    """

    start: NDArray[np.intp]
    row: NDArray[np.intp]
    origin: NDArray[np.intp]
    target: NDArray[np.intp]
    slope: NDArray[np.float64]


def hull_steps(quality: NDArray[np.float64], cost_usd: NDArray[np.float64]) -> HullSteps:
    """Walk up the upper concave hull of every prompt's providers at once; shape (n, k), NaN if missing."""
    absent = np.isnan(quality) | np.isnan(cost_usd)
    if absent.all(axis=1).any():
        prompt = int(np.flatnonzero(absent.all(axis=1))[0])
        raise ValueError(f"prompt {prompt} has no outcome at any provider to choose from: leave it out.")
    quality = np.where(absent, -np.inf, quality)
    cost_usd = np.where(absent, np.inf, cost_usd)
    rows: NDArray[np.intp] = np.arange(len(quality))
    cheapest = cost_usd == cost_usd.min(axis=1, keepdims=True)
    start: NDArray[np.intp] = np.where(cheapest, quality, -np.inf).argmax(axis=1)
    here = start
    parts = []
    while len(rows):
        gain = quality[rows] - quality[rows, here][:, None]
        extra = cost_usd[rows] - cost_usd[rows, here][:, None]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            slopes = np.where((gain > 0.0) & (extra > 0.0), gain / extra, -np.inf)
        best = slopes.max(axis=1)
        there: NDArray[np.intp] = np.where(slopes == best[:, None], gain, -np.inf).argmax(axis=1)
        climbs = best > 0.0
        parts.append((rows[climbs], here[climbs], there[climbs], best[climbs]))
        rows, here = rows[climbs], there[climbs]
    row, origin, target, slope = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(-slope, kind="stable")
    return HullSteps(start, row[order], origin[order], target[order], slope[order])


def best_fixed_mix(mean_cost_usd: ArrayLike, mean_quality: ArrayLike) -> Hull:
    """Return the best mixture of always-one-provider policies at every spend.

    From each provider's mean cost in USD and mean quality, both shape (k,). A provider that some mixture of
    others matches at no greater spend is no corner and gets no traffic.
    """
    cost = np.asarray(mean_cost_usd, dtype=np.float64)
    quality = np.asarray(mean_quality, dtype=np.float64)
    if cost.ndim != 1 or cost.shape != quality.shape or not len(cost):
        raise ValueError(
            f"mean costs of shape {cost.shape} and mean qualities of shape {quality.shape} do not pair up: "
            "give one of each per provider."
        )
    if not (np.isfinite(cost).all() and np.isfinite(quality).all()):
        raise ValueError(
            f"mean costs {cost.tolist()} and mean qualities {quality.tolist()} must be finite to be mixed: "
            "leave out providers without outcomes."
        )
    steps = hull_steps(quality[None], cost[None])
    corners = [int(steps.start[0]), *steps.target.tolist()]
    return Hull(cost[corners], quality[corners], tuple(corners))


def provider_means(
    quality: NDArray[np.float64], cost_usd: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean cost in USD and mean quality of each provider over its outcomes, shape (k,) each."""
    absent = np.isnan(quality) | np.isnan(cost_usd)
    count = (~absent).sum(axis=0)
    if not count.all():
        column = int(np.flatnonzero(count == 0)[0])
        raise ValueError(f"provider {column} has no outcome, so it has no mean: leave it out.")
    total_cost = np.where(absent, 0.0, cost_usd).sum(axis=0)
    return total_cost / count, np.where(absent, 0.0, quality).sum(axis=0) / count


def budget_grid(mean_cost_usd: ArrayLike, mean_quality: ArrayLike, *, count: int = 5) -> NDArray[np.float64]:
    """Budgets in USD per request, geometric from the mean cost of the cheapest provider to twice the best's.

    Shape (count,); the best provider is the one of the highest mean quality.
    """
    cost = np.asarray(mean_cost_usd, dtype=np.float64)
    if not cost.min() > 0.0:
        raise ValueError(
            f"the cheapest provider costs {cost.min()} USD, and no geometric grid starts there: name budgets."
        )
    return np.geomspace(cost.min(), _MAX_BUDGET_FACTOR * cost[np.argmax(mean_quality)], count)


def oracle(quality: NDArray[np.float64], cost_usd: NDArray[np.float64]) -> Hull:
    """Return what full knowledge of every outcome would earn at every mean spend.

    Both have shape (n, k), NaN if a provider has no outcome for a prompt. The first corner gives each prompt
    its cheapest provider. Between corners one prompt is split between two
    providers, as the linear programme allows: an upper bound for any router on these prompts.
    """
    steps = hull_steps(quality, cost_usd)
    first = np.arange(len(quality)), steps.start
    gained = quality[steps.row, steps.target] - quality[steps.row, steps.origin]
    spent = cost_usd[steps.row, steps.target] - cost_usd[steps.row, steps.origin]
    return Hull(
        (cost_usd[first].sum() + np.concatenate([[0.0], np.cumsum(spent)])) / len(quality),
        (quality[first].sum() + np.concatenate([[0.0], np.cumsum(gained)])) / len(quality),
    )


def oracle_at(quality: NDArray[np.float64], cost_usd: NDArray[np.float64], budget_usd: float) -> float:
    """Return the oracle's mean quality at a mean budget in USD per request."""
    return oracle(quality, cost_usd).quality_at(budget_usd)
