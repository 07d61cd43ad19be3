"""Every featuriser keeps the promises of `Featuriser`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations_with_replacement

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.optimizer.features import Featuriser
from tests.paths import ROOT

from . import cases, checks

texts = st.none() | st.text(st.characters(categories=None), max_size=80)
attributes = st.dictionaries(
    st.text(st.characters(categories=None), max_size=5),
    st.text(max_size=5)
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=6,
)
requests = st.lists(
    st.builds(cases.Request, text=texts, task=texts, attributes=attributes), min_size=1, max_size=4
)


def test_shape(featuriser: Featuriser) -> None:
    checks.check_shape(featuriser, cases.REQUESTS)


def test_finite_within_bounds(featuriser: Featuriser) -> None:
    checks.check_finite_within_bounds(featuriser, cases.REQUESTS)


def test_rows_are_independent(featuriser: Featuriser) -> None:
    checks.check_rows_are_independent(featuriser, cases.REQUESTS)


def test_transform_leaves_no_trace(featuriser: Featuriser) -> None:
    checks.check_transform_leaves_no_trace(featuriser, cases.REQUESTS)


def test_state_is_plain_arrays(featuriser: Featuriser) -> None:
    checks.check_state_is_plain_arrays(featuriser)


def test_nothing_known_gives_zeros(featuriser: Featuriser) -> None:
    checks.check_nothing_known_gives_zeros(featuriser, cases.Request())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=requests)
def test_arbitrary_requests(featuriser: Featuriser, some: list[cases.Request]) -> None:
    checks.check_shape(featuriser, some)
    checks.check_finite_within_bounds(featuriser, some)
    checks.check_rows_are_independent(featuriser, some)


def test_version_follows_state(featurisers: dict[str, Featuriser]) -> None:
    for first, second in combinations_with_replacement(featurisers.values(), 2):
        if first.block.name == second.block.name:
            checks.check_version_follows_state(first, second)


def test_same_in_another_process() -> None:
    """Neither the seed of Python's hash nor fitting anew changes a bit."""
    environment = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(
        [sys.executable, cases.__file__],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert json.loads(printed) == cases.digests()


def test_import_leaves_scikit_learn_alone() -> None:
    code = (
        "import sys, fairlead.optimizer.features;print([m for m in ('sklearn', 'scipy') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    assert printed.strip() == "[]"
