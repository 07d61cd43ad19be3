"""One part of a log: the terms of every estimator, summed into what merges with the other parts.

Reward models are cross-fitted within the part, so that memory stays bounded and a part depends on nothing but
itself: the same part gives the same sums in any process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.batch import Indices, LogBatch
from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.bootstrap import Resamples, resample
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
    Key,
    LogPart,
    PartResult,
    Slice,
    TargetPart,
    estimate_name,
)
from fairlead.experiments.replay.settings import ON_POLICY, TIME_BUCKETS, ReplayJob, Tuning
from fairlead.experiments.targets.learning import context_encoder, features_of
from fairlead.optimizer.types import FloatArray

WITHOUT: Final = "(none)"
_FAILURES: Final = 1
"""The stream of random numbers that draws among failed calls."""


class OutcomeBatch:
    """The decisions of a part, and among them (``rows``, ``valued``) those that estimates count.

    `LogBatch.counted` says which those are. A failed call without a cost counts as free, and one without a
    latency as taking its provider's mean: left out, its quality of 0 would be lost with it.

    ``propensities`` are those of all decisions of the part, ``logging`` those of the valued ones, of which
    ``drawn_propensity`` (m,) is that of the provider that was drawn.
    """

    def __init__(
        self, job: ReplayJob, number: int, batch: LogBatch, *, metrics: Sequence[str] | None = None
    ) -> None:
        assert batch.propensities is not None
        self.job, self.number, self.batch = job, number, batch
        self.metrics = job.metrics if metrics is None else metrics
        self.rows: Indices = counted_rows(job, number, batch, metrics=self.metrics)
        self.valued = _with_outcomes(batch.select(self.rows), job.log)
        self.propensities = batch.propensities
        self.logging = batch.propensities[self.rows]
        self.drawn_propensity = self.logging[np.arange(len(self.rows)), self.valued.provider]

    @cached_property
    def predictions(self) -> Mapping[str, FloatArray]:
        """Predictions of every metric, shape (m, k); for the reward the log's own, if it has them."""
        valued, providers = self.valued, len(self.job.log.providers)
        own = valued.reward_predictions if self.job.model == "column" else None
        kind: Kind = self.job.model if self.job.model in ("ridge", "boosting") else "mean"
        folds = random_folds(len(valued), seed=1_000_003 * self.job.settings.seed + self.number)
        features = np.zeros((len(valued), 1)) if kind == "mean" else features_of(valued, context_encoder())
        predictions = {}
        for metric in self.metrics:
            outcome = getattr(valued, metric)
            if metric == "reward" and own is not None:
                predictions[metric] = own
            elif len(valued) < 2:
                predictions[metric] = np.full(valued.eligible.shape, float(outcome[0]))
            else:
                predictions[metric] = cross_fit(
                    kind, features=features, reward=outcome, action=valued.provider,
                    providers=providers, folds=folds,
                )  # fmt: skip
        return predictions

    def logged_batch(self, metric: str, probabilities: FloatArray) -> LoggedBatch:
        """Pair the outcomes of a metric with a policy's probabilities, shape (m, k), for the estimators."""
        return LoggedBatch(
            reward=getattr(self.valued, metric),
            action=self.valued.provider,
            propensity=self.drawn_propensity,
            target=probabilities,
            q_hat=self.predictions[metric],
        )

    def resample(self, terms: Mapping[str, Terms]) -> Resamples | None:
        """Resample the part; its number and the seed of the replay determine the counts."""
        settings = self.job.settings
        if not settings.resamples:
            return None
        return resample(terms, seed=settings.seed, partition=self.number, resamples=settings.resamples)


def counted_rows(job: ReplayJob, number: int, batch: LogBatch, *, metrics: Sequence[str]) -> Indices:
    """Return the decisions of part ``number`` that estimates count; the seed draws among the failed ones."""
    draws = np.random.default_rng([job.settings.seed, number, _FAILURES]).random(len(batch))
    return batch.counted(metrics, facts=job.log.facts, draws=draws)


def _with_outcomes(batch: LogBatch, log: Log) -> LogBatch:
    """Fill in what a log does not say of failed calls, if it has costs and latencies at all."""
    latency = np.array([fact.mean_latency_s for fact in log.facts])
    is_logged = np.isfinite(latency)
    usual_s = latency[is_logged].mean() if is_logged.any() else np.nan
    latency = np.where(is_logged, latency, usual_s)[batch.provider]
    cost_usd, latency_s = batch.cost_usd, batch.latency_s
    return replace(
        batch,
        cost_usd=np.where(batch.failed & np.isnan(cost_usd), 0.0, cost_usd),
        latency_s=np.where(batch.failed & np.isnan(latency_s), latency, latency_s),
    )


def summarise_part(batch: OutcomeBatch, targets: Sequence[FloatArray]) -> PartResult:
    """Sum up a part; ``targets`` are every target's probabilities (n, k) for all of its decisions."""
    log_part = _summarise_log(batch)
    if not len(batch.rows):
        return PartResult(log=log_part, targets=tuple(None for _ in targets))
    parts = [
        _summarise_target(batch, probabilities[batch.rows], tuning)
        for probabilities, tuning in zip(targets, batch.job.tuning, strict=True)
    ]
    return PartResult(log=log_part, targets=tuple(parts))


def _estimator(name: str, tuning: Tuning) -> Estimator:
    """Look up an estimator, and set the λ that was tuned for it."""
    estimator = ESTIMATORS[name]
    if name in tuning and isinstance(estimator, partial):
        return partial(estimator.func, lam=tuning[name])
    return estimator


def _summarise_target(batch: OutcomeBatch, probabilities: FloatArray, tuning: Tuning) -> TargetPart:
    settings = batch.job.settings
    logging = batch.logging / batch.logging.sum(axis=1, keepdims=True)
    primary = _estimator(settings.primary, tuning)
    terms: dict[str, Terms] = {}
    for metric in batch.metrics:
        target = batch.logged_batch(metric, probabilities)
        for name in settings.names:
            terms[estimate_name(metric, name)] = _estimator(name, tuning)(target)
        # What the gain is paired with: noise that both policies share, that of the draw included, cancels.
        terms[estimate_name(metric, PAIRED)] = primary(batch.logged_batch(metric, logging))
        weight = target.weight  # the same for every metric
    brief_names = (ON_POLICY, settings.primary, PAIRED)
    brief = [estimate_name(metric, name) for metric in batch.metrics for name in brief_names]
    brief_terms = {name: terms[name] for name in brief}
    return TargetPart(
        moments=Moments.of(terms),
        weights=WeightCounts.of(weight=weight, target=probabilities, logging=batch.logging),
        histogram=np.histogram(weight, bins=np.append(WEIGHT_EDGES, np.inf))[0].astype(np.int64),
        shares=probabilities.sum(axis=0),
        distance=float(np.abs(probabilities - batch.logging).max()),
        resamples=batch.resample(brief_terms),
        slices=_slices(batch, brief_terms, weight),
    )


def _slices(batch: OutcomeBatch, terms: Mapping[str, Terms], weight: FloatArray) -> dict[Key, Slice]:
    """Sum up every slice that was asked for, and every span of time."""
    rows_of: dict[Key, NDArray[np.intp]] = {
        (by, name): rows for by in batch.job.settings.by for name, rows in slices(batch.valued, by)
    }
    bucket = time_bucket(batch.valued, batch.job.log)
    for i in np.unique(bucket).tolist():
        rows_of["time", str(i)] = np.flatnonzero(bucket == i)
    return {
        key: Slice(
            moments=Moments.of({name: _select(part, rows) for name, part in terms.items()}),
            weights=WeightCounts.of(weight=weight[rows]),
        )
        for key, rows in rows_of.items()
    }


