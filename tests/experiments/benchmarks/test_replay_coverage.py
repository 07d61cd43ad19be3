"""Whole replays of simulated logs name the truth about as often as their intervals say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairlead.experiments.benchmarks.replay_coverage import ESTIMATORS, Population, chosen, judge_replay
from fairlead.experiments.ope.betting import METHOD
from fairlead.experiments.tables.outcome_table import read_outcome_table
from tests.paths import ROOT

TABLE = ROOT / "data" / "synthetic_support.parquet"


@pytest.fixture(scope="module")
def population() -> Population:
    return Population.of(read_outcome_table(TABLE))


def test_replayed_logs_hold_the_truth_nearly_as_often_as_they_say(
    population: Population, tmp_path: Path
) -> None:
    specs = population.targets()[:3]  # one that learns takes longer than the rest together
    results = [
        judge_replay(population, specs, seed, folder=tmp_path, decisions=800, resamples=200)
        for seed in range(7)
    ]
    targets = [spec.label for spec in specs]
    assert [list(result) for result in results] == [targets] * 7
    for kind in (*ESTIMATORS, f"gain, {METHOD}"):
        held = np.array([[result[label][kind][0] for label in targets] for result in results])
        # Of 21 sequences, each end of which holds at 95 %: those of one log are not independent.
        assert held.mean() >= 0.9, kind
    wrong = [result[label]["wrong verdict"][0] for result in results for label in targets]
    assert np.mean(wrong) <= 0.05


def test_a_truth_that_is_off_is_seen_to_be_missed(population: Population, tmp_path: Path) -> None:
    specs = population.targets()
    shifted = replace(population, world=replace(population.world, quality=population.world.quality - 0.4))
    results = judge_replay(shifted, (specs[0], specs[3]), 0, folder=tmp_path, decisions=500, resamples=200)
    assert not any(results[label][name][0] for label in ("uniform", "greedy") for name in ESTIMATORS)


def test_prompts_drawn_twice_are_two_decisions(population: Population) -> None:
    table = chosen(population.table, np.array([3, 3, 5]), population.table.prompt_ids)
    assert len(set(table.prompt_ids)) == 3
    assert table.prompts[0] == table.prompts[1] == population.table.prompts[3]
    np.testing.assert_array_equal(table.quality, population.table.quality[[3, 3, 5]])
