"""The public names can all be imported, show how they are used, and cost little to import."""

import doctest
import importlib
import subprocess
import sys

import pytest

import fairlead

HEAVY = ("numba", "scipy", "sklearn")
LIGHT = "Route, Provider, Context, Feedback, InvalidInput, Encoder, TaskLabel"

PUBLIC = {name: getattr(fairlead, name) for name in fairlead.__all__}
# Protocols and errors are not created by those who use them.
CREATED = [
    name
    for name, value in PUBLIC.items()
    if isinstance(value, type) and not issubclass(value, Exception) and not hasattr(value, "_is_protocol")
]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    assert PUBLIC[name].__doc__
    assert f"`{name}`" in (fairlead.__doc__ or "")
    assert name in dir(fairlead)


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Ruoter'"):
        fairlead.Ruoter  # noqa: B018


@pytest.mark.parametrize("names", ["", LIGHT])
def test_declaring_a_route_imports_neither_compiler_nor_models(names: str) -> None:
    line = f"from fairlead import {names}" if names else "import fairlead"
    program = f"import sys\n{line}\nprint([name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", CREATED)
def test_every_public_class_shows_how_it_is_used(name: str) -> None:
    assert ">>> " in (PUBLIC[name].__doc__ or "")


@pytest.mark.parametrize("module", sorted({"fairlead", *(PUBLIC[name].__module__ for name in CREATED)}))
def test_examples_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted and not results.failed
