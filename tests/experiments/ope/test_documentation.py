"""The examples in docstrings and in docs/estimators.md run, and the page has every estimator and limit."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import pytest

from fairlead.experiments import baselines, charts, ope, targets
from fairlead.experiments.ope import diagnostics
from fairlead.experiments.ope.estimators import DEFAULT_LAMBDA, DEFAULT_SUB_GAUSSIAN_LAMBDA, ESTIMATORS
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")
MODULES = [
    "fairlead.experiments.ope",
    *(
        f"{package.__name__}.{module.name}"
        for package in (baselines, charts, ope, targets)
        for module in pkgutil.iter_modules(package.__path__)
    ),
]
FLAGS = doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=FLAGS).failed == 0


def test_every_public_name_has_an_example() -> None:
    """But constants and types, the weights, each of which is a formula, and what `FixedMix` shows."""
    without = {"ESTIMATORS", "Contrast", "Recommendation", "clip", "shrink", "sub_gaussian", "switch"}
    without.add("estimate_fixed_mix")
    for name in set(ope.__all__) - without:
        assert ">>> " in (getattr(ope, name).__doc__ or ""), name


def test_the_examples_of_the_page_run() -> None:
    """One after the other, in one namespace; the page starts with five lines that reach a verdict."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    page = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "estimators.md", None, 0)
    results = doctest.DocTestRunner(optionflags=FLAGS).run(page)
    assert results.attempted > 10
    assert results.failed == 0
    assert "Promote the second" in blocks[1]


def test_every_estimator_has_its_row() -> None:
    table = PAGE.split("## Estimators")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE) == list(ESTIMATORS)


def test_the_limits_are_those_of_the_code() -> None:
    checks = PAGE.split("## Checks before a verdict")[1].split("\n## ")[0]
    assert f"≥ {diagnostics.LEAST_EFFECTIVE_SIZE:.0f} |" in checks
    for share in (
        diagnostics.LARGEST_WEIGHT_SHARE,
        diagnostics.LARGEST_WITHOUT_SUPPORT,
        diagnostics.LARGEST_FALLBACK_SHARE,
    ):
        assert f"| ≤ {100 * share:.0f} % |" in checks
    assert f"gap ≤ {100 * diagnostics.LARGEST_RESPONSE_GAP:.0f} points" in checks
    assert f"p ≥ {diagnostics.FALSE_ALARM:.3f}".replace("0.", ".") in checks
    assert f"λ is {DEFAULT_LAMBDA:.0f} ({DEFAULT_SUB_GAUSSIAN_LAMBDA}" in PAGE
