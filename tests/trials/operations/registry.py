"""The trials of operations by name: every file of this folder that has a function ``run``."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from tests.trials.operations.result import Progress, Result, Trial, joined


def _summaries() -> dict[str, str]:
    summaries = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        # Read, not imported: the names are needed to read the command, and a trial may take long to import.
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if "run" in functions and path.stem != "registry":
            summaries[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return summaries


TRIALS: Final[dict[str, str]] = _summaries()
"""Name of each trial, and the first line of its file."""

SLOW: Final = {"weeks"}
"""Trials that take many minutes for each seed."""


def trial(name: str) -> Trial:
    """Return the function that runs a trial."""
    return cast(Trial, import_module(f"tests.trials.operations.{name}").run)


def run(name: str, seeds: Sequence[int], progress: Progress) -> Result:
    """Run one trial, or ``all`` of them one after another; a slow one gets one seed then."""
    if name != "all":
        return trial(name)(seeds, progress)
    return joined(
        {
            each: trial(each)(seeds[:1] if each in SLOW else seeds, _prefixed(each, progress))
            for each in TRIALS
        }
    )


def _prefixed(name: str, progress: Progress) -> Progress:
    return lambda line: progress(f"{name}: {line}")
