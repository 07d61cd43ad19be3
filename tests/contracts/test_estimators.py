"""Every estimator passes every check of `check_estimator`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fairlead.experiments.ope.estimators import ESTIMATORS, Estimator
from tests.contracts.check_estimator import CHECKS, check_model_is_needed

WITH_MODEL = {"dm", "dr", "clipped-dr", "sndr", "switch-dr", "shrunk-dr", "sub-gaussian-dr"}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators(name: str, check: Callable[[Estimator], None]) -> None:
    check(ESTIMATORS[name])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_models_are_asked_for_only_if_they_are_needed(name: str) -> None:
    check_model_is_needed(ESTIMATORS[name], needed=name in WITH_MODEL)
