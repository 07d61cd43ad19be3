"""Diagnostics: each passes on a sound log and fails, with what is missing, on a log with its fault."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fairlead.experiments.ope import diagnostics
from fairlead.experiments.ope.counts import LogCounts, WeightCounts
from fairlead.experiments.ope.diagnostics import diagnose
from fairlead.optimizer.errors import InvalidInput


def sound_log(n: int = 4_000, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    logging = 0.9 * rng.dirichlet(np.ones(3), n) + 0.1 / 3
    selected = (rng.random((n, 1)) > logging.cumsum(axis=1)).sum(axis=1).clip(max=2)
    return {
        "logging": logging,
        "selected": selected,
        "served": selected,
        "has_reward": rng.random(n) < 0.6,
    }


def weights(log: dict[str, np.ndarray], target: np.ndarray) -> WeightCounts:
    rows = np.arange(len(target))
    weight = target[rows, log["selected"]] / log["logging"][rows, log["selected"]]
    return WeightCounts.of(weight=weight, target=target, logging=log["logging"])


def failed(*findings: diagnostics.Finding) -> set[str]:
    return {finding.name for finding in findings if not finding.passed}


def test_a_sound_log_passes_everything() -> None:
    log = sound_log()
    findings = diagnose(weights(log, np.full((4_000, 3), 1 / 3)), LogCounts.of(**log))
    assert len(findings) == 7
    assert not failed(*findings)
    assert all(math.isfinite(finding.measured) for finding in findings)


def test_the_effective_size_is_kish_s_and_says_how_many_more() -> None:
    finding = diagnostics.effective_size(WeightCounts.of(weight=np.array([2.0, 0.0, 1.0, 1.0])))
    assert finding.measured == pytest.approx(16.0 / 6.0)
    assert not finding.passed
    assert finding.more_decisions == math.ceil(4 * (100.0 / (16.0 / 6.0) - 1.0))
    assert diagnostics.effective_size(WeightCounts.of(weight=np.ones(100))).passed


def test_one_heavy_weight_is_named() -> None:
    weight = np.ones(1_000)
    weight[3] = 200.0
    finding = diagnostics.weight_share(WeightCounts.of(weight=weight))
    assert finding.measured == pytest.approx(200.0 / 1_199.0)
    assert not finding.passed
    assert finding.more_decisions is not None and finding.more_decisions > 2_000


def test_no_weight_at_all_fails_without_a_promise() -> None:
    findings = diagnose(WeightCounts.of(weight=np.zeros(500)))
    assert {"effective sample size", "share of the largest weight", "mean weight"} <= failed(*findings)
    assert diagnostics.effective_size(WeightCounts.of(weight=np.zeros(5))).more_decisions is None


def test_wrong_propensities_move_the_mean_weight() -> None:
    log = sound_log()
    target = np.full((4_000, 3), 1 / 3)
    rows = np.arange(4_000)
    weight = target[rows, log["selected"]] / (0.8 * log["logging"][rows, log["selected"]])
    finding = diagnostics.mean_weight(WeightCounts.of(weight=weight))
    assert not finding.passed and "propensities are wrong" in finding.text
    assert diagnostics.mean_weight(WeightCounts.of(weight=np.full(9, 1.0 + 1e-13))).passed
    assert diagnostics.mean_weight(WeightCounts.of(weight=np.array([3.0]))).passed  # one says nothing


def test_mean_weight_raises_few_false_alarms() -> None:
    alarms = 0
    for seed in range(200):
        log = sound_log(500, seed)
        alarms += not diagnostics.mean_weight(weights(log, np.tile([1.0, 0.0, 0.0], (500, 1)))).passed
    assert alarms <= 3


def test_choices_without_support_are_counted() -> None:
    log = sound_log(100)
    log["logging"][:10] = [0.5, 0.5, 0.0]
    finding = diagnostics.support(
        weights({**log, "selected": np.zeros(100, int)}, np.tile([0.2, 0.3, 0.5], (100, 1)))
    )
    assert finding.measured == pytest.approx(0.05)
    assert not finding.passed
    unknown = diagnostics.support(WeightCounts.of(weight=np.ones(3)))
    assert unknown.passed and math.isnan(unknown.measured)


def test_calibration_finds_propensities_that_were_not_used() -> None:
    log = sound_log()
    assert diagnostics.calibration(LogCounts.of(**log)).passed
    biased = LogCounts.of(**{**log, "selected": np.where(np.arange(4_000) % 10 == 0, 1, log["selected"])})
    finding = diagnostics.calibration(biased, providers=("small", "middle", "large"))
    assert not finding.passed
    assert finding.text.startswith("middle was drawn")


def test_calibration_raises_few_false_alarms() -> None:
    p_values = [diagnostics.calibration(LogCounts.of(**sound_log(300, seed))).measured for seed in range(200)]
    assert 0.4 < float(np.mean(p_values)) < 0.6
    assert sum(p < 0.05 for p in p_values) <= 22


def test_a_certain_choice_that_was_not_made_is_proof() -> None:
    certain = {
        "logging": np.tile([1.0, 0.0], (50, 1)),
        "selected": np.zeros(50, int),
        "served": np.zeros(50, int),
        "has_reward": np.ones(50, bool),
    }
    assert diagnostics.calibration(LogCounts.of(**certain)).passed
    certain["selected"] = np.where(np.arange(50) == 0, 1, 0)
    assert diagnostics.calibration(LogCounts.of(**certain)).measured == 0.0


def test_fallbacks_are_counted() -> None:
    log = sound_log(200)
    finding = diagnostics.fallback_served(
        LogCounts.of(
            **{**log, "served": np.where(np.arange(200) < 10, (log["selected"] + 1) % 3, log["selected"])}
        )
    )
    assert finding.measured == pytest.approx(0.05)
    assert not finding.passed


def test_feedback_that_depends_on_the_provider_is_found() -> None:
    log = sound_log()
    rng = np.random.default_rng(1)
    rates = np.array([0.7, 0.5, 0.7])
    finding = diagnostics.missing_feedback(
        LogCounts.of(**{**log, "has_reward": rng.random(4_000) < rates[log["selected"]]})
    )
    assert not finding.passed
    assert finding.measured > 0.08
    for share in (0.0, 1.0):
        even = {**log, "has_reward": np.full(4_000, share == 1.0)}
        assert diagnostics.missing_feedback(LogCounts.of(**even)).passed


def test_counts_of_parts_are_the_whole() -> None:
    log = sound_log(1_001)
    target = np.random.default_rng(0).dirichlet(np.ones(3), 1_001)
    whole = LogCounts.of(**log)
    parts = [
        LogCounts.of(**{k: v[part] for k, v in log.items()}) for part in (slice(0, 400), slice(400, None))
    ]
    both = parts[0].merge(parts[1])
    for name in ("chosen", "rewarded"):
        np.testing.assert_array_equal(getattr(both, name), getattr(whole, name))
    for name in ("expected", "covariance"):
        np.testing.assert_allclose(getattr(both, name), getattr(whole, name), rtol=1e-12, atol=1e-10)
    assert (both.n, both.fallback_served) == (whole.n, whole.fallback_served)

    full = weights(log, target)
    halves = [
        weights({k: v[part] for k, v in log.items()}, target[part])
        for part in (slice(0, 400), slice(400, None))
    ]
    joined = halves[0].merge(halves[1])
    assert joined.effective_size == pytest.approx(full.effective_size)
    assert (joined.n, joined.largest, joined.without_support) == (full.n, full.largest, full.without_support)
    assert replace(halves[0], without_support=None).merge(halves[1]).without_support is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logging": np.tile([0.5, 0.2, 0.2], (3, 1))}, "logging of decision 0 is 0.9"),
        ({"logging": np.tile([1.5, -0.5, 0.0], (3, 1))}, "no probabilities"),
        ({"logging": np.full((3, 3), np.nan)}, "logging of decision 0 is nan"),
        ({"selected": np.array([0, 3, 0])}, "selected of decision 1 is 3"),
        ({"has_reward": np.array([1, 0, 1])}, "true or false"),
    ],
)
def test_bad_columns_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    log = {k: v[:3] for k, v in sound_log(10).items()}
    with pytest.raises(InvalidInput, match=message):
        LogCounts.of(**(log | change))
    with pytest.raises(InvalidInput, match="weight of decision 1 is -1"):
        WeightCounts.of(weight=np.array([1.0, -1.0]))
