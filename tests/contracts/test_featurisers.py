"""Every featuriser passes every check of `check_featuriser`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b
from itertools import combinations_with_replacement
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.optimizer.features import (
    Attributes,
    CallerEmbedding,
    Featuriser,
    SurfaceFeatures,
    TaskLabel,
    TextProjection,
)
from fairlead.optimizer.types import Context
from tests.contracts.check_featuriser import CHECKS, FOR_ANY_REQUESTS, check_version_follows_state
from tests.optimizer.features.requests import EMBEDDING_WIDTH, REQUESTS, prompts
from tests.paths import ROOT

FEATURISERS: Final[dict[str, Callable[[], Featuriser]]] = {
    "surface": SurfaceFeatures,
    "task": TaskLabel,
    "task of 8": lambda: TaskLabel(width=8),
    "attributes": Attributes,
    "attributes of 1": lambda: Attributes(width=1),
    "embedding": lambda: CallerEmbedding(width=EMBEDDING_WIDTH),
    "projection": lambda: TextProjection.fit(prompts(), width=8),
    "projection of other prompts": lambda: TextProjection.fit(prompts()[:40], width=8),
    "projection wider than its prompts": lambda: TextProjection.fit(prompts()[:9], width=16),
}


@cache
def featuriser(name: str) -> Featuriser:
    """Return one featuriser of each name, created once."""
    return FEATURISERS[name]()


def digests() -> dict[str, str]:
    """Return version and a hash of the coordinates, to the last bit, of each featuriser, created anew."""
    result = {}
    for name, create in FEATURISERS.items():
        created = create()
        coordinates = blake2b(created.transform(REQUESTS).tobytes(), digest_size=16).hexdigest()
        result[name] = f"{created.version} {coordinates}"
    return result


texts = st.none() | st.text(st.characters(categories=None), max_size=80)
attributes = st.dictionaries(
    st.text(st.characters(categories=None), max_size=5),
    st.text(max_size=5)
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=6,
)
requests = st.lists(st.builds(Context, text=texts, task=texts, attributes=attributes), min_size=1, max_size=4)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", FEATURISERS)
def test_featurisers(name: str, check: Callable[[Featuriser, Sequence[Context]], None]) -> None:
    check(featuriser(name), REQUESTS)


@pytest.mark.parametrize("name", FEATURISERS)
@settings(max_examples=40, deadline=None)
@given(some=requests)
def test_arbitrary_requests(name: str, some: list[Context]) -> None:
    for check in FOR_ANY_REQUESTS:
        check(featuriser(name), some)


def test_version_follows_state() -> None:
    for first, second in combinations_with_replacement(map(featuriser, FEATURISERS), 2):
        if first.block.name == second.block.name:
            check_version_follows_state(first, second)


def run(program: str, **environment: str) -> Any:
    """Return what a program prints in another process, as JSON."""
    command = [sys.executable, "-c", f"import json\n{program}"]
    env = {**os.environ, **environment}
    return json.loads(subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=True).stdout)


def test_same_in_another_process() -> None:
    """Neither the seed of Python's hash nor fitting anew changes a bit."""
    program = "from tests.contracts.test_featurisers import digests\nprint(json.dumps(digests()))"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    assert run(program, PYTHONHASHSEED="4242", PYTHONPATH=path) == digests()


def test_import_leaves_scikit_learn_alone() -> None:
    program = "import sys, fairlead.optimizer.features\n"
    program += "print(json.dumps([name for name in ('sklearn', 'scipy') if name in sys.modules]))"
    assert run(program) == []
