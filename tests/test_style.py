"""How the source is written: telling names, short functions, few positional parameters, few loose files.

The numbers at the top are ceilings: they may only fall.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.paths import ROOT

PACKAGES = ("api", "experiments", "optimizer")

# Of a variable, parameter, attribute or function they say nothing of what it holds.
FILLER = {"beside", "drawn", "due", "found", "given", "known", "made", "one", "place", "taken", "told"}
FILLER_NAMES = 0

LONGEST_FUNCTION = 40
LONG_FUNCTIONS = 3
"""Functions that are longer; each says why in a comment."""

MOST_POSITIONAL = 3
MANY_POSITIONAL = 0
"""Functions with more positional parameters, compiled kernels aside."""

LOOSE_FILES = {"optimizer": 5, "api": 5, "experiments": 4}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def filler_names(code: str) -> list[str]:
    """Return each variable, parameter, attribute and function that has a filler name, with its line."""
    named = []
    for node in ast.walk(ast.parse(code)):
        name = ""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.alias):
            name = node.asname or ""
        if name.lstrip("_") in FILLER:
            named.append(f"{name} in line {node.lineno}")  # type: ignore[attr-defined]
    return named


def long_functions(code: str) -> list[str]:
    """Return each function that is longer than `LONGEST_FUNCTION` lines, with its length."""
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(ast.parse(code))}
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > LONGEST_FUNCTION]


def many_positional(code: str) -> list[str]:
    """Return each function with more than `MOST_POSITIONAL` positional parameters that is not compiled."""
    named = []
    for node in functions(ast.parse(code)):
        parameters = [parameter.arg for parameter in (*node.args.posonlyargs, *node.args.args)]
        if parameters[:1] in (["self"], ["cls"]):
            parameters = parameters[1:]
        is_compiled = any(ast.unparse(entry).startswith("compiled") for entry in node.decorator_list)
        if len(parameters) > MOST_POSITIONAL and not is_compiled:
            named.append(f"{node.name}({', '.join(parameters)})")
    return named


def in_packages(check: Callable[[str], list[str]]) -> list[str]:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [f"{path.relative_to(ROOT)}: {item}" for path in files for item in check(path.read_text("utf-8"))]


@pytest.mark.parametrize(
    ("check", "ceiling"),
    [
        (filler_names, FILLER_NAMES),
        (long_functions, LONG_FUNCTIONS),
        (many_positional, MANY_POSITIONAL),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_source_keeps_to_its_style(check: Callable[[str], list[str]], ceiling: int) -> None:
    exceptions = in_packages(check)
    assert len(exceptions) <= ceiling, "\n".join([f"{len(exceptions)}, at most {ceiling}:", *exceptions])


@pytest.mark.parametrize(("package", "most"), LOOSE_FILES.items())
def test_the_folders_of_a_package_say_what_is_inside(package: str, most: int) -> None:
    loose = sorted(path.name for path in (ROOT / package).glob("*.py") if path.name != "__init__.py")
    assert len(loose) <= most, f"each belongs into a folder: {loose}"


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "for one in []: pass",
        "def f(given): pass",
        "def told(): pass",
        "self._known = 2",
        "[taken for taken in x]",
        "import numpy as made",
        "a, (due, b) = c",
    ],
)
def test_a_filler_name_is_recognised(code: str) -> None:
    assert len(filler_names(code)) == 1


def test_other_names_are_no_filler() -> None:
    assert not filler_names("founded = f(one=1)\nx.given\ndef place_of(row): return known")


def test_long_functions_and_many_parameters_are_recognised() -> None:
    body = "\n".join(f"    x{i} = {i}" for i in range(40))
    assert long_functions(f"def f():\n{body}") == ["f: 41 lines"]
    assert not long_functions(f"def f():\n{body.rpartition(chr(10))[0]}")
    assert many_positional("def f(a, b, c, d): pass") == ["f(a, b, c, d)"]
    assert not many_positional("def f(self, a, b, c, *, d): pass")
    assert not many_positional("@compiled\ndef f(a, b, c, d): pass")
