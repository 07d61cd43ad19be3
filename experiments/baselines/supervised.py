"""The supervised reference: how much of the oracle's lead a representation of the prompts can earn at all.

Ridge regressions learn every provider's quality and cost from one half of the prompts, with all labels, and
choose on the other half at the shadow price that is best in hindsight. A router that learns only from its own
choices has far less to learn from, so this lift is what its features are worth, not a target that it is sure
to reach. The features are the caller's: text, a task label as one-hot columns, or none at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.baselines.frontier import best_fixed_mix, hull_steps, provider_means
from fairlead.experiments.baselines.ridge import ridge

_TIED = 1e-9  # slopes this close, relatively, are equal up to rounding

_Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ReferencePoint:
    """The reference at one budget: means over the seeds, and their standard errors (NaN for one seed).

    `budget_usd`, `mean_cost_usd` and `cost_se` are USD per request. `lift` is `mean_quality` minus that of
    the best fixed mix at the reference's own spend on the same prompts.

    >>> point = ReferencePoint(
    ...     budget_usd=1e-3, mean_quality=0.8, mean_cost_usd=1e-3, lift=0.05, quality_se=0.002, cost_se=0.0,
    ...     lift_se=0.003,
    ... )
    >>> point.lift > 2 * point.lift_se
    True
    """

    budget_usd: float
    mean_quality: float
    mean_cost_usd: float
    lift: float
    quality_se: float
    cost_se: float
    lift_se: float


@dataclass(frozen=True, kw_only=True)
class SupervisedReference:
    """The best of several ridge penalties and cost models, chosen in hindsight by mean lift over the budgets.

    `cost_model` is `"ridge"` or `"mean"`: cost predicted from the features, or the same for every prompt.
    `mean_lift` averages the budgets, `mean_lift_se` is its standard error over the seeds.
    """

    points: tuple[ReferencePoint, ...]
    penalty: float
    cost_model: str
    mean_lift: float
    mean_lift_se: float


class _Outcomes(NamedTuple):
    """Quality and USD of every prompt at every provider, shape (n, k) each."""

    quality: _Matrix
    cost_usd: _Matrix


def supervised_reference(
    features: _Matrix,
    quality: _Matrix,
    cost_usd: _Matrix,
    *,
    budgets: Sequence[float] | _Matrix,
    seeds: Sequence[int] = range(5),
    penalties: Sequence[float] = (1.0, 10.0, 100.0, 1000.0),
) -> SupervisedReference:
    """Score the features, shape (n, d), on outcomes of shape (n, k), NaN if missing.

    Every seed draws its own halves. `budgets` are mean USD per request; `penalties` weigh the squared
    coefficients of standardised features against the summed squared error. An empty `features`, shape (n, 0),
    gives the reference without context.

    >>> kind = np.arange(40) % 2  # each provider is good at one kind of prompt
    >>> quality, cost = np.column_stack([kind, 1 - kind]) * 1.0, np.full((40, 2), 1e-3)
    >>> reference = supervised_reference(np.eye(2)[kind], quality, cost, budgets=[1e-3])
    >>> round(reference.points[0].mean_quality, 2)
    1.0
    """
    _check(features, quality, cost_usd)
    grid = np.asarray(budgets, dtype=np.float64)
    settings = [(penalty, model) for penalty in penalties for model in ("mean", "ridge")]
    scores = np.empty((len(settings), 3, len(seeds), len(grid)))  # 3: quality, cost, lift
    for s, seed in enumerate(seeds):
        order = np.random.default_rng(seed).permutation(len(features))
        train, test = order[: len(order) // 2], order[len(order) // 2 :]
        for i, (penalty, model) in enumerate(settings):
            earned = _predict(features, quality, train=train, test=test, penalty=penalty)
            weight = penalty if model == "ridge" else np.inf
            spent = _predict(features, cost_usd, train=train, test=test, penalty=weight)
            # A line may predict a cost below 0, which no call has.
            spent = spent.clip(np.nanmin(cost_usd[train], axis=0), np.nanmax(cost_usd[train], axis=0))
            actual = _Outcomes(quality[test], cost_usd[test])
            scores[i, :, s] = _score(_Outcomes(earned, spent), actual, grid)
    best = int(scores[:, 2].mean(axis=(1, 2)).argmax())
    return _reference(scores[best], settings[best], grid)


def _reference(scores: _Matrix, setting: tuple[float, str], budgets: _Matrix) -> SupervisedReference:
    """Average scores of shape (3, seeds, budgets): quality, cost and lift by one penalty and cost model."""
    means, errors = scores.mean(axis=1), _standard_error(scores)
    return SupervisedReference(
        points=tuple(_point(budget, means[:, b], errors[:, b]) for b, budget in enumerate(budgets.tolist())),
        penalty=setting[0],
        cost_model=setting[1],
        mean_lift=float(means[2].mean()),
        mean_lift_se=float(_standard_error(scores[2:].mean(axis=2, keepdims=True))[0, 0]),
    )


def _check(features: _Matrix, quality: _Matrix, cost_usd: _Matrix) -> None:
    if features.ndim != 2 or quality.shape != cost_usd.shape or len(features) != len(quality):
        raise ValueError(
            f"features of shape {features.shape}, quality {quality.shape} and cost {cost_usd.shape} do not "
            "fit: give one row per prompt in each, and one column per provider in the latter two."
        )
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinity, which no ridge can use: fill them in first.")


def _point(budget: float, means: _Matrix, errors: _Matrix) -> ReferencePoint:
    return ReferencePoint(
        budget_usd=budget,
        mean_quality=float(means[0]),
        mean_cost_usd=float(means[1]),
        lift=float(means[2]),
        quality_se=float(errors[0]),
        cost_se=float(errors[1]),
        lift_se=float(errors[2]),
    )


def _standard_error(scores: _Matrix) -> _Matrix:
    """Estimate the standard error of the mean over axis 1, the seeds; NaN if there is only one."""
    seeds = scores.shape[1]
    if seeds < 2:
        return np.full_like(scores[:, 0], np.nan)
    return np.asarray(scores.std(axis=1, ddof=1) / np.sqrt(seeds))


def _predict(
    features: _Matrix, target: _Matrix, *, train: NDArray[np.intp], test: NDArray[np.intp], penalty: float
) -> _Matrix:
    """Ridge predictions for the test prompts, shape (n_test, k).

    Each provider learns from the training prompts it has an outcome for; the intercept is not penalised, so
    an infinite penalty predicts the mean.
    """
    predicted = np.empty((len(test), target.shape[1]))
    for j in range(target.shape[1]):
        served = train[np.isfinite(target[train, j])]
        if not len(served):
            raise ValueError(f"provider {j} has no outcome in a training half to learn from: leave it out.")
        y = target[served, j]
        predicted[:, j] = y.mean()
        if np.isfinite(penalty) and features.shape[1]:
            centre, scale = features[served].mean(axis=0), features[served].std(axis=0)
            scale[scale < 1e-12 * (1.0 + np.abs(centre))] = np.inf  # a constant says nothing
            x = (features[served] - centre) / scale
            weights = ridge(x, y - y.mean(), penalty=penalty)
            predicted[:, j] += ((features[test] - centre) / scale) @ weights
    return predicted


def _score(predicted: _Outcomes, actual: _Outcomes, budgets: _Matrix) -> _Matrix:
    """Realised quality, cost and lift at every budget, shape (3, n_budgets).

    The policy at a budget is the last point on the path of `_realised` that keeps it, or the first one if
    that is already too dear. It mixes this with the next point to spend the budget exactly, which also serves
    the case without context, in which all prompts move together.
    """
    spent, earned = _realised(predicted, actual)
    hull = best_fixed_mix(*provider_means(actual.quality, actual.cost_usd))
    scores = np.empty((3, len(budgets)))
    for b, budget in enumerate(budgets):
        within = np.flatnonzero(spent <= budget)
        last = int(within[-1]) if len(within) else 0
        after = min(last + 1, len(spent) - 1) if len(within) else last
        share = (budget - spent[last]) / (spent[after] - spent[last]) if after > last else 0.0
        scores[0, b] = earned[last] + share * (earned[after] - earned[last])
        scores[1, b] = spent[last] + share * (spent[after] - spent[last])
    scores[2] = scores[0] - hull.quality_at(scores[1])
    return scores


def _realised(predicted: _Outcomes, actual: _Outcomes) -> tuple[_Matrix, _Matrix]:
    """Mean cost and mean quality as the shadow price falls from infinity to 0, shape (path,) each.

    At each price, every prompt gets argmax of predicted quality − price × predicted cost over the providers
    it has. Prompts that move at the same price move together: nothing tells them apart.
    """
    absent = np.isnan(actual.quality) | np.isnan(actual.cost_usd)
    quality, cost_usd = (np.where(absent, np.nan, p) for p in (predicted.quality, predicted.cost_usd))
    steps = hull_steps(quality, cost_usd)
    last_at_price = np.append(-np.diff(steps.slope) > _TIED * steps.slope[:-1], True)[: len(steps.slope)]
    rows = np.arange(len(absent))
    path = []
    for values in (actual.cost_usd, actual.quality):
        change = values[steps.row, steps.target] - values[steps.row, steps.origin]
        total = values[rows, steps.start].sum() + np.append(0.0, np.cumsum(change)[last_at_price])
        path.append(total / len(rows))
    return path[0], path[1]
