"""What a log says nothing of is shown as unknown, and does not hide what it does say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fairlead.experiments.logs.log import open_log
from fairlead.experiments.replay import export
from fairlead.experiments.replay.result import Replay
from fairlead.experiments.replay.run import replay
from fairlead.experiments.replay.settings import ReplaySettings
from fairlead.experiments.replay.terminal import interval, slices_table
from fairlead.experiments.report.page import report_html
from fairlead.experiments.simulation.pool import LocalPool
from fairlead.experiments.targets.base import TargetSpec
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.logs.log_lines import NAMES, drawn_lines, write_jsonl


def judged(path: Path, *names: str, primary: str = "snips") -> Replay:
    specs = tuple(TargetSpec(name=name) for name in names)
    settings = ReplaySettings(targets=specs, primary=primary, by=("task",), resamples=0, model="mean")
    with open_log(path) as log:
        return replay(log, settings, LocalPool())


def test_a_slice_that_never_agrees_with_the_target_is_unknown(tmp_path: Path) -> None:
    content = [
        row
        | {"target_propensities": [0.0, 0.0, 1.0] if i % 2 else [1.0, 0.0, 0.0]}
        | ({"provider": "b/mid", "served_provider": "b/mid"} if i % 2 else {})
        for i, row in enumerate(drawn_lines(400))
    ]
    result = judged(write_jsonl(tmp_path / "log.jsonl", content), "column")
    seen, unknown = sorted(result.targets[0].slices, key=lambda part: part.value)
    assert math.isfinite(seen.target.value) and math.isfinite(seen.gain.half_width)
    assert math.isnan(unknown.target.value) and math.isnan(unknown.gain.value)
    assert math.isfinite(unknown.incumbent.value)
    assert interval(unknown.target) == "–"
    assert slices_table(result).row_count == 2
    assert "nan" not in report_html(result).lower().replace("financ", "")
    sliced = json.loads(export.json_text(result))["targets"][0]["slices"]
    assert {part["target"]["value"] is None for part in sliced} == {True, False}


def test_an_estimator_that_cannot_tell_leaves_the_others_alone(tmp_path: Path) -> None:
    """The target's likeliest provider is one that nobody drew here: `replay` has no value, DR has."""
    content = [
        row | {"target_propensities": [0.4, 0.3, 0.3]}
        for row in drawn_lines(300, logging=(1e-9, 0.5, 0.5 - 1e-9))
    ]
    assert NAMES[0] not in {row["provider"] for row in content}
    target = judged(write_jsonl(tmp_path / "log.jsonl", content), "column", primary="dr").targets[0]
    assert math.isnan(target.estimates["reward"]["replay"].value)
    assert math.isfinite(target.estimates["reward"]["dr"].value)


def test_a_target_that_cannot_be_judged_at_all_is_named(tmp_path: Path) -> None:
    content = [row | {"target_propensities": [1.0, 0.0, 0.0]} for row in drawn_lines(300)]
    for row in content:
        row |= {"provider": "b/mid", "served_provider": "b/mid"}
    with pytest.raises(InvalidInput, match=r"target column: the mean weight is 0"):
        judged(write_jsonl(tmp_path / "log.jsonl", content), "uniform", "column")
