"""Simulated logs tell the truth, intervals cover it, and the measurements run at tiny sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.experiments.benchmarks.__main__ import run
from fairlead.experiments.benchmarks.coverage import coverage, judge_log
from fairlead.experiments.benchmarks.known_world import TARGETS, World, draw_log, make_world
from fairlead.experiments.benchmarks.off_policy_speed import SCRIPT
from fairlead.experiments.benchmarks.peers import ask
from fairlead.experiments.benchmarks.tables import Options, data_folder, obp_python
from fairlead.experiments.ope.estimators import (
    DEFAULT_LAMBDA,
    DEFAULT_SUB_GAUSSIAN_LAMBDA,
    ESTIMATORS,
    dr,
    snips,
)
from fairlead.experiments.ope.intervals import asymptotic
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.tables.outcome_table import read_outcome_table
from tests.experiments.ope.random_logs import random_batch
from tests.paths import ROOT

TABLE = ROOT / "data" / "synthetic_support.parquet"


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(read_outcome_table(TABLE))


def test_probabilities_are_some_and_every_provider_is_explored(world: World) -> None:
    for policy in (world.logging, *world.targets.values()):
        np.testing.assert_allclose(policy.sum(axis=1), 1.0)
        assert policy.min() >= 0.0
    assert world.logging.min() >= 0.2 / world.quality.shape[1]
    assert world.value("greedy") > world.value("best fixed") > world.value("uniform")


def test_a_log_is_drawn_from_what_it_logs(world: World) -> None:
    log = draw_log(world, decisions=20_000, seed=0)
    expected = world.logging[log.row].sum(axis=0)
    counts = np.bincount(log.action, minlength=world.quality.shape[1])
    assert (np.abs(counts - expected) < 5.0 * np.sqrt(expected)).all()
    np.testing.assert_array_equal(log.reward, world.quality[log.row, log.action])
    np.testing.assert_array_equal(log.propensity, world.logging[log.row, log.action])


@pytest.mark.parametrize("target", TARGETS)
def test_nominal_intervals_hold_the_truth_nearly_as_often_as_they_say(world: World, target: str) -> None:
    held = []
    for seed in range(200):
        log = draw_log(world, decisions=1_000, seed=seed)
        decisions = LoggedBatch(
            reward=log.reward,
            action=log.action,
            propensity=log.propensity,
            target=world.targets[target][log.row],
            q_hat=world.early_model[log.row],
        )
        moments = Moments.of({"snips": snips(decisions), "dr": dr(decisions)})
        ends = [asymptotic(moments, name) for name in moments.names]
        held.append([e.low <= world.value(target) <= e.high for e in ends])
    # The standard error of a share of .95 is .015.
    assert (np.mean(held, axis=0) >= 0.90).all()


def test_every_interval_of_one_log_is_judged(world: World) -> None:
    by_target = judge_log(world, 0, decisions=400)
    assert set(by_target) == set(TARGETS)
    for held in by_target.values():
        assert len(held) == 12
        assert all(math.isfinite(width) and width > 0.0 for _, width in held.values())


def test_the_section_runs_on_the_real_tables() -> None:
    options = Options(data=data_folder(), seeds=1)
    if not (options.data / "outcomes" / "logparse.parquet").is_file():
        pytest.skip("logparse.parquet is not there: set FAIRLEAD_DATA")
    section = coverage(options)
    assert sum(row.met is not None for row in section.rows) == 2 * 3 * 3


def test_speed_is_measured_without_obp_and_says_so() -> None:
    section = run(7, Options(data=data_folder(), estimated=300, resampled=200))
    assert all(math.isfinite(row.measured) for row in section.rows)
    assert sum("make peers-ope" in note for note in section.notes) == 1


def test_obp_gives_the_same_values() -> None:
    python = obp_python()
    if python is None:
        pytest.skip("no interpreter has obp: run `make peers-ope`")
    log = random_batch(500, 4, seed=0)
    columns = {"reward": log.reward, "action": log.action, "propensity": log.propensity}
    settings = {"lam": np.array(DEFAULT_LAMBDA), "sub_gaussian_lam": np.array(DEFAULT_SUB_GAUSSIAN_LAMBDA)}
    answer = ask(
        python, SCRIPT, "estimates", arrays=columns | settings | {"target": log.target, "q_hat": log.q_hat}
    )
    assert set(answer) == set(ESTIMATORS) - {"on-policy"}
    for name, part in answer.items():
        assert ESTIMATORS[name](log).value == pytest.approx(part["found"][0], rel=0.0, abs=1e-9), name
