"""From merged sums to a result: values, intervals, diagnostics and verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.bootstrap import Resamples, percentile
from fairlead.experiments.ope.bounds import empirical_bernstein
from fairlead.experiments.ope.confidence_sequences import asymptotic_sequence
from fairlead.experiments.ope.diagnostics import diagnose
from fairlead.experiments.ope.fixed_mix import FixedMix, fixed_mix
from fairlead.experiments.ope.intervals import Contrast, Estimate, asymptotic, asymptotic_or_unknown
from fairlead.experiments.ope.verdict import judge
from fairlead.experiments.replay.partial_results import BRIEF, PartResult, Slice, TargetPart, Tuning
from fairlead.experiments.replay.result import ALL, UTILITY, Cell, Judged, Replay, SliceResult
from fairlead.experiments.replay.settings import INCUMBENT, ReplaySettings, metrics_of
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
        metric: asymptotic(first.moments, {i * (len(settings.names) + 1): 1.0}, level=settings.level)
        for i, metric in enumerate(metrics)
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
        judged=tuple(judged),
        hull=mixes[0].hull if mixes else None,
        cells=_cells(log, found),
        tally=found.log.tally,
        notes=(*log.notes(), *_notes(log, first.moments.n)),
    )


def _notes(log: Log, n: int) -> list[str]:
    if n == log.rows:
        return []
    return [f"{n:,} of {log.rows:,} decisions have all outcomes; estimates are of these."]


def _contrast(
    settings: ReplaySettings, spec: TargetSpec, metrics: Sequence[str], width: int, place: int
) -> Contrast:
    """The utility of one estimator, whose estimate is at ``place`` of each metric's ``width``."""
    worth = spec.goal.wtp_usd or settings.wtp_usd
    factors = {
        "reward": 1.0,
        "cost_usd": -1.0 / worth if worth else 0.0,
        "latency_s": -settings.latency_weight,
    }
    return {width * i + place: factors[metric] for i, metric in enumerate(metrics) if factors[metric]}


def _less(contrast: Contrast, other: Contrast) -> Contrast:
    """The first contrast minus the second."""
    found = dict(contrast)
    for place, factor in other.items():
        found[place] = found.get(place, 0.0) - factor
    return found


def _judged(
    log: Log,
    settings: ReplaySettings,
    spec: TargetSpec,
    part: TargetPart,
    found: PartResult,
    metrics: Sequence[str],
    tuning: Tuning,
) -> Judged:
    names, level = settings.names, settings.level
    width, primary = len(names) + 1, names.index(settings.primary)
    has_utility = bool(spec.goal.wtp_usd or settings.wtp_usd or settings.latency_weight)
    for needed, wanted in (
        ("cost_usd", spec.goal.wtp_usd or settings.wtp_usd),
        ("latency_s", settings.latency_weight),
    ):
        if wanted and needed not in metrics:
            raise InvalidInput(
                f"{log.path} has no {needed}, which the utility needs: leave --wtp or --latency-weight out"
            )
    contrasts: dict[str, list[Contrast]] = {
        metric: [{width * i + place: 1.0} for place in range(width)] for i, metric in enumerate(metrics)
    }
    if has_utility:
        contrasts[UTILITY] = [_contrast(settings, spec, metrics, width, place) for place in range(width)]
    estimates = {
        metric: {
            name: asymptotic_or_unknown(part.moments, some[place], level=level)
            for place, name in enumerate(names)
        }
        for metric, some in contrasts.items()
    }
    gain_of = {metric: _less(some[primary], some[-1]) for metric, some in contrasts.items()}
    gains = {metric: asymptotic(part.moments, contrast, level=level) for metric, contrast in gain_of.items()}
    quantity = UTILITY if has_utility else "reward"
    findings = diagnose(part.weights, found.log.tally, providers=log.providers)
    slices = [_slice(key, one, settings, spec, metrics) for key, one in part.slices.items()]
    timed = sorted((one for one in slices if one.by == "time"), key=lambda one: int(one.value))
    others = sorted((one for one in slices if one.by != "time"), key=lambda one: (one.by, -one.n, one.value))
    return Judged(
        label=spec.label,
        spec=spec,
        n=part.moments.n,
        estimates=estimates,
        gains=gains,
        intervals=_intervals(settings, part, found, metrics, gain_of[quantity], quantity, spec),
        quantity=quantity,
        findings=findings,
        verdict=judge(
            gains[quantity], findings, target=spec.label, incumbent=INCUMBENT,
            quantity="quality" if quantity == "reward" else quantity, margin=settings.margin,
        ),
        mix=_mix(part, found, settings, metrics, len(log.providers)),
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
    metrics: Sequence[str],
    gain: Contrast,
    quantity: str,
    spec: TargetSpec,
) -> dict[str, Estimate]:
    level, names = settings.level, settings.names
    intervals = {
        "asymptotic": asymptotic(part.moments, gain, level=level),
        "anytime": asymptotic_sequence(part.moments, gain, level=level),
    }
    if part.resamples is not None:
        target, paired = (
            _contrast(settings, spec, metrics, BRIEF, place) if quantity == UTILITY else {place: 1.0}
            for place in (1, 2)
        )
        intervals["bootstrap"] = percentile(part.resamples, _less(target, paired), level=level)
    if "ips" in names and found.log.smallest > 0.0:
        top = 1.0 / found.log.smallest
        intervals["empirical Bernstein (IPS)"] = empirical_bernstein(
            part.moments, names.index("ips"), low=0.0, high=top, level=level
        )
    return intervals


def _slice(
    key: tuple[str, str], part: Slice, settings: ReplaySettings, spec: TargetSpec, metrics: Sequence[str]
) -> SliceResult:
    level = settings.level
    incumbent, target, gain = (
        asymptotic_or_unknown(part.moments, contrast, level=level)
        for contrast in ({0: 1.0}, {1: 1.0}, {1: 1.0, 2: -1.0})
    )
    return SliceResult(
        by=key[0],
        value=key[1],
        n=part.moments.n,
        incumbent=incumbent,
        target=target,
        gain=gain,
        effective_size=part.weights.effective_size,
    )


def _mix(
    part: TargetPart, found: PartResult, settings: ReplaySettings, metrics: Sequence[str], k: int
) -> FixedMix | None:
    fixed = found.log.fixed
    if part.resamples is None or fixed is None:
        return None
    both = _beside(part.resamples, fixed)
    first = BRIEF * len(metrics)
    cost = BRIEF * metrics.index("cost_usd") + 1
    return fixed_mix(
        both, quality=1, cost_usd=cost, fixed_quality=range(first, first + k),
        fixed_cost_usd=range(first + k, first + 2 * k), level=settings.level,
    )  # fmt: skip


def _beside(first: Resamples, second: Resamples) -> Resamples:
    """The estimates of both side by side: equal seeds and partitions drew equal counts."""
    return replace(
        first,
        sums=np.hstack([first.sums, second.sums]),
        total=np.concatenate([first.total, second.total]),
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
