"""The large log of the benchmark holds what it says: propensities, rewards and costs of a known world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead.experiments.benchmarks.replay_scale import write_large_log
from fairlead.experiments.logs.log import open_log
from fairlead.experiments.ope.diagnostics import calibration
from fairlead.experiments.replay.run import replay
from fairlead.experiments.replay.settings import ReplaySettings
from fairlead.experiments.simulation.pool import LocalPool
from fairlead.experiments.targets.base import target_specs


def test_a_log_of_a_known_world_is_judged_right(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    write_large_log(path, rows=30_000, providers=4)
    with open_log(path, part_rows=12_000) as log:
        specs = target_specs(["uniform", "fixed:maker/model-03"], [], feedback_delay=0)
        settings = ReplaySettings(targets=tuple(specs), model="mean", resamples=0, estimators=("snips", "dr"))
        result = replay(log, settings, LocalPool())
    assert log.rows == 30_000
    assert calibration(result.counts).passed
    quality = 0.2 + 0.6 * np.arange(4) / 4
    for target, truth in zip(result.targets, (quality.mean(), quality[3]), strict=True):
        for name in ("snips", "dr"):
            estimate = target.estimates["reward"][name]
            assert abs(estimate.value - truth) < 1.6 * estimate.half_width
        assert target.mix is None
    cost = result.targets[1].estimates["cost_usd"]["snips"]
    assert cost.value == pytest.approx(10 ** (-4 + 1.5), rel=0.02)
