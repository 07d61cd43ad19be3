"""The public names can all be imported, and importing some of them stays cheap."""

import doctest
import subprocess
import sys

import pytest

import fairlead.optimizer

HEAVY = ("numba", "river", "scipy", "sklearn")


@pytest.mark.parametrize("name", fairlead.optimizer.__all__)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    assert getattr(fairlead.optimizer, name).__doc__
    assert f"`{name}`" in (fairlead.optimizer.__doc__ or "")
    assert name in dir(fairlead.optimizer)


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Ruoter'"):
        fairlead.optimizer.Ruoter  # noqa: B018


LIGHT = "Route, Provider, Context, Feedback, InvalidInput, Encoder, TaskLabel"


@pytest.mark.parametrize("names", ["", LIGHT])
def test_declaring_a_route_imports_neither_compiler_nor_models(names: str) -> None:
    line = f"from fairlead.optimizer import {names}" if names else "import fairlead.optimizer"
    program = f"import sys\n{line}\nprint([name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_example_of_the_package_runs() -> None:
    results = doctest.testmod(fairlead.optimizer)
    assert results.attempted and not results.failed
