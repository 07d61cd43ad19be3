"""From merged sums to a result: values, intervals, diagnostics and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Final

import numpy as np

from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.betting import BY_CLUSTER, METHOD, Wealth
from fairlead.experiments.ope.bootstrap import percentile
from fairlead.experiments.ope.diagnostics import (
    LEAST_EFFECTIVE_SIZE,
    Finding,
    diagnose,
    effective_outcomes,
    independent_draws,
    largest_cluster,
)
from fairlead.experiments.ope.fixed_mix import FixedMix, estimate_fixed_mix
from fairlead.experiments.ope.intervals import Estimate, asymptotic, asymptotic_or_unknown
from fairlead.experiments.ope.moments import Contrast, Moments, merge
from fairlead.experiments.ope.planning import Outlook, plan
from fairlead.experiments.ope.verdict import Verdict, recommend
from fairlead.experiments.replay import cautions
from fairlead.experiments.replay.cautions import Judged
from fairlead.experiments.replay.partial_results import (
    PAIRED,
    Key,
    LogPart,
    PartResult,
    Slice,
    TargetPart,
    estimate_name,
)
from fairlead.experiments.replay.result import (
    ALL,
    Calibration,
    Cell,
    Replay,
    SliceResult,
    TargetResult,
    WatchedGain,
)
from fairlead.experiments.replay.settings import INCUMBENT, ON_POLICY, UTILITY, ReplayJob
from fairlead.optimizer.errors import InvalidInput

MOST_SLICES: Final = 50
SAME_POLICY: Final = 1e-6
"""Policies whose probabilities never differ by more are the same: less is rounding."""

WeightedSum = Mapping[str, float]
"""A contrast as factors by the name of an estimate."""


def make_result(job: ReplayJob, merged: PartResult) -> Replay:
    """Compute the result from the merged parts."""
    log, settings = job.log, job.settings
    targets, parts = [], []
    for i, part in enumerate(merged.targets):
        if part is None:
            raise InvalidInput(_nothing_judged(job))
        parts.append(part)
        try:
            targets.append(_TargetSummary(job, i, part=part, log_part=merged.log).result())
        except InvalidInput as error:
            raise InvalidInput(f"target {settings.targets[i].label}: {error}") from None
    moments, cells = parts[0].moments, _cells(log, merged.log)
    return Replay(
        path=str(log.path),
        rows=log.rows,
        n=moments.n,
        first_s=log.first_s,
        last_s=log.last_s,
        facts=log.facts,
        failure_reward=log.failure_reward,
        account=log.account(),
        settings=settings,
        incumbent={
            metric: asymptotic(moments, estimate_name(metric, ON_POLICY), level=settings.level)
            for metric in job.metrics
        },
        targets=tuple(targets),
        hull=next((target.mix.hull for target in targets if target.mix is not None), None),
        cells=cells,
        counts=merged.log.counts,
        is_adaptive=merged.log.drift.is_adaptive,
        calibration=tuple(_calibration(merged.log)),
        notes=(
            *log.notes(),
            *_partial(log, moments.n, until_s=settings.trained_until_s),
            *_adaptive(job, merged.log),
            *_turned(cells),
        ),
    )


def _partial(log: Log, counted: int, *, until_s: float | None) -> Iterator[str]:
    """Say what estimates are of, if that is not the whole log."""
    if counted == log.rows:
        return
    said = (
        "have all outcomes" if until_s is None or math.isinf(until_s) else "are later, and have all outcomes"
    )
    partial = f"{counted:,} of {log.rows:,} decisions {said}; estimates are of these."
    if any(fact.failed for fact in log.facts):
        partial += (
            " A failed call counts as often as an answered one of its provider does, drawn by the seed, so "
            "that failures keep their share."
        )
    yield partial


def _nothing_judged(job: ReplayJob) -> str:
    if job.settings.trained_until_s is not None and math.isfinite(job.settings.trained_until_s):
        return f"{job.log.path} has no judged decision after --trained-until: give an earlier time"
    outcomes = ", ".join(job.required)
    return f"{job.log.path} has no decision with all of {outcomes}, so nothing can be judged: join them"


def _turned(cells: Sequence[Cell]) -> Iterator[str]:
    return cautions.direction([cell for cell in cells if cell.task == ALL])


def _calibration(log_part: LogPart) -> Iterator[Calibration]:
    """Return means by task, the commonest first, and by span of time."""
    ordered = sorted(
        log_part.calibration.items(),
        key=lambda item: (item[0][0], int(item[0][1]) if item[0][0] == "time" else -item[1][0]),
    )
    for (by, value), sums in ordered:
        n, means = sums[0], (sums[1:] / sums[0]).tolist()
        yield Calibration(
            by=by, value=value, n=int(n), reward=means[0], predicted_reward=means[1],
            likeliest_share=means[2], propensity=means[3],
        )  # fmt: skip


def _adaptive(job: ReplayJob, log_part: LogPart) -> Iterator[str]:
    """Say which intervals hold on this log."""
    if not log_part.drift.is_adaptive:
        return
    note = (
        "The propensities drift, as those of a policy that learns do: only confidence sequences hold on such "
        "a log, so the other estimates have no interval."
    )
    yield note + (" --fixed-sample is not followed." if job.settings.fixed_sample else "")


class _TargetSummary:
    """The result of one target, from its sums and those of the log."""

    def __init__(self, job: ReplayJob, index: int, *, part: TargetPart, log_part: LogPart) -> None:
        self._job, self._settings = job, job.settings
        self._spec = job.settings.targets[index]
        self._tuning = job.tuning[index]
        self._part, self._log_part = part, log_part
        self._quantities = job.quantities(self._spec)
        self._quantity = UTILITY if UTILITY in self._quantities else "reward"
        self._watched = not job.settings.fixed_sample or log_part.drift.is_adaptive

    def result(self) -> TargetResult:
        """Put everything together."""
        part, providers = self._part, self._job.log.providers
        gains = {quantity: self._gain(quantity) for quantity in self._quantities}
        slices = [self._slice(key, sums) for key, sums in part.slices.items()]
        spans = [piece for piece in slices if piece.by == "time"]
        others = [piece for piece in slices if piece.by != "time"]
        others.sort(key=lambda piece: (piece.by, -piece.n, piece.value))
        judged = self._judged(gains, others)
        findings = (*self._diagnose(), *cautions.findings(judged))
        outlook = self._outlook(gains[self._quantity])
        return TargetResult(
            label=self._spec.label,
            spec=self._spec,
            n=part.moments.n,
            estimates=self._estimates(),
            gains=gains,
            intervals=self._intervals(),
            quantity=self._quantity,
            findings=findings,
            verdict=self._verdict(judged, findings, outlook),
            outlook=outlook,
            mix=self._mix(),
            shares=dict(zip(providers, (part.shares / part.shares.sum()).tolist(), strict=True)),
            effective_size=part.weights.effective_size,
            histogram=tuple(part.histogram.tolist()),
            slices=tuple(others[:MOST_SLICES]),
            over_time=tuple(sorted(spans, key=lambda piece: int(piece.value))),
            watched_gain=self._watched_gain(),
            tuning=self._tuning,
        )  # fmt: skip

    def _verdict(self, judged: Judged, findings: Sequence[Finding], outlook: Outlook | None) -> Verdict:
        """Recommend one of the two policies, and say so if they are the same."""
        label, gain = self._spec.label, judged.gain
        verdict = recommend(
            gain,
            findings,
            target=label,
            incumbent=INCUMBENT,
            quantity="quality" if self._quantity == "reward" else self._quantity,
            margin=self._settings.margin,
            provisos=tuple(cautions.provisos(judged)),
            remarks=tuple(cautions.remarks(judged)),
            outlook=outlook,
        )
        if self._part.distance > SAME_POLICY:
            return verdict
        same = (
            f"{label} coincides with {INCUMBENT}: it has the same probabilities in all {gain.n:,} decisions, "
            "so there is nothing to tell apart."
        )
        if verdict.recommendation == "keep":
            return replace(verdict, sentence=same)
        return replace(verdict, sentence=f"{same} {verdict.sentence}", more_decisions=None)

    def _judged(self, gains: Mapping[str, Estimate], slices: Sequence[SliceResult]) -> Judged:
        part, spans = self._part, cautions.last_third(self._part.slices)
        last = None
        if spans:
            wealth = reduce(Wealth.merge, [span.gain for span in spans])
            moments = merge([span.moments for span in spans])
            contrast = self._contrast(self._quantity, self._settings.primary, less=PAIRED)
            last = wealth.interval(
                value=_value_or_unknown(moments, contrast), level=self._settings.level, share=self._questions
            )
        costs = "cost_usd" in self._job.metrics
        on_policy = estimate_name("cost_usd", ON_POLICY)
        return Judged(
            job=self._job,
            spec=self._spec,
            part=part,
            log_part=self._log_part,
            quantity=self._quantity,
            gain=gains[self._quantity],
            cost=self._estimates()["cost_usd"][self._settings.primary] if costs else None,
            incumbent_usd=part.moments.value(on_policy) if costs else math.nan,
            slices=slices,
            last_third=last,
        )

    def _diagnose(self) -> Iterator[Finding]:
        providers = self._job.log.providers
        yield from diagnose(
            self._part.weights, self._log_part.counts, providers=providers, watched=self._watched
        )
        if not self._watched:
            yield effective_outcomes(self._part.weights)
        if self._part.clusters is not None and self._settings.cluster is not None:
            yield largest_cluster(self._part.clusters.largest_share, self._settings.cluster)
        for key, draws in self._log_part.draws.items():
            yield independent_draws(draws, key)

    @property
    def _questions(self) -> int:
        """How many gains are judged at once: each target's bounds hold together with all others'."""
        return len(self._settings.targets)

    def _contrast(self, quantity: str, name: str, *, less: str | None = None) -> WeightedSum:
        """Weigh the metrics' estimates by one estimator, less those by another."""
        factors = self._quantities[quantity]
        contrast = {estimate_name(metric, name): factor for metric, factor in factors.items()}
        if less is not None:
            contrast |= {estimate_name(metric, less): -factor for metric, factor in factors.items()}
        return contrast

    def _gain(self, quantity: str) -> Estimate:
        """Compare the target with the logging policy, both by the primary estimator."""
        part, level = self._part, self._settings.level
        contrast = self._contrast(quantity, self._settings.primary, less=PAIRED)
        single = asymptotic(part.moments, contrast, level=level)
        if part.clusters is not None and quantity == self._quantity:
            if not self._watched:
                return part.clusters.asymptotic(value=single.value, level=level)
            gain = part.clusters.wealth().interval(value=single.value, level=level, share=self._questions)
            return replace(gain, method=BY_CLUSTER)
        if not self._watched:
            return single
        return part.gains[quantity].interval(value=single.value, level=level, share=self._questions)

    def _estimates(self) -> dict[str, dict[str, Estimate]]:
        """Every estimate; on the log of a policy that learned only sequences have an interval that holds."""
        level, is_adaptive = self._settings.level, self._log_part.drift.is_adaptive
        estimates = {
            quantity: {
                name: asymptotic_or_unknown(self._part.moments, self._contrast(quantity, name), level=level)
                for name in self._settings.names
            }
            for quantity in self._quantities
        }
        if is_adaptive:
            for quantity, by_name in estimates.items():
                for name, estimate in by_name.items():
                    if name == self._settings.primary:
                        wealth = self._part.values[quantity]
                        by_name[name] = wealth.interval(value=estimate.value, level=level)
                    elif name != ON_POLICY:
                        by_name[name] = without_interval(estimate)
        return estimates

    def _intervals(self) -> dict[str, Estimate]:
        """Kinds of interval of the gain in what the verdict weighs, those that hold on this log."""
        level, part = self._settings.level, self._part
        contrast = self._contrast(self._quantity, self._settings.primary, less=PAIRED)
        single = asymptotic(part.moments, contrast, level=level)
        intervals = {METHOD: part.gains[self._quantity].interval(value=single.value, level=level)}
        if part.clusters is not None:
            intervals[BY_CLUSTER] = part.clusters.wealth().interval(value=single.value, level=level)
        if self._log_part.drift.is_adaptive:
            return intervals
        intervals["asymptotic"] = single
        if part.resamples is not None:
            intervals["bootstrap"] = percentile(part.resamples, contrast, level=level)
        return intervals

    def _outlook(self, gain: Estimate) -> Outlook | None:
        """Say what would settle the question; None where half-widths alone say it."""
        spans = cautions.last_third(self._part.slices)
        if not self._watched or not spans or self._part.clusters is not None:
            return None
        moments = merge([span.moments for span in spans])
        contrast = self._contrast(self._quantity, self._settings.primary, less=PAIRED)
        recent = asymptotic_or_unknown(moments, contrast, level=self._settings.level)
        if not math.isfinite(recent.standard_error):
            return None
        return plan(
            self._part.gains[self._quantity],
            gain=gain.value,
            second_moment=recent.standard_error**2 * moments.n + recent.value**2,
            divergence=np.sum([span.divergence for span in spans], axis=0) / moments.n,
            margin=self._settings.margin,
            level=self._settings.level,
            questions=self._questions,
        )

    def _watched_gain(self) -> tuple[WatchedGain, ...]:
        """Return what the sequence said at the end of each span of the log."""
        spans = sorted(
            ((int(name), part) for (by, name), part in self._part.slices.items() if by == "time"),
            key=lambda span: span[0],
        )
        contrast = self._contrast(self._quantity, self._settings.primary, less=PAIRED)
        watched, so_far, moments = [], None, None
        for bucket, part in spans:
            so_far = part.gain if so_far is None else so_far.merge(part.gain)
            moments = part.moments if moments is None else moments.merge(part.moments)
            value = _value_or_unknown(moments, contrast)
            gain = so_far.interval(value=value, level=self._settings.level, share=self._questions)
            watched.append(WatchedGain(bucket=bucket, gain=gain))
        return tuple(watched)

    def _slice(self, key: Key, part: Slice) -> SliceResult:
        level, primary = self._settings.level, self._settings.primary
        own, target = (estimate_name("reward", name) for name in (ON_POLICY, primary))
        incumbent, estimate = (
            asymptotic_or_unknown(part.moments, name, level=level) for name in (own, target)
        )
        if self._log_part.drift.is_adaptive:
            estimate = without_interval(estimate)
        slices = sum(by != "time" for by, _ in self._part.slices)
        questions = 1 if key[0] == "time" else slices * self._questions
        contrast = self._contrast(self._quantity, primary, less=PAIRED)
        gain = _value_or_unknown(part.moments, contrast)
        return SliceResult(
            by=key[0],
            value=key[1],
            n=part.moments.n,
            incumbent=incumbent,
            target=estimate,
            gain=replace(part.gain.interval(level=level, share=questions), value=gain),
            effective_size=part.weights.effective_size,
        )

    def _mix(self) -> FixedMix | None:
        """Compare with the best fixed mix at the target's own spend; None if nothing supports it.

        On the log of a policy that learned resamples say nothing of the spread, nor do a few decisions.
        """
        fixed, resamples, primary = self._log_part.fixed, self._part.resamples, self._settings.primary
        if resamples is None or fixed is None or self._log_part.drift.is_adaptive:
            return None
        if min(_provider_sizes(self._log_part)) < LEAST_EFFECTIVE_SIZE:
            return None
        policies = [f"fixed:{provider}" for provider in self._job.log.providers]
        return estimate_fixed_mix(
            resamples.join(fixed),
            quality=estimate_name("reward", primary),
            cost_usd=estimate_name("cost_usd", primary),
            fixed_quality=[estimate_name("reward", policy) for policy in policies],
            fixed_cost_usd=[estimate_name("cost_usd", policy) for policy in policies],
            level=self._settings.level,
        )


