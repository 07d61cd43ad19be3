"""One part of a log: the terms of every estimator, summed into what merges with the other parts.

Reward models are cross-fitted within the part, so that memory stays bounded and a part depends on nothing but
itself: the same part gives the same sums in any process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.logs.batch import Indices, LogBatch
from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.betting import ClusterSums, Ends, Trial, Wealth, gain_ends, value_ends
from fairlead.experiments.ope.bootstrap import Resamples, resample
from fairlead.experiments.ope.counts import KeyedDraws, LogCounts, PropensityDrift, WeightCounts
from fairlead.experiments.ope.estimators import ESTIMATORS, Estimator
from fairlead.experiments.ope.fixed_mix import fixed_terms
from fairlead.experiments.ope.grouping import sum_by
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.planning import EXPLORATION
from fairlead.experiments.ope.reward_models import Kind, cross_fit, predict_from_past, random_folds
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
from fairlead.experiments.replay.settings import ON_POLICY, TIME_BUCKETS, UTILITY, ReplayJob, Tuning
from fairlead.experiments.targets.base import FIXED, TargetSpec
from fairlead.experiments.targets.learning import context_encoder, features_of
from fairlead.optimizer.types import FloatArray

WITHOUT: Final = "(none)"
_FAILURES: Final = 1
"""The stream of random numbers that draws among failed calls."""


class OutcomeBatch:
    """The decisions of a part, and among them (``rows``, ``valued``) those that estimates count.

    `LogBatch.counted` says which those are: they have what the verdict weighs. Other outcomes that are
    missing count as their provider's mean; the cost of a failed call counts as 0.

    ``propensities`` are those of all decisions of the part, ``logging`` those of the valued ones, of which
    ``drawn_propensity`` (m,) is that of the provider that was drawn.
    """

    def __init__(
        self, job: ReplayJob, number: int, batch: LogBatch, *, metrics: Sequence[str] | None = None
    ) -> None:
        assert batch.propensities is not None
        self.job, self.number, self.batch = job, number, batch
        self.metrics = job.metrics if metrics is None else metrics
        required = job.required if metrics is None else metrics
        self.rows: Indices = counted_rows(job, number, batch, metrics=required)
        self.valued = _with_outcomes(batch.select(self.rows), job.log)
        self.propensities = batch.propensities
        self.logging = batch.propensities[self.rows]
        self.drawn_propensity = self.logging[np.arange(len(self.rows)), self.valued.provider]

    @cached_property
    def features(self) -> FloatArray:
        """What reward models see of each decision, shape (m, d)."""
        if self.job.model not in ("ridge", "boosting") or not len(self.valued):
            return np.zeros((len(self.valued), 1))
        return features_of(self.valued, context_encoder())

    @cached_property
    def earlier(self) -> Indices:
        """Count the decisions of the part that are strictly earlier: rows of one time may be in any order."""
        at_s = self.valued.decided_at_s
        return np.searchsorted(at_s, at_s, side="left")

    @cached_property
    def past_predictions(self) -> Mapping[str, FloatArray]:
        """Predictions of every metric from earlier decisions of the part alone, shape (m, k)."""
        predictions = {}
        for metric in self.metrics:
            within = self.job.within({metric: 1.0})
            predictions[metric] = predict_from_past(
                features=self.features, reward=getattr(self.valued, metric), action=self.valued.provider,
                providers=len(self.job.log.providers), low=within.low, high=within.high, earlier=self.earlier,
            )  # fmt: skip
        return predictions

    def trial(self, factors: Mapping[str, float]) -> Trial:
        """Return what happened in a weighted sum of metrics, for sequences."""
        terms = [(factor, getattr(self.valued, metric)) for metric, factor in factors.items()]
        predicted = [factor * self.past_predictions[metric] for metric, factor in factors.items()]
        return Trial(
            reward=np.sum([factor * outcome for factor, outcome in terms], axis=0),
            action=self.valued.provider,
            logging=self.logging_policy,
            q_hat=np.sum(predicted, axis=0),
            within=self.job.within(factors),
            earlier=self.earlier,
        )

    @cached_property
    def logging_policy(self) -> FloatArray:
        """The logging policy's probabilities, shape (m, k), each row with a sum of 1."""
        return np.asarray(self.logging / self.logging.sum(axis=1, keepdims=True), dtype=np.float64)

    @cached_property
    def predictions(self) -> Mapping[str, FloatArray]:
        """Predictions of every metric, shape (m, k); for the reward the log's own, if it has them."""
        valued, providers = self.valued, len(self.job.log.providers)
        own = valued.reward_predictions if self.job.model == "column" else None
        kind: Kind = self.job.model if self.job.model in ("ridge", "boosting") else "mean"
        folds = random_folds(len(valued), seed=1_000_003 * self.job.settings.seed + self.number)
        predictions = {}
        for metric in self.metrics:
            outcome = getattr(valued, metric)
            if metric == "reward" and own is not None:
                predictions[metric] = own
            elif len(valued) < 2:
                predictions[metric] = np.full(valued.eligible.shape, float(outcome[0]))
            else:
                predictions[metric] = cross_fit(
                    kind, features=self.features, reward=outcome, action=valued.provider,
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

    @cached_property
    def cluster_keys(self) -> NDArray[np.uint64] | None:
        """The hash of each decision's cluster, shape (m,); None without clusters."""
        by = self.job.settings.cluster
        if by is None:
            return None
        own = (f"{WITHOUT}{row}" for row in self.valued.row.tolist())  # a decision without one is alone
        return _hashes(
            [
                single if name == WITHOUT else name
                for name, single in zip(_labels(self.valued, by), own, strict=False)
            ]
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
    rows = batch.counted(metrics, facts=job.log.facts, draws=draws)
    until_s = job.settings.trained_until_s
    return rows if until_s is None else rows[batch.decided_at_s[rows] > until_s]


def _with_outcomes(batch: LogBatch, log: Log) -> LogBatch:
    """Fill in costs and latencies that are missing, if the log has any at all."""
    cost_usd = np.where(batch.failed & np.isnan(batch.cost_usd), 0.0, batch.cost_usd)
    usual_usd, usual_s = (
        _usual([getattr(fact, name) for fact in log.facts])[batch.provider]
        for name in ("mean_cost_usd", "mean_latency_s")
    )
    return replace(
        batch,
        cost_usd=np.where(np.isnan(cost_usd), usual_usd, cost_usd),
        latency_s=np.where(np.isnan(batch.latency_s), usual_s, batch.latency_s),
    )


def _usual(means: Sequence[float]) -> FloatArray:
    """Return the mean outcome of each provider, that of all for those without, shape (k,)."""
    usual = np.array(means)
    is_logged = np.isfinite(usual)
    return np.where(is_logged, usual, usual[is_logged].mean() if is_logged.any() else np.nan)


def summarise_part(batch: OutcomeBatch, targets: Sequence[FloatArray]) -> PartResult:
    """Sum up a part; ``targets`` are every target's probabilities (n, k) for all of its decisions."""
    log_part = _summarise_log(batch)
    if not len(batch.rows):
        return PartResult(log=log_part, targets=tuple(None for _ in targets))
    parts = [
        _summarise_target(batch, spec, probabilities=probabilities[batch.rows], tuning=tuning)
        for spec, probabilities, tuning in zip(
            batch.job.settings.targets, targets, batch.job.tuning, strict=True
        )
    ]
    return PartResult(log=log_part, targets=tuple(parts))


def _estimator(name: str, tuning: Tuning) -> Estimator:
    """Look up an estimator, and set the λ that was tuned for it."""
    estimator = ESTIMATORS[name]
    if name in tuning and isinstance(estimator, partial):
        return partial(estimator.func, lam=tuning[name])
    return estimator


def _summarise_target(
    batch: OutcomeBatch, spec: TargetSpec, *, probabilities: FloatArray, tuning: Tuning
) -> TargetPart:
    settings = batch.job.settings
    terms = _terms(batch, probabilities, tuning)
    weight = probabilities[np.arange(len(batch.rows)), batch.valued.provider] / batch.drawn_propensity
    brief_names = (ON_POLICY, settings.primary, PAIRED)
    brief = {
        name: terms[name]
        for name in (estimate_name(metric, name) for metric in batch.metrics for name in brief_names)
    }
    quantities = batch.job.quantities(spec)
    trials = {quantity: batch.trial(factors) for quantity, factors in quantities.items()}
    gains = {
        quantity: gain_ends(trial, target=probabilities, baseline=batch.logging_policy)
        for quantity, trial in trials.items()
    }
    decisive = gains[UTILITY if UTILITY in gains else "reward"]
    return TargetPart(
        moments=Moments.of(terms),
        weights=WeightCounts.of(
            weight=weight, target=probabilities, logging=batch.logging, reward=batch.valued.reward
        ),
        gains={quantity: Wealth.of(ends) for quantity, ends in gains.items()},
        values={
            quantity: Wealth.of(value_ends(trial, target=probabilities)) for quantity, trial in trials.items()
        },
        clusters=None if batch.cluster_keys is None else ClusterSums.of(decisive, batch.cluster_keys),
        histogram=np.histogram(weight, bins=np.append(WEIGHT_EDGES, np.inf))[0].astype(np.int64),
        shares=probabilities.sum(axis=0),
        substituted=_substituted(batch, spec),
        distance=float(np.abs(probabilities - batch.logging).max()),
        resamples=batch.resample(brief),
        slices=_slices(batch, brief, probabilities=probabilities, gain=decisive),
    )


def _terms(batch: OutcomeBatch, probabilities: FloatArray, tuning: Tuning) -> dict[str, Terms]:
    """Return the terms of every estimate of every metric."""
    settings = batch.job.settings
    primary = _estimator(settings.primary, tuning)
    terms: dict[str, Terms] = {}
    for metric in batch.metrics:
        target = batch.logged_batch(metric, probabilities)
        for name in settings.names:
            terms[estimate_name(metric, name)] = _estimator(name, tuning)(target)
        # What the gain is paired with: noise that both policies share, that of the draw included, cancels.
        terms[estimate_name(metric, PAIRED)] = primary(batch.logged_batch(metric, batch.logging_policy))
    return terms


def _substituted(batch: OutcomeBatch, spec: TargetSpec) -> int:
    """Count the decisions in which another provider stands in for a fixed one that was no candidate."""
    if not spec.name.startswith(FIXED):
        return 0
    column = batch.job.log.providers.index(spec.name.removeprefix(FIXED))
    return int((~batch.valued.eligible[:, column]).sum())


def _slices(
    batch: OutcomeBatch, terms: Mapping[str, Terms], *, probabilities: FloatArray, gain: Ends
) -> dict[Key, Slice]:
    """Sum up every slice, and every span of time."""
    weight = probabilities[np.arange(len(batch.rows)), batch.valued.provider] / batch.drawn_propensity
    divergence = _divergence(batch.logging_policy, probabilities)
    cuts = [(by, *slices(batch.valued, by)) for by in batch.job.by]
    spans, span = np.unique(time_bucket(batch.valued, batch.job.log), return_inverse=True)
    cuts.append(("time", [str(i) for i in spans.tolist()], span))
    parts = {}
    for by, names, slice_of in cuts:
        for i, (name, wealth) in enumerate(zip(names, Wealth.by(gain, slice_of, len(names)), strict=True)):
            rows = np.flatnonzero(slice_of == i)
            parts[by, name] = Slice(
                moments=Moments.of({estimate: _select(part, rows) for estimate, part in terms.items()}),
                weights=WeightCounts.of(weight=weight[rows]),
                gain=wealth,
                divergence=divergence[:, rows].sum(axis=1),
            )
    return parts


def _divergence(logging: FloatArray, target: FloatArray) -> FloatArray:
    """Return Σ_a (π − p)² / ((1 − ε) p + ε π) of each decision, for every share ε of `EXPLORATION`."""
    change = (target - logging) ** 2
    mixed = [(1.0 - share) * logging + share * target for share in EXPLORATION]
    return np.array([(change / np.where(mix > 0.0, mix, np.inf)).sum(axis=1) for mix in mixed])


def slices(batch: LogBatch, by: str) -> tuple[list[str], NDArray[np.intp]]:
    """Cut decisions into slices: the names of these, and the slice of each decision, shape (n,)."""
    names, slice_of = np.unique(np.array(_labels(batch, by), dtype=object), return_inverse=True)
    return [str(name) for name in names.tolist()], slice_of


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


def _hashes(names: Sequence[str]) -> NDArray[np.uint64]:
    """Return 64 bits of each name's hash, equal in every process."""
    digests = (blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


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
        drift=PropensityDrift.of(
            logging=part.propensities, span=time_bucket(batch, part.job.log), spans=TIME_BUCKETS
        ),
        draws=_keyed_draws(part),
        calibration=_calibration(part),
        fixed=_fixed_policies(part),
    )


def _calibration(part: OutcomeBatch) -> dict[Key, FloatArray]:
    """Sum up what was predicted and what came, by task and span of time; see `LogPart`."""
    valued, rows = part.valued, np.arange(len(part.rows))
    if not len(rows):
        return {}
    likeliest = part.logging_policy.argmax(axis=1)
    columns = (
        np.ones(len(rows)),
        valued.reward,
        part.predictions["reward"][rows, valued.provider],
        (valued.provider == likeliest).astype(np.float64),
        part.logging_policy[rows, likeliest],
    )
    spans, span = np.unique(time_bucket(valued, part.job.log), return_inverse=True)
    cuts = [("task", *slices(valued, "task")), ("time", [str(i) for i in spans.tolist()], span)]
    sums = {}
    for by, names, slice_of in cuts:
        by_name = np.stack([sum_by(slice_of, column, len(names)) for column in columns], axis=1)
        sums.update({(by, name): by_name[i] for i, name in enumerate(names)})
    return sums


def _keyed_draws(part: OutcomeBatch) -> dict[str, KeyedDraws]:
    """Sum up how draws of the same key go together, for the keys that the log has."""
    draws = {}
    for key in part.job.keys:
        labels = _labels(part.valued, key)
        rows = np.array([i for i, name in enumerate(labels) if name != WITHOUT], dtype=np.intp)
        if len(rows):
            draws[key] = KeyedDraws.of(
                key=_hashes([labels[i] for i in rows.tolist()]),
                logging=part.logging_policy[rows],
                selected=part.valued.provider[rows],
            )
    return draws


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