def slices(batch: LogBatch, by: str) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Cut decisions into slices; yields the name of each and the indices of its decisions."""
    names, slice_of = np.unique(np.array(_labels(batch, by), dtype=object), return_inverse=True)
    for i, name in enumerate(names.tolist()):
        yield str(name), np.flatnonzero(slice_of == i)


def _labels(batch: LogBatch, by: str) -> list[str]:
    if by == "task":
        return [batch.tasks[task] if task >= 0 else WITHOUT for task in batch.task.tolist()]
    if by == "week":
        return [_week(at_s) for at_s in batch.decided_at_s.tolist()]
    if by == "route":
        routes = batch.routes if batch.routes is not None else [None] * len(batch)
        return [WITHOUT if route is None else str(route) for route in routes]
    texts = batch.attributes if batch.attributes is not None else [None] * len(batch)
    return [_shown(json.loads(text).get(by)) if text else WITHOUT for text in texts]


def _week(at_s: float) -> str:
    year, week, _ = datetime.fromtimestamp(at_s, UTC).isocalendar()
    return f"{year}-W{week:02d}"


def _shown(value: object) -> str:
    if value is None:
        return WITHOUT
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def time_bucket(batch: LogBatch, log: Log) -> Indices:
    """Find the one of `TIME_BUCKETS` equal spans of the log that each decision falls into."""
    span = max(log.last_s - log.first_s, 1e-9)
    bucket = ((batch.decided_at_s - log.first_s) / span * TIME_BUCKETS).astype(np.intp)
    return np.minimum(bucket, TIME_BUCKETS - 1)


def _select(terms: Terms, rows: NDArray[np.intp]) -> Terms:
    """Take the terms of some decisions."""
    columns = {f.name: getattr(terms, f.name) for f in fields(terms)}
    return Terms(**{name: None if column is None else column[rows] for name, column in columns.items()})


def _summarise_log(part: OutcomeBatch) -> LogPart:
    batch, k = part.batch, len(part.job.log.providers)
    # A provider that the log never lists is any other one than the drawn: only equality is counted.
    served = np.where(batch.served >= 0, batch.served, (batch.provider + 1) % k)
    eligible_propensities = np.where(batch.eligible, part.propensities, 1.0)
    return LogPart(
        counts=LogCounts.of(
            logging=part.propensities,
            selected=batch.provider,
            served=served,
            has_reward=np.isfinite(batch.reward),
            failed=batch.failed,
        ),
        cells=_cells(part),
        smallest_propensity=float(eligible_propensities.min()) if len(batch) else 1.0,
        fixed=_fixed_policies(part),
    )


def _cells(part: OutcomeBatch) -> FloatArray:
    """Sum up decisions, weights and outcomes per task and provider; see `LogPart`."""
    valued, weight = part.valued, 1.0 / part.drawn_propensity
    tasks, k = len(part.job.log.tasks) + 1, len(part.job.log.providers)
    cell = np.where(valued.task >= 0, valued.task, tasks - 1) * k + valued.provider
    cost = np.nan_to_num(valued.cost_usd)
    columns = (np.ones(len(weight)), weight, weight * valued.reward, weight * cost, valued.reward, weight**2)
    sums = [np.bincount(cell, weights=column, minlength=tasks * k) for column in columns]
    return np.stack(sums, axis=-1, dtype=np.float64).reshape(tasks, k, len(columns))


def _fixed_policies(part: OutcomeBatch) -> Resamples | None:
    """Resample the always-one-provider policies; None if there is no cost or nothing to resample."""
    valued, providers = part.valued, part.job.log.providers
    # Inverted twice, so that the last bits are those of earlier releases.
    propensity = 1.0 / (1.0 / part.drawn_propensity)
    if "cost_usd" not in part.metrics or not len(part.rows):
        return None
    terms: dict[str, Terms] = {}
    for metric, outcome in (("reward", valued.reward), ("cost_usd", valued.cost_usd)):
        policies = fixed_terms(
            reward=outcome, action=valued.provider, propensity=propensity, providers=len(providers)
        )
        for provider, policy in zip(providers, policies, strict=True):
            terms[estimate_name(metric, f"fixed:{provider}")] = policy
    return part.resample(terms)
