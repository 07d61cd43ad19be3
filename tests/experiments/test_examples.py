"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = (
    "logs.batch",
    "logs.importers.options",
    "logs.log",
    "simulation.pool",
    "replay.settings",
    "simulation.run",
    "simulation.scenario",
    "tables.outcome_table",
    "tables.price_list",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = import_module(f"fairlead.experiments.{name}")
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    assert results.attempted and not results.failed
