"""From merged sums to a result: values, intervals, diagnostics and verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.bootstrap import percentile
from fairlead.experiments.ope.bounds import empirical_bernstein
from fairlead.experiments.ope.confidence_sequences import asymptotic_sequence
from fairlead.experiments.ope.diagnostics import diagnose
from fairlead.experiments.ope.fixed_mix import FixedMix, estimate_fixed_mix
from fairlead.experiments.ope.intervals import Estimate, asymptotic, asymptotic_or_unknown
from fairlead.experiments.ope.moments import Contrast, difference
from fairlead.experiments.ope.verdict import recommend
from fairlead.experiments.replay.partial_results import (
    PAIRED,
    PartResult,
    Slice,
    TargetPart,
    Tuning,
    estimate_name,
)
from fairlead.experiments.replay.result import ALL, UTILITY, Cell, Replay, SliceResult, TargetResult
from fairlead.experiments.replay.settings import INCUMBENT, ON_POLICY, ReplaySettings, metrics_of
from fairlead.experiments.replay.slices import MOST_SLICES
from fairlead.experiments.targets.base import TargetSpec
from fairlead.optimizer.errors import InvalidInput


def summarised(log: Log, settings: ReplaySettings, found: PartResult, tuning: Sequence[Tuning]) -> Replay:
    """The result out of the merged parts."""
    metrics = metrics_of(log)
    judged = []
    for spec, part, lam in zip(settings.targets, found.targets, tuning, strict=True):
        if part is None:
            raise InvalidInput(
                f"{log.path} has no decision with all of {', '.join(metrics)}, so nothing can be judged: "
                "join them"
            )
        try:
            judged.append(_judged(log, settings, spec, part, found, metrics, lam))
        except InvalidInput as error:
            raise InvalidInput(f"target {spec.label}: {error}") from None
    first = next(part for part in found.targets if part is not None)
    mixes = [one.mix for one in judged if one.mix is not None]
    incumbent = {
        metric: asymptotic(first.moments, estimate_name(metric, ON_POLICY), level=settings.level)
        for metric in metrics
    }
    return Replay(
        path=str(log.path),
        rows=log.rows,
        n=first.moments.n,
        first_s=log.first_s,
        last_s=log.last_s,
        providers=log.providers,
        settings=settings,
        incumbent=incumbent,
        targets=tuple(judged),
        hull=mixes[0].hull if mixes else None,
        cells=_cells(log, found),
        counts=found.log.counts,
        notes=(*log.notes(), *_notes(log, first.moments.n)),
    )


def _notes(log: Log, n: int) -> list[str]:
    if n == log.rows:
        return []
    return [f"{n:,} of {log.rows:,} decisions have all outcomes; estimates are of these."]


def _utility(
    settings: ReplaySettings, spec: TargetSpec, metrics: Sequence[str], name: str
) -> Mapping[str, float]:
    """The utility by one estimator, a contrast of its estimates of every metric."""
    worth = spec.goal.wtp_usd or settings.wtp_usd
    factors = {
        "reward": 1.0,
        "cost_usd": -1.0 / worth if worth else 0.0,
        "latency_s": -settings.latency_weight,
    }
    return {estimate_name(metric, name): factors[metric] for metric in metrics if factors[metric]}


def _less(contrast: Mapping[str, float], other: Mapping[str, float]) -> Mapping[str, float]:
    """The first contrast minus the second."""
    return {**contrast, **{name: contrast.get(name, 0.0) - factor for name, factor in other.items()}}


def _judged(
    log: Log,
    settings: ReplaySettings,
    spec: TargetSpec,
    part: TargetPart,
    found: PartResult,
    metrics: Sequence[str],
    tuning: Tuning,
) -> TargetResult:
    level = settings.level
    has_utility = bool(spec.goal.wtp_usd or settings.wtp_usd or settings.latency_weight)
    for needed, wanted in (
        ("cost_usd", spec.goal.wtp_usd or settings.wtp_usd),
        ("latency_s", settings.latency_weight),
    ):
        if wanted and needed not in metrics:
            raise InvalidInput(
                f"{log.path} has no {needed}, which the utility needs: leave --wtp or --latency-weight out"
            )
    contrasts: dict[str, dict[str, Mapping[str, float]]] = {
        metric: {name: {estimate_name(metric, name): 1.0} for name in (*settings.names, PAIRED)}
        for metric in metrics
    }
    if has_utility:
        contrasts[UTILITY] = {
            name: _utility(settings, spec, metrics, name) for name in (*settings.names, PAIRED)
        }
    estimates = {
        metric: {
            name: asymptotic_or_unknown(part.moments, some[name], level=level) for name in settings.names
        }
        for metric, some in contrasts.items()
    }
    gain_of = {metric: _less(some[settings.primary], some[PAIRED]) for metric, some in contrasts.items()}
    gains = {metric: asymptotic(part.moments, contrast, level=level) for metric, contrast in gain_of.items()}
    quantity = UTILITY if has_utility else "reward"
    findings = diagnose(part.weights, found.log.counts, providers=log.providers)
    slices = [_slice(key, one, settings) for key, one in part.slices.items()]
    timed = sorted((one for one in slices if one.by == "time"), key=lambda one: int(one.value))
    others = sorted((one for one in slices if one.by != "time"), key=lambda one: (one.by, -one.n, one.value))
    return TargetResult(
        label=spec.label,
        spec=spec,
        n=part.moments.n,
        estimates=estimates,
        gains=gains,
        intervals=_intervals(settings, part, found, gain_of[quantity]),
        quantity=quantity,
        findings=findings,
        verdict=recommend(
            gains[quantity], findings, target=spec.label, incumbent=INCUMBENT,
            quantity="quality" if quantity == "reward" else quantity, margin=settings.margin,
        ),
        mix=_mix(part, found, settings, log.providers),
        shares=dict(zip(log.providers, (part.shares / part.shares.sum()).tolist(), strict=True)),
        effective_size=part.weights.effective_size,
        histogram=tuple(part.histogram.tolist()),
        slices=tuple(others[:MOST_SLICES]),
        over_time=tuple(timed),
        tuning=tuning,
    )  # fmt: skip


def _intervals(
    settings: ReplaySettings,
    part: TargetPart,
    found: PartResult,
    gain: Contrast,
) -> dict[str, Estimate]:
    level = settings.level
    intervals = {
        "asymptotic": asymptotic(part.moments, gain, level=level),
        "anytime": asymptotic_sequence(part.moments, gain, level=level),
    }
    if part.resamples is not None:
        intervals["bootstrap"] = percentile(part.resamples, gain, level=level)
    if "ips" in settings.names and found.log.smallest > 0.0:
        top = 1.0 / found.log.smallest
        intervals["empirical Bernstein (IPS)"] = empirical_bernstein(
            part.moments, estimate_name("reward", "ips"), low=0.0, high=top, level=level
        )
    return intervals


def _slice(key: tuple[str, str], part: Slice, settings: ReplaySettings) -> SliceResult:
    own, target, paired = (estimate_name("reward", name) for name in (ON_POLICY, settings.primary, PAIRED))
    contrasts: tuple[Contrast, ...] = (own, target, difference(target, paired))
    incumbent, estimate, gain = (
        asymptotic_or_unknown(part.moments, contrast, level=settings.level) for contrast in contrasts
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


def _mix(
    part: TargetPart, found: PartResult, settings: ReplaySettings, providers: Sequence[str]
) -> FixedMix | None:
    fixed = found.log.fixed
    if part.resamples is None or fixed is None:
        return None
    return estimate_fixed_mix(
        part.resamples.join(fixed),
        quality=estimate_name("reward", settings.primary),
        cost_usd=estimate_name("cost_usd", settings.primary),
        fixed_quality=[estimate_name("reward", f"fixed:{provider}") for provider in providers],
        fixed_cost_usd=[estimate_name("cost_usd", f"fixed:{provider}") for provider in providers],
        level=settings.level,
    )


def _cells(log: Log, found: PartResult) -> tuple[Cell, ...]:
    """SNIPS per task and provider; the standard error is that of the weighted mean of a reward in [0, 1]."""
    cells = found.log.cells
    tasks = [*log.tasks, ALL]
    together = cells.copy()
    together[-1] = cells.sum(axis=0)
    result = []
    for t, task in enumerate(tasks):
        for j, provider in enumerate(log.providers):
            n, weight, reward, cost, _, squares = together[t, j].tolist()
            if n == 0.0:
                continue
            quality = reward / weight
            spread = math.sqrt(max(quality * (1.0 - quality), 0.0) * squares) / weight
            result.append(
                Cell(
                    task=task,
                    provider=provider,
                    n=int(n),
                    quality=quality,
                    quality_se=spread,
                    cost_usd=cost / weight,
                )
            )
    return tuple(result)
