"""Section 6: how often intervals of off-policy estimates hold the truth, and how wide they are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Final

import numpy as np

from fairlead.experiments.benchmarks.known_world import TARGETS, DrawnLog, World, draw_log, make_world
from fairlead.experiments.benchmarks.report import Row, Section
from fairlead.experiments.benchmarks.tables import Options
from fairlead.experiments.ope.bootstrap import percentile, resample
from fairlead.experiments.ope.counts import WeightCounts
from fairlead.experiments.ope.estimators import dm, dr, ips, on_policy, sndr, snips
from fairlead.experiments.ope.intervals import asymptotic, asymptotic_sequence, empirical_bernstein
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments, difference
from fairlead.experiments.ope.reward_models import cross_fit, random_folds
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Matrix, Vector
from fairlead.experiments.simulation.pool import LocalPool, ProcessPool

_TABLES: Final = ("logparse", "paretobandit")
_LOGS: Final = 1_000
_DECISIONS: Final = 5_000
_RESAMPLES: Final = 1_000
_SMALL: Final = (50, 100, 200, 500, 1_000)
_STEP: Final = 100  # the asymptotic sequence is looked at so often
_NOMINAL: Final = ("SNIPS", "DR", "SNDR")
_ESTIMATORS: Final = {"IPS": ips, "SNIPS": snips, "DM": dm, "DR": dr, "SNDR": sndr}

# By interval: whether it held the truth, and its width.
Held = dict[str, tuple[bool, float]]


def coverage(options: Options) -> Section:
    """1,000 logs per table (`--seeds` for fewer), three target policies, every interval on the same logs."""
    section = Section(number=6, title="Coverage of 95 % intervals")
    logs = options.seed_count(_LOGS)
    for name in _TABLES:
        world = make_world(options.table(name, distinct=name == "logparse"))
        truths = ", ".join(f"{target} {world.value(target):.4f}" for target in TARGETS)
        section.notes.append(
            f"{name}: {len(world.quality)} prompts, {world.quality.shape[1]} providers, weights up to "
            f"{world.largest_weight:.0f}; true values: {truths}."
        )
        results = _judge_logs(world, logs, options.jobs)
        for target in TARGETS:
            _rows(section, f"{name}, {target}", [held[target] for held in results])
        if name == "logparse":
            _small(section, name, world, logs=logs)
    return section


def judge_log(world: World, seed: int, *, decisions: int = _DECISIONS) -> Mapping[str, Held]:
    """Every interval on one log, by target policy."""
    log = draw_log(world, decisions=decisions, seed=seed)
    model = cross_fit(
        "ridge",
        features=world.features[log.row],
        reward=log.reward,
        action=log.action,
        providers=world.quality.shape[1],
        folds=random_folds(decisions, seed=seed),
    )
    return {target: _intervals(world, log, target, model=model, seed=seed) for target in TARGETS}


def _intervals(world: World, log: DrawnLog, target: str, *, model: Matrix, seed: int) -> Held:
    truth = world.value(target)
    gain = truth - float((world.logging * world.quality).sum(axis=1).mean())
    decisions = LoggedBatch(
        reward=log.reward,
        action=log.action,
        propensity=log.propensity,
        target=world.targets[target][log.row],
        q_hat=model,
    )
    terms = {name: f(decisions) for name, f in _ESTIMATORS.items()}
    moments = Moments.of(terms | {"logged": on_policy(decisions)})
    resamples = resample(terms, seed=seed, resamples=_RESAMPLES)
    results = {name: asymptotic(moments, name) for name in terms}
    results |= {
        "SNIPS, bootstrap": percentile(resamples, "SNIPS"),
        "DR, bootstrap": percentile(resamples, "DR"),
        "IPS, empirical Bernstein": empirical_bernstein(moments, "IPS", low=0.0, high=world.largest_weight),
    }
    held = {name: (e.low <= truth <= e.high, e.high - e.low) for name, e in results.items()}
    for name in ("SNIPS", "DR"):
        e = asymptotic(moments, difference(name, "logged"))
        held[f"gain by {name}"] = (e.low <= gain <= e.high, e.high - e.low)
    held["SNIPS, asymptotic sequence"] = _prefixes(terms["SNIPS"], truth)
    held["DR, asymptotic sequence"] = _prefixes(terms["DR"], truth)
    return held


def _prefixes(terms: Terms, truth: float) -> tuple[bool, float]:
    """Whether an asymptotic sequence holds the truth after every 100 decisions, and its width at the end."""
    columns = [terms.plain, terms.weighted, terms.weight]
    parts = [
        Moments.of(Terms(plain=a, weighted=b, weight=c))
        for a, b, c in zip(*(_cut(column, len(terms)) for column in columns), strict=True)
    ]
    members = [asymptotic_sequence(moments) for moments in accumulate(parts, Moments.merge)]
    return all(m.low <= truth <= m.high for m in members), members[-1].high - members[-1].low


def _cut(column: Vector | None, n: int) -> list[Vector | None]:
    starts = range(0, n, _STEP)
    return [None if column is None else column[start : start + _STEP] for start in starts]


def _small(section: Section, label: str, world: World, *, logs: int) -> None:
    """Coverage on logs that are too small, with their effective sample size: where the limit should lie."""
    for decisions in _SMALL:
        for target in TARGETS:
            truth, sizes, held = world.value(target), [], []
            for seed in range(logs):
                log = draw_log(world, decisions=decisions, seed=seed)
                columns = LoggedBatch(
                    reward=log.reward,
                    action=log.action,
                    propensity=log.propensity,
                    target=world.targets[target][log.row],
                    q_hat=world.early_model[log.row],
                )
                sizes.append(WeightCounts.of(weight=columns.weight).effective_size)
                if columns.weight.any():
                    moments = Moments.of({"SNIPS": snips(columns), "DR": dr(columns)})
                    results = [asymptotic(moments, name) for name in moments.names]
                    held.append([e.low <= truth <= e.high for e in results])
            shares = np.mean(held, axis=0).tolist()
            size = float(np.mean(sizes))
            for name, share in zip(("SNIPS", "DR, early model"), shares, strict=True):
                text = f"{label}, {target}, {decisions} decisions, mean ESS {size:.0f}, {name}: coverage"
                section.show(text, [share], digits=3)


def _judge_logs(world: World, logs: int, jobs: int) -> list[Mapping[str, Held]]:
    pool = ProcessPool(jobs) if jobs > 1 else LocalPool()
    return pool.map(judge_log, [(seed,) for seed in range(logs)], shared=(world,))


def _rows(section: Section, label: str, results: list[Held]) -> None:
    for name in results[0]:
        held = np.array([log[name][0] for log in results], dtype=np.float64)
        share, width = float(held.mean()), float(np.mean([log[name][1] for log in results]))
        error = float(np.sqrt(share * (1.0 - share) / len(held)))
        target, met = "", None
        if name in _NOMINAL:
            target, met = "in [.93, .97]", 0.93 <= share <= 0.97
        text = f"{label}, {name}: coverage (mean width {width:.4f})"
        section.rows.append(Row(name=text, measured=share, error=error, target=target, met=met, digits=3))
