"""Starting imports little: what is heavy is imported by the command or the name that needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.startup import PROGRAMS
from tests.paths import ROOT

HEAVY = {
    "alembic", "altair", "distributed", "duckdb", "fastapi", "numba", "numpy", "psycopg", "pydantic",
    "scipy", "sklearn", "sqlalchemy", "sqlmodel", "starlette", "uvicorn", "vl_convert",
}  # fmt: skip


def imported_by(program: str) -> set[str]:
    """Return the heavy modules that a program has imported at its end."""
    report = f"import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n{program}"
    result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return {name for name in result.stderr.split() if "." not in name} & HEAVY


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import fairlead", set()),
        ("from fairlead import Route, Provider, Feedback", {"numpy"}),
        ("from fairlead.api.cli.main import app; app(['--help'])", set()),
        # Typer looks whether a parameter is a model of pydantic.
        ("from fairlead.api.cli.main import app; app(['serve', '--help'])", {"pydantic"}),
        ("from fairlead.api.cli.main import app; app(['replay', '--help'])", {"pydantic"}),
        ("import scipy", {"numpy", "scipy"}),
    ],
)
def test_a_start_imports_nothing_heavy(program: str, expected: set[str]) -> None:
    assert imported_by(program) == expected


def test_every_start_that_is_measured_works() -> None:
    for arguments in PROGRAMS.values():
        result = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr
