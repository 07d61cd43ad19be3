"""Estimators, tuning and bounds against numbers that a published library computed on stored inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pytest

from fairlead.experiments.benchmarks.tables import data_folder
from fairlead.experiments.ope import estimators
from fairlead.experiments.ope.bootstrap import percentile, resample
from fairlead.experiments.ope.intervals import asymptotic, empirical_bernstein
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.rejection import replay
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.tuning import Tuned, slope
from tests.experiments.ope import open_bandit_prior as prior

FOLDER = data_folder() / "ope"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there: set FAIRLEAD_DATA")
pytestmark = needs_data

ESTIMATORS: dict[str, Callable[[LoggedBatch], Terms]] = {
    "ipw": estimators.ips,
    "ipw-clip5": partial(estimators.clipped_ips, lam=5.0),
    "snipw": estimators.snips,
    "dm": estimators.dm,
    "dr": estimators.dr,
    "dr-clip5": partial(estimators.clipped_dr, lam=5.0),
    "sndr": estimators.sndr,
    "switch-dr5": partial(estimators.switch_dr, lam=5.0),
    "dr-os5": partial(estimators.shrunk_dr, lam=5.0),
    "sg-ipw.1": partial(estimators.sub_gaussian_ips, lam=0.1),
    "sg-dr.1": partial(estimators.sub_gaussian_dr, lam=0.1),
    "rm-greedy": replay,
}
TUNED: dict[str, Callable[..., Tuned]] = {
    f"{family}-tuned-slope": partial(slope, tame=tame, model=model)
    for family, tame, model in (
        ("ipw", estimators.clip, False),
        ("dr", estimators.clip, True),
        ("switch-dr", estimators.switch, True),
        ("dr-os", estimators.shrink, True),
    )
}


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((FOLDER / "reference_values.json").read_text(encoding="utf-8"))
    return values


@pytest.fixture(scope="module")
def decisions() -> LoggedBatch:
    with np.load(FOLDER / "reference_inputs.npz") as stored:
        return LoggedBatch(
            reward=stored["reward"],
            action=stored["action"],
            propensity=stored["pscore"],
            target=stored["pi_e"],
            q_hat=stored["q_hat"],
        )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_equal_the_reference(name: str, decisions: LoggedBatch, expected: dict[str, Any]) -> None:
    assert ESTIMATORS[name](decisions).value == pytest.approx(expected[name], rel=0.0, abs=1e-9)


@pytest.mark.parametrize("name", TUNED)
def test_tuning_equals_the_reference(name: str, decisions: LoggedBatch, expected: dict[str, Any]) -> None:
    actual = TUNED[name](decisions)
    value, lam = expected[name]
    assert actual.terms.value == pytest.approx(value, rel=0.0, abs=1e-9)
    assert actual.lam == lam


def test_bounds_equal_the_reference(decisions: LoggedBatch, expected: dict[str, Any]) -> None:
    moments = Moments.of(estimators.ips(decisions))
    actual = {
        # One-sided at .05: the lower end of the interval at .9, over the range of the terms that were seen.
        "bernstein_lb": empirical_bernstein(moments, low=0.0, high=moments.high[0], level=0.9).low,
        "t_lb": asymptotic(moments, level=0.9).low,
    }
    assert actual == pytest.approx({name: expected[name] for name in actual}, rel=0.0, abs=1e-9)


def test_every_reference_value_is_compared(expected: dict[str, Any]) -> None:
    bounds = {"bernstein_lb", "t_lb"}
    # Of methods that no command offers.
    without = {"hoeffding_lb", *(name for name in expected if name.endswith("-tuned-mse"))}
    intervals = {name for name in expected if name.startswith("snipw_ci_")}
    assert set(ESTIMATORS) | set(TUNED) | bounds | intervals | without == set(expected)


def test_snips_intervals_are_those_that_renormalise(decisions: LoggedBatch, expected: dict[str, Any]) -> None:
    terms = estimators.snips(decisions)
    # The reference takes normal quantiles and divides by n.
    delta = asymptotic(Moments.of(terms))
    assert (delta.low, delta.high) == pytest.approx(expected["snipw_ci_delta"], abs=2e-5)
    bootstrap = percentile(resample(terms, seed=1))
    assert (bootstrap.low, bootstrap.high) == pytest.approx(expected["snipw_ci_renormalised"], abs=3e-3)
    naive_low, naive_high = expected["snipw_ci_obp"]
    assert naive_high - naive_low > 2.5 * (bootstrap.high - bootstrap.low)


@pytest.mark.parametrize("campaign", ["men", "women"])
def test_the_open_bandit_sample_gives_the_published_library_s_values(campaign: str) -> None:
    expected = json.loads((FOLDER / "open_bandit_values.json").read_text(encoding="utf-8"))[campaign]
    log = _columns(f"obd_random_{campaign}.parquet")
    served = _columns(f"obd_bts_{campaign}.parquet")
    shares = _thompson_shares(campaign)
    decisions = LoggedBatch(
        reward=log["click"],
        action=log["item_id"],
        propensity=log["propensity_score"],
        target=shares[log["position"] - 1],
    )
    actual = {
        "n": len(decisions),
        "random_mean": estimators.on_policy(decisions).value,
        "ipw": estimators.ips(decisions).value,
        "snipw": estimators.snips(decisions).value,
        "bts_on_policy": float(served["click"].mean()),
    }
    assert actual == pytest.approx(expected, rel=0.0, abs=1e-9)


def _columns(name: str) -> dict[str, np.ndarray[Any, Any]]:
    query = f"SELECT item_id, position, click::DOUBLE AS click, propensity_score FROM '{FOLDER / name}'"
    with duckdb.connect() as connection:
        return {key: np.asarray(column) for key, column in connection.execute(query).fetchnumpy().items()}


def _thompson_shares(campaign: str) -> np.ndarray[Any, Any]:
    """Share of every item at three positions, shape (3, items), in that library's 100,000 rankings."""
    name = campaign.upper()
    successes = np.array(getattr(prior, f"{name}_SUCCESSES"), dtype=np.float64)
    failures = np.array(getattr(prior, f"{name}_FAILURES"), dtype=np.float64)
    rounds, items = 100_000, len(successes)
    # numpy's legacy generator, because the stored values were drawn with it.
    samples = np.random.RandomState(12345).beta(successes, failures, size=(rounds, items))
    first = np.argsort(samples, axis=1)[:, ::-1][:, :3]
    return np.stack([np.bincount(first[:, position], minlength=items) / rounds for position in range(3)])


def test_infinite_lambda_changes_no_weight(decisions: LoggedBatch) -> None:
    for tame in (estimators.clip, estimators.switch, estimators.shrink):
        np.testing.assert_array_equal(tame(decisions.weight, math.inf), decisions.weight)
