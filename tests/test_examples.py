"""Every example in a docstring runs, and every public class has one."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

import fairlead
from fairlead.experiments import ope
from tests.paths import ROOT

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    files = [ROOT / ".package" / "fairlead" / "__init__.py"]
    for package in ("optimizer", "api", "experiments"):
        files += sorted((ROOT / package).rglob("*.py"))
    names = []
    for path in files:
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            inside = parts[2:] if parts[0] == ".package" else parts
            names.append(".".join(("fairlead", *inside)).removesuffix(".__init__"))
    return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_run(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert results.attempted
    assert not results.failed


def test_every_public_class_has_an_example() -> None:
    without = set()
    for module in (fairlead, ope):
        for name in module.__all__:
            item = getattr(module, name)
            # Its own docstring: one that is inherited says nothing of it.
            has_example = ">>> " in (item.__dict__.get("__doc__") or "") if inspect.isclass(item) else True
            if not has_example and not issubclass(item, BaseException):
                without.add(name)
    assert not without, f"give each a short example: {sorted(without)}"
