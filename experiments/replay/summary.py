"""From merged sums to a result: values, intervals, diagnostics and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.bootstrap import percentile
from fairlead.experiments.ope.diagnostics import Finding, diagnose
from fairlead.experiments.ope.fixed_mix import FixedMix, estimate_fixed_mix
from fairlead.experiments.ope.intervals import (
    Estimate,
    asymptotic,
    asymptotic_or_unknown,
    asymptotic_sequence,
    empirical_bernstein,
)
from fairlead.experiments.ope.moments import Contrast, difference
from fairlead.experiments.ope.verdict import Verdict, recommend
from fairlead.experiments.replay.partial_results import (
    PAIRED,
    Key,
    LogPart,
    PartResult,
    Slice,
    TargetPart,
    estimate_name,
)
from fairlead.experiments.replay.result import ALL, UTILITY, Cell, Replay, SliceResult, TargetResult
from fairlead.experiments.replay.settings import INCUMBENT, ON_POLICY, ReplayJob
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
            raise InvalidInput(
                f"{log.path} has no decision with all of {', '.join(job.metrics)}, so nothing can be judged: "
                "join them"
            )
        parts.append(part)
        try:
            targets.append(_TargetSummary(job, i, part=part, log_part=merged.log).result())
        except InvalidInput as error:
            raise InvalidInput(f"target {settings.targets[i].label}: {error}") from None
    moments = parts[0].moments
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
        cells=_cells(log, merged.log),
        counts=merged.log.counts,
        notes=(*log.notes(), *_partial(log, moments.n)),
    )


def _partial(log: Log, counted: int) -> Iterator[str]:
    """Say what estimates are of, if that is not the whole log."""
    if counted == log.rows:
        return
    partial = f"{counted:,} of {log.rows:,} decisions have all outcomes; estimates are of these."
    if any(fact.failed for fact in log.facts):
        partial += (
            " A failed call counts as often as an answered one of its provider does, drawn by the seed, so "
            "that failures keep their share."
        )
    yield partial


class _TargetSummary:
    """The result of one target, from its sums and those of the log."""

    def __init__(self, job: ReplayJob, index: int, *, part: TargetPart, log_part: LogPart) -> None:
        self._job, self._settings = job, job.settings
        self._spec = job.settings.targets[index]
        self._tuning = job.tuning[index]
        self._part, self._log_part = part, log_part
        self._wtp_usd = self._spec.goal.wtp_usd or job.settings.wtp_usd

    def result(self) -> TargetResult:
        """Put everything together."""
        part, providers, label = self._part, self._job.log.providers, self._spec.label
        quantity = UTILITY if UTILITY in self._contrasts else "reward"
        gains = {
            metric: asymptotic(part.moments, self._gain(metric), level=self._settings.level)
            for metric in self._contrasts
        }
        findings = diagnose(part.weights, self._log_part.counts, providers=providers)
        slices = [self._slice(key, sums) for key, sums in part.slices.items()]
        spans = [piece for piece in slices if piece.by == "time"]
        others = [piece for piece in slices if piece.by != "time"]
        others.sort(key=lambda piece: (piece.by, -piece.n, piece.value))
        return TargetResult(
            label=label,
            spec=self._spec,
            n=part.moments.n,
            estimates=self._estimates(),
            gains=gains,
            intervals=self._intervals(self._gain(quantity)),
            quantity=quantity,
            findings=findings,
            verdict=self._verdict(gains[quantity], findings, quantity),
            mix=self._mix(),
            shares=dict(zip(providers, (part.shares / part.shares.sum()).tolist(), strict=True)),
            effective_size=part.weights.effective_size,
            histogram=tuple(part.histogram.tolist()),
            slices=tuple(others[:MOST_SLICES]),
            over_time=tuple(sorted(spans, key=lambda piece: int(piece.value))),
            tuning=self._tuning,
        )  # fmt: skip

    def _verdict(self, gain: Estimate, findings: Sequence[Finding], quantity: str) -> Verdict:
        """Recommend one of the two policies, and say so if they are the same."""
        label = self._spec.label
        verdict = recommend(
            gain,
            findings,
            target=label,
            incumbent=INCUMBENT,
            quantity="quality" if quantity == "reward" else quantity,
            margin=self._settings.margin,
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

    @cached_property
    def _contrasts(self) -> dict[str, dict[str, WeightedSum]]:
        """The estimates of every metric, and of the utility if there is one, by estimator and `PAIRED`."""
        names = (*self._settings.names, PAIRED)
        contrasts: dict[str, dict[str, WeightedSum]] = {
            metric: {name: {estimate_name(metric, name): 1.0} for name in names}
            for metric in self._job.metrics
        }
        factors = self._utility_factors()
        if len(factors) > 1:
            contrasts[UTILITY] = {
                name: {estimate_name(metric, name): factor for metric, factor in factors.items()}
                for name in names
            }
        return contrasts

    def _utility_factors(self) -> dict[str, float]:
        """Weigh the metrics in the utility; `InvalidInput` if the log lacks one that it needs."""
        factors = {"reward": 1.0}
        if self._wtp_usd:
            factors["cost_usd"] = -1.0 / self._wtp_usd
        if self._settings.latency_weight:
            factors["latency_s"] = -self._settings.latency_weight
        for metric in factors:
            if metric not in self._job.metrics:
                raise InvalidInput(
                    f"{self._job.log.path} has no {metric}, which the utility needs: leave --wtp or "
                    "--latency-weight out"
                )
        return factors

    def _gain(self, metric: str) -> WeightedSum:
        """Subtract the logging policy from the target, both by the primary estimator."""
        contrasts = self._contrasts[metric]
        paired = {name: -factor for name, factor in contrasts[PAIRED].items()}
        return {**contrasts[self._settings.primary], **paired}

    def _estimates(self) -> dict[str, dict[str, Estimate]]:
        return {
            metric: {
                name: asymptotic_or_unknown(self._part.moments, contrasts[name], level=self._settings.level)
                for name in self._settings.names
            }
            for metric, contrasts in self._contrasts.items()
        }

    def _intervals(self, gain: Contrast) -> dict[str, Estimate]:
        level, part, smallest = self._settings.level, self._part, self._log_part.smallest_propensity
        intervals = {
            "asymptotic": asymptotic(part.moments, gain, level=level),
            "anytime": asymptotic_sequence(part.moments, gain, level=level),
        }
        if part.resamples is not None:
            intervals["bootstrap"] = percentile(part.resamples, gain, level=level)
        if "ips" in self._settings.names and smallest > 0.0:
            ips = estimate_name("reward", "ips")
            intervals["empirical Bernstein (IPS)"] = empirical_bernstein(
                part.moments, ips, low=0.0, high=1.0 / smallest, level=level
            )
        return intervals

    def _slice(self, key: Key, part: Slice) -> SliceResult:
        own, target, paired = (
            estimate_name("reward", name) for name in (ON_POLICY, self._settings.primary, PAIRED)
        )
        contrasts: tuple[Contrast, ...] = (own, target, difference(target, paired))
        incumbent, estimate, gain = (
            asymptotic_or_unknown(part.moments, contrast, level=self._settings.level)
            for contrast in contrasts
        )
        return SliceResult(
            by=key[0],
            value=key[1],
            n=part.moments.n,
            incumbent=incumbent,
            target=estimate,
            gain=gain,
            effective_size=part.weights.effective_size,
        )

    def _mix(self) -> FixedMix | None:
        """Compare with the best fixed mix at the target's own spend; None without resamples or costs."""
        fixed, resamples, primary = self._log_part.fixed, self._part.resamples, self._settings.primary
        if resamples is None or fixed is None:
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
