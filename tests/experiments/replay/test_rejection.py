"""Targets that learn, played by rejection: their value is that of the policy on its own decisions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fairlead.experiments.logs.log import open_log
from fairlead.experiments.replay.rejection import REJECTION
from fairlead.experiments.replay.result import Replay
from fairlead.experiments.replay.run import replay
from fairlead.experiments.replay.settings import ReplaySettings
from fairlead.experiments.simulation.pool import LocalPool
from fairlead.experiments.targets.base import target_specs
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.logs.log_lines import drawn_lines, lines, write_jsonl


def played(path: Path, *names: str, part_rows: int = 100_000) -> Replay:
    specs = tuple(target_specs(names, [], feedback_delay=0))
    settings = ReplaySettings(targets=specs, rejection=True, resamples=0)
    with open_log(path, part_rows=part_rows) as log:
        return replay(log, settings, LocalPool())


def test_a_policy_whose_value_is_known_gets_that_value(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(4_000))
    uniform, fixed = played(path, "epsilon-greedy:1", "fixed:a/cheap", part_rows=900).targets
    assert REJECTION not in fixed.estimates["reward"]
    estimate = uniform.estimates["reward"][REJECTION]
    # Mean rewards are .3, .5 and .8. With propensities of .5, .3 and .2, M is 5: one in five is kept.
    assert abs(estimate.value - 1.6 / 3.0) < 4.0 * estimate.standard_error
    assert abs(estimate.n - 800) < 4.0 * (800 * 0.8) ** 0.5
    assert 0.01 < estimate.standard_error < 0.03


def test_a_policy_that_learns_finds_the_best_and_is_judged_while_it_does(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(3_000, logging=(1 / 3, 1 / 3, 1 / 3)))
    result = played(path, "default", "linucb")
    for target in result.targets:
        estimate = target.estimates["reward"][REJECTION]
        # A third of a uniform log agrees with any policy. The best provider earns .8, the first steps less.
        assert abs(estimate.n - 1_000) < 150
        assert 0.7 < estimate.value < 0.8 + 4.0 * estimate.standard_error
        assert any(f"rejection kept {estimate.n:,} of 3,000" in note for note in result.notes)


def test_the_same_log_and_seed_give_the_same_value(
    tmp_path: Path,
) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(600))
    first, again = (played(path, "greedy").targets[0].estimates["reward"][REJECTION] for _ in range(2))
    assert first == again


def test_a_log_that_cannot_stand_for_the_policy_is_refused(tmp_path: Path) -> None:
    content = lines(60, propensities=[1.0, 0.0, 0.0], provider="a/cheap", served_provider="a/cheap")
    path = write_jsonl(tmp_path / "log.jsonl", content)
    with pytest.raises(
        InvalidInput, match=r"propensities of 0 for eligible providers.*leave --rejection out"
    ):
        played(path, "default")


def test_parts_without_any_reward_shift_no_features(tmp_path: Path) -> None:
    content = drawn_lines(400, logging=(1 / 3, 1 / 3, 1 / 3))
    rng = np.random.default_rng(0)
    for i, row in enumerate(content):
        row["features"] = rng.standard_normal(3).tolist()
        row["reward"] = None if i < 150 else row["reward"]
    path = write_jsonl(tmp_path / "log.jsonl", content)
    # Linucb is certain of its choice, so on a uniform log it keeps what agrees, whatever the dice.
    cut, whole = (
        played(path, "linucb", part_rows=rows).targets[0].estimates["reward"][REJECTION] for rows in (50, 400)
    )
    assert cut.n == whole.n
    assert cut.value == pytest.approx(whole.value, rel=1e-12)


def test_a_single_decision_that_is_kept_has_no_interval(tmp_path: Path) -> None:
    """Its spread is unknown, whatever the length of the log."""
    content = drawn_lines(60, logging=(1 / 3, 1 / 3, 1 / 3))
    judged = [row | {"reward": None} for row in content]
    # The only one that is judged, of the cheapest provider, which linucb takes while it knows nothing.
    judged[30] |= {"provider": "a/cheap", "served_provider": "a/cheap", "reward": 1.0}
    result = played(write_jsonl(tmp_path / "log.jsonl", judged), "linucb")
    kept = result.targets[0].estimates["reward"]
    assert kept[REJECTION].n == 1 and math.isinf(kept[REJECTION].half_width)
