"""Every example in a docstring of the service gives what it says."""

import doctest
import importlib

import pytest

from tests.paths import ROOT

MODULES = sorted(
    "fairlead." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "api").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0 and results.failed == 0
