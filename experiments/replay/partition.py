"""One part of a log: the terms of every estimator, summed into what merges with the other parts.

Reward models are cross-fitted within the part, so that memory stays bounded and parts depend on nothing but
themselves: the same part gives the same sums in any process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.bootstrap import resample
from fairlead.experiments.ope.counts import LogCounts, WeightCounts
from fairlead.experiments.ope.estimators import ESTIMATORS, Estimator
from fairlead.experiments.ope.fixed_mix import fixed_terms
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.reward_models import Kind, cross_fit, random_folds
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.replay.partial_results import (
    PAIRED,
    WEIGHT_EDGES,
    LogPart,
    PartResult,
    Slice,
    TargetPart,
    Tuning,
    estimate_name,
)
from fairlead.experiments.replay.settings import ON_POLICY, ReplaySettings, metrics_of, model_of
from fairlead.experiments.replay.slices import slices, time_bucket
from fairlead.experiments.targets.learning import context_encoder, features_of
from fairlead.optimizer.types import FloatArray


def evaluate(
    columns: LogBatch,
    log: Log,
    settings: ReplaySettings,
    number: int,
    targets: Sequence[FloatArray],
    tuning: Sequence[Tuning],
) -> PartResult:
    """Everything about part ``number``; ``targets`` are their probabilities (n, k) for its decisions."""
    metrics = metrics_of(log)
    known = np.isfinite(columns.reward)
    for name in metrics[1:]:
        known &= np.isfinite(getattr(columns, name))
    rows = np.flatnonzero(known)
    about_log = _log_part(columns, log, settings, number, rows)
    if not len(rows):
        return PartResult(log=about_log, targets=tuple(None for _ in targets))
    valued = columns.select(rows)
    models = predictions(valued, log, settings, number, metrics)
    found = [
        _target_part(valued, log, settings, number, metrics, models, probabilities[rows], lam)
        for probabilities, lam in zip(targets, tuning, strict=True)
    ]
    return PartResult(log=about_log, targets=tuple(found))


def predictions(
    columns: LogBatch, log: Log, settings: ReplaySettings, number: int, metrics: Sequence[str]
) -> dict[str, FloatArray]:
    """Predictions of every metric, shape (n, k) each; the log's own for the reward where it has them."""
    kind = model_of(settings, log)
    own = columns.reward_predictions if kind == "column" else None
    fitted: Kind = kind if kind in ("ridge", "boosting") else "mean"
    folds = random_folds(len(columns), seed=1_000_003 * settings.seed + number)
    features = (
        features_of(columns, context_encoder())
        if fitted in ("ridge", "boosting")
        else np.zeros((len(columns), 1))
    )
    found = {}
    for name in metrics:
        if name == "reward" and own is not None:
            found[name] = own
        elif len(columns) < 2:
            found[name] = np.full(columns.eligible.shape, float(getattr(columns, name)[0]))
        else:
            found[name] = cross_fit(
                fitted, features=features, reward=getattr(columns, name), action=columns.provider,
                providers=len(log.providers), folds=folds,
            )  # fmt: skip
    return found


def decisions_of(
    columns: LogBatch, metric: str, probabilities: FloatArray, q_hat: FloatArray | None
) -> LoggedBatch:
    """The columns as the estimators take them, for one metric."""
    assert columns.propensities is not None
    return LoggedBatch(
        reward=getattr(columns, metric),
        action=columns.provider,
        propensity=columns.propensities[np.arange(len(columns)), columns.provider],
        target=probabilities,
        q_hat=q_hat,
    )


def estimator(name: str, tuning: Tuning) -> Estimator:
    """The estimator by its name, with the λ that was tuned for it."""
    found = ESTIMATORS[name]
    if name in tuning and isinstance(found, partial):
        return partial(found.func, lam=tuning[name])
    return found