def _value_or_unknown(moments: Moments, contrast: Contrast) -> float:
    return asymptotic_or_unknown(moments, contrast).value


def without_interval(estimate: Estimate) -> Estimate:
    """Return the value alone."""
    return replace(estimate, low=-math.inf, high=math.inf, standard_error=math.nan, method="none")


def _provider_sizes(log_part: LogPart) -> list[float]:
    """Effective sample size of always choosing each provider, shape (k,)."""
    sums = log_part.cells.sum(axis=0)
    return [float(weight**2 / squares) if squares > 0.0 else 0.0 for weight, squares in sums[:, [1, 5]]]


def _cells(log: Log, log_part: LogPart) -> tuple[Cell, ...]:
    """Estimate by SNIPS per task and provider, with the standard error of the weighted mean of a reward."""
    sums = log_part.cells.copy()
    sums[-1] = log_part.cells.sum(axis=0)
    cells = []
    for t, task in enumerate([*log.tasks, ALL]):
        for j, provider in enumerate(log.providers):
            n, weight, reward, cost, _, squares = sums[t, j].tolist()
            if n == 0.0:
                continue
            quality = reward / weight
            cells.append(
                Cell(
                    task=task,
                    provider=provider,
                    n=int(n),
                    quality=quality,
                    quality_se=math.sqrt(max(quality * (1.0 - quality), 0.0) * squares) / weight,
                    cost_usd=cost / weight,
                )
            )
    return tuple(cells)
