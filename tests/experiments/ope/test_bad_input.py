"""Bad input is refused in one sentence that names the row, the value and the remedy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fairlead.experiments.ope.bootstrap import percentile, resample
from fairlead.experiments.ope.estimators import ESTIMATORS, clipped_ips, ips, snips, sub_gaussian_ips
from fairlead.experiments.ope.intervals import asymptotic, check_level
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments, merge
from fairlead.experiments.ope.terms import Terms
from fairlead.optimizer.errors import InvalidInput

GOOD: dict[str, Any] = {
    "reward": [0.5, 1.0],
    "action": [0, 1],
    "propensity": [0.5, 0.25],
    "target": [[1.0, 0.0], [0.5, 0.5]],
    "q_hat": [[0.5, 0.5], [0.5, 0.5]],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": [0.5, math.nan]}, "reward of decision 1 is nan"),
        ({"reward": [math.inf, 0.0]}, "reward of decision 0 is inf"),
        ({"reward": [1e300, 0.0]}, "reward of decision 0 is 1e\\+300"),
        ({"reward": ["a", "b"]}, "reward holds"),
        ({"reward": [[0.5], [1.0]]}, "reward has shape"),
        ({"reward": [0.5]}, "has 2 rows and reward has 1"),
        ({"propensity": [0.5, 0.0]}, "propensity of decision 1 is 0"),
        ({"propensity": [0.5, -0.1]}, "propensity of decision 1 is -0.1"),
        ({"propensity": [0.5, 1.1]}, "propensity of decision 1 is 1.1"),
        ({"propensity": [0.5, 1e-300]}, "propensity of decision 1 is 1e-300"),
        ({"propensity": [math.nan, 0.5]}, "propensity of decision 0 is nan"),
        ({"action": [0, 2]}, "action of decision 1 is 2"),
        ({"action": [-1, 0]}, "action of decision 0 is -1"),
        ({"action": [0.0, 1.0]}, "action holds float64"),
        ({"target": [[1.0, 0.0], [0.5, 0.4]]}, "target of decision 1 is 0.9"),
        ({"target": [[1.5, -0.5], [0.5, 0.5]]}, "target of decision 0 is -0.5"),
        ({"target": [[1.0, 0.0], [math.nan, 0.5]]}, "target of decision 1 is nan"),
        ({"target": [[], []]}, "no columns"),
        ({"q_hat": [[0.5], [0.5]]}, "predict for every provider"),
        ({"q_hat": [[0.5, math.nan], [0.5, 0.5]]}, "q_hat of decision 0 is nan"),
        ({"q_hat": [[0.5, 0.5], [-math.inf, 0.5]]}, "q_hat of decision 1 is inf"),
    ],
)
def test_columns_that_are_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        LoggedBatch(**(GOOD | change))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["reward", "action", "target"])
def test_a_masked_value_is_missing_and_not_what_lies_beneath(name: str) -> None:
    masked = np.ma.masked_array(np.asarray(GOOD[name]), mask=False)
    masked[1] = np.ma.masked
    with pytest.raises(InvalidInput, match=f"{name} of decision 1 is missing"):
        LoggedBatch(**(GOOD | {name: masked}))
    unmasked = np.ma.masked_array(np.asarray(GOOD[name]), mask=False)
    assert len(LoggedBatch(**(GOOD | {name: unmasked}))) == 2


def test_no_decisions_at_all() -> None:
    empty = {"reward": [], "action": np.zeros(0, int), "propensity": [], "target": np.zeros((0, 2))}
    with pytest.raises(InvalidInput, match="there are 0 decisions"):
        LoggedBatch(**empty)


def test_one_provider_is_no_choice_but_has_a_value() -> None:
    only = LoggedBatch(
        reward=[0.2, 0.4],
        action=[0, 0],
        propensity=[1.0, 1.0],
        target=[[1.0], [1.0]],
        q_hat=[[0.3], [0.3]],
    )
    for name, estimator in ESTIMATORS.items():
        assert estimator(only).value == pytest.approx(0.3), name


def test_a_policy_that_never_agrees_is_refused_where_it_cannot_be_judged() -> None:
    apart = LoggedBatch(**(GOOD | {"action": [1, 1], "target": [[1.0, 0.0], [1.0, 0.0]]}))
    assert ips(apart).value == 0.0
    for call in (
        lambda: snips(apart).value,
        lambda: asymptotic(Moments.of(snips(apart))),
        lambda: percentile(resample(snips(apart), seed=0, resamples=100)),
    ):
        with pytest.raises(InvalidInput, match="the mean weight is 0"):
            call()


def test_the_largest_weights_there_can_be_stay_finite() -> None:
    n = 3
    huge = LoggedBatch(
        reward=[1e12, -1e12, 1e12], action=[0, 0, 1], propensity=[1e-12, 1e-12, 1.0], target=[[1.0, 0.0]] * n
    )
    for estimator in (ips, snips):
        terms = estimator(huge)
        estimate = asymptotic(Moments.of(terms))
        assert math.isfinite(estimate.value) and math.isfinite(estimate.standard_error)
        assert not math.isnan(percentile(resample(terms, seed=0, resamples=100)).low)


@pytest.mark.parametrize("lam", [-1.0, math.nan, True])
def test_hyper_parameters_are_checked(lam: float) -> None:
    with pytest.raises(InvalidInput, match="lambda"):
        clipped_ips(LoggedBatch(**GOOD), lam=lam)
    with pytest.raises(InvalidInput, match="lambda"):
        sub_gaussian_ips(LoggedBatch(**GOOD), lam=lam)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
def test_levels_are_probabilities(level: float) -> None:
    with pytest.raises(InvalidInput, match="level"):
        check_level(level)


def test_terms_that_are_no_terms() -> None:
    with pytest.raises(InvalidInput, match="terms lack a column"):
        Terms(weighted=np.ones(2))
    with pytest.raises(InvalidInput, match="terms lack a column"):
        Terms()
    with pytest.raises(InvalidInput, match="weight has 1 rows"):
        Terms(weighted=np.ones(2), weight=np.ones(1))
    with pytest.raises(InvalidInput, match="plain of decision 1 is nan"):
        Terms(plain=np.array([1.0, math.nan]))


def test_moments_that_do_not_belong_together() -> None:
    terms = Terms(plain=np.ones(2))
    single, pair = Moments.of({"a": terms}), Moments.of({"a": terms, "b": terms})
    with pytest.raises(InvalidInput, match="parts that estimate a and a, b do not merge"):
        single.merge(pair)
    with pytest.raises(InvalidInput, match="0 parts"):
        merge([])
    with pytest.raises(InvalidInput, match="0 estimates"):
        Moments.of({})
    with pytest.raises(InvalidInput, match="there is no estimate 'b': choose among a"):
        asymptotic(single, "b")
    with pytest.raises(InvalidInput, match="there is no estimate 'b'"):
        asymptotic(single, {"b": 1.0})
    with pytest.raises(InvalidInput, match="there are 2 estimates, a, b: name one"):
        asymptotic(pair)
    with pytest.raises(InvalidInput, match="factor"):
        asymptotic(single, {"a": math.nan})
    with pytest.raises(InvalidInput, match="there is no estimate 'b'"):
        percentile(resample({"a": terms}, seed=0, resamples=100), "b")