def _target_part(
    columns: LogBatch,
    log: Log,
    settings: ReplaySettings,
    number: int,
    metrics: Sequence[str],
    models: Mapping[str, FloatArray],
    probabilities: FloatArray,
    tuning: Tuning,
) -> TargetPart:
    assert columns.propensities is not None
    logging = columns.propensities / columns.propensities.sum(axis=1, keepdims=True)
    given = {name: decisions_of(columns, name, probabilities, models[name]) for name in metrics}
    logged = {name: decisions_of(columns, name, logging, models[name]) for name in metrics}
    primary = estimator(settings.primary, tuning)
    terms: dict[str, Terms] = {}
    for metric in metrics:
        for name in settings.names:
            terms[estimate_name(metric, name)] = estimator(name, tuning)(given[metric])
        # What the gain is paired with: noise that both policies share, that of the draw included, cancels.
        terms[estimate_name(metric, PAIRED)] = primary(logged[metric])
    weight = given["reward"].weight
    few = [
        estimate_name(metric, name) for metric in metrics for name in (ON_POLICY, settings.primary, PAIRED)
    ]
    brief = {name: terms[name] for name in few}

    def sliced(rows: NDArray[np.intp]) -> Slice:
        return Slice(
            moments=Moments.of({name: _some(part, rows) for name, part in brief.items()}),
            weights=WeightCounts.of(weight=weight[rows]),
        )

    found = {(by, name): sliced(rows) for by in settings.by for name, rows in slices(columns, by)}
    bucket = time_bucket(columns, log)
    for place in np.unique(bucket).tolist():
        found["time", str(place)] = sliced(np.flatnonzero(bucket == place))
    return TargetPart(
        moments=Moments.of(terms),
        weights=WeightCounts.of(weight=weight, target=probabilities, logging=columns.propensities),
        histogram=np.histogram(weight, bins=np.append(WEIGHT_EDGES, np.inf))[0].astype(np.int64),
        shares=probabilities.sum(axis=0),
        resamples=None
        if not settings.resamples
        else resample(brief, seed=settings.seed, partition=number, resamples=settings.resamples),
        slices=found,
    )


def _some(terms: Terms, rows: NDArray[np.intp]) -> Terms:
    """The terms of these decisions."""
    columns = {f.name: getattr(terms, f.name) for f in fields(terms)}
    return Terms(**{name: None if column is None else column[rows] for name, column in columns.items()})


def _log_part(
    columns: LogBatch, log: Log, settings: ReplaySettings, number: int, rows: NDArray[np.intp]
) -> LogPart:
    propensities = columns.propensities
    assert propensities is not None
    served = np.where(columns.served >= 0, columns.served, (columns.provider + 1) % len(log.providers))
    valued = columns.select(rows)
    weight = 1.0 / propensities[rows, valued.provider]
    k = len(log.providers)
    cells = np.zeros(((len(log.tasks) + 1) * k, 6))
    place = np.where(valued.task >= 0, valued.task, len(log.tasks)) * k + valued.provider
    cost = np.nan_to_num(valued.cost_usd)
    values = (np.ones(len(rows)), weight, weight * valued.reward, weight * cost, valued.reward, weight**2)
    for i, column in enumerate(values):
        cells[:, i] = np.bincount(place, weights=column, minlength=len(cells))
    fixed = None
    if settings.resamples and "cost_usd" in metrics_of(log) and len(rows):
        both = {
            estimate_name(metric, f"fixed:{provider}"): terms
            for metric, reward in (("reward", valued.reward), ("cost_usd", valued.cost_usd))
            for provider, terms in zip(
                log.providers,
                fixed_terms(reward=reward, action=valued.provider, propensity=1.0 / weight, providers=k),
                strict=True,
            )
        }
        fixed = resample(both, seed=settings.seed, partition=number, resamples=settings.resamples)
    return LogPart(
        counts=LogCounts.of(
            logging=propensities,
            selected=columns.provider,
            served=served,
            has_reward=np.isfinite(columns.reward),
        ),
        cells=cells.reshape(len(log.tasks) + 1, k, 6),
        smallest=float(np.where(columns.eligible, propensities, 1.0).min()) if len(columns) else 1.0,
        fixed=fixed,
    )
