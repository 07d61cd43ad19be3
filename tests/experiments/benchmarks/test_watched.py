"""The benchmark of watched verdicts sees what holds and what does not."""

from __future__ import annotations

import numpy as np

from fairlead.experiments.benchmarks.watched import always, router_log, split, watch
from fairlead.experiments.files import bundled_path
from fairlead.experiments.tables.outcome_table import read_outcome_table


def test_a_truth_that_is_off_is_seen_to_be_missed() -> None:
    trial, quality = split((0.4, 0.6), (0.5, 0.5), n=4_000, seed=0)
    right = watch(trial, always(1, trial), quality)
    assert right.held and right.value_held and right.promoted and not right.wrong
    off = watch(trial, always(1, trial), quality[:, ::-1])
    assert not off.held and off.wrong


def test_a_log_of_the_router_has_its_propensities_and_every_truth() -> None:
    table = read_outcome_table(bundled_path("synthetic_support.parquet"))
    trial, quality = router_log(table, "synthetic", with_budget=True, seed=0, n=600)
    np.testing.assert_allclose(trial.logging.sum(axis=1), 1.0)
    chosen = np.arange(600), trial.action
    assert (trial.logging[chosen] > 0.0).all()
    np.testing.assert_array_equal(trial.reward, quality[chosen])
    assert watch(trial, always(0, trial), quality, look=200).held
