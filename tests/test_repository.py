"""The rules of the repository: who imports whom, what is pinned, what is explained, what is shipped."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fairlead.optimizer.errors import EXTRA_OF

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("api", "experiments", "optimizer")
# The folders that an import contract names.
SKELETON = (
    *PACKAGES,
    *(f"api/{name}" for name in ("cli", "http", "endpoints", "service", "state", "store")),
    *(f"optimizer/{name}" for name in ("types", "features", "models", "policies", "selection")),
    *(f"optimizer/{name}" for name in ("learning", "persistence")),
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

LONGEST_FILE = 500
NAMES_THAT_SAY_NOTHING = {"common", "helper", "helpers", "misc", "util", "utils"}
# A log or a snapshot may come from anywhere: nothing that is read may run as code.
UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec"}

WORDS = (
    "provider", "route", "context", "features", "decision", "outcome", "feedback", "reward", "objective",
    "willingness_to_pay", "policy", "logging policy", "target policy", "propensity", "best fixed mix", "lift",
    "regret", "ESS", "IPS", "SNIPS", "DM", "DR", "replay", "drift", "snapshot", "shadow price", "evidence",
    "pooled", "newcomer", "floor", "oracle", "supervised reference", "utilisation",
)  # fmt: skip


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def source_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def runtime_requirements() -> list[Requirement]:
    return [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]


def extra_requirements(*, without: str = "") -> list[Requirement]:
    extras = PYPROJECT["project"]["optional-dependencies"]
    # `all` names the others again.
    kept = [lines for name, lines in extras.items() if name not in (without, "all")]
    return [Requirement(line) for lines in kept for line in lines]


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


# Who may import whom


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("lint-imports", path=sysconfig.get_path("scripts"))
    assert command, "lint-imports is missing: install the extra `dev`"
    return subprocess.run(
        [command, "--no-logo", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / ".package")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_packages_keep_to_the_import_contracts() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def module_file(package: Path, module: str) -> Path:
    """Return the file of `fairlead.a.b` below the folder of `fairlead`, which may not exist yet."""
    path = package.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def build_skeleton(folder: Path) -> Path:
    """Make packages that keep to the contracts, with the exceptions that the contracts list."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    package = folder / ".package" / "fairlead"
    for name in SKELETON:
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").touch()
    for contract in PYPROJECT["tool"]["importlinter"]["contracts"]:
        if contract.get("unmatched_ignore_imports_alerting") == "warn":
            continue
        for exception in contract.get("ignore_imports", []):
            importer, imported = exception.replace("*", "sample").split(" -> ")
            module_file(package, imported).touch()
            with module_file(package, importer).open("a", encoding="utf-8") as file:
                file.write(f"import {imported}\n")
    return package


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("optimizer", "fairlead.experiments"),
        ("optimizer", "duckdb"),
        ("experiments", "fairlead.api"),
        ("experiments", "typer"),
        ("optimizer/types", "fairlead.optimizer.features"),
        ("optimizer/features", "fairlead.optimizer.models"),
        ("optimizer/models", "fairlead.optimizer.policies"),
        ("optimizer/policies", "fairlead.optimizer.selection"),
        ("optimizer/selection", "fairlead.optimizer.learning"),
        ("optimizer/features", "fairlead.optimizer.persistence"),
        ("api/http", "fairlead.api.cli"),
        ("api/endpoints", "fairlead.api.http"),
        ("api/service", "fairlead.api.endpoints"),
        ("api/state", "fairlead.api.service"),
        ("api/store", "fairlead.api.state"),
    ],
)
def test_the_import_contracts_catch_a_wrong_import(tmp_path: Path, importer: str, imported: str) -> None:
    package = build_skeleton(tmp_path)
    (package / importer / "wrong.py").write_text(f"import {imported}\n", encoding="utf-8")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    source = importer.replace("/", ".")
    assert re.search(rf"{source}\.wrong\s*->\s*{imported}", result.stdout), result.stdout


def test_the_import_contracts_catch_a_circle_and_nothing_else(tmp_path: Path) -> None:
    package = build_skeleton(tmp_path)
    result = lint_imports(tmp_path)
    assert result.returncode == 0, result.stdout
    for importer, imported in (("first", "second"), ("second", "first")):
        path = package / "optimizer" / "learning" / f"{importer}.py"
        path.write_text(f"import fairlead.optimizer.learning.{imported}\n", encoding="utf-8")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert "No cycles are allowed in fairlead.optimizer.learning" in result.stdout, result.stdout


# What the source may look like


def test_no_file_is_longer_than_one_idea() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in source_files()}
    assert lengths
    too_long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST_FILE}
    assert not too_long, f"over {LONGEST_FILE} lines; split by idea: {too_long}"


def test_every_file_name_says_what_is_inside() -> None:
    vague = [str(path.relative_to(ROOT)) for path in source_files() if path.stem in NAMES_THAT_SAY_NOTHING]
    assert not vague, f"name each after its one idea: {vague}"


def imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def unsafe_uses(code: str) -> list[str]:
    """Give what in the code could run data as a program."""
    tree = ast.parse(code)
    uses = [f"import {name}" for name in imported_modules(tree) if name in UNSAFE_MODULES]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            uses.append(f"{node.func.id}() in line {node.lineno}")
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and getattr(keyword.value, "value", True) is not False:
                uses.append(f"allow_pickle in line {node.lineno}")
    return uses


@pytest.mark.parametrize(
    "code",
    [
        # Text for the check below to find, never run: it is how the check is known to catch what it forbids.
        "import pickle",
        "from pickle import loads",
        "def f():\n    import joblib.memory",
        "eval('1')",
        "exec(text)",
        "numpy.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=chosen)",
    ],
)
def test_unsafe_code_is_recognised(code: str) -> None:
    assert len(unsafe_uses(code)) == 1


def test_safe_code_is_not_called_unsafe() -> None:
    assert not unsafe_uses("import json\nmodel.eval()\nnumpy.load(path, allow_pickle=False)")


def test_no_data_is_ever_run_as_code() -> None:
    by_file = {str(path.relative_to(ROOT)): unsafe_uses(path.read_text("utf-8")) for path in source_files()}
    assert not {path: uses for path, uses in by_file.items() if uses}


# What is installed


def pins() -> dict[str, Requirement]:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    requirements = [Requirement(line) for line in lines]
    pinned: dict[str, Requirement] = {canonicalize_name(entry.name): entry for entry in requirements}
    assert len(pinned) == len(lines), "constraints.txt pins something twice"
    return pinned


def test_constraints_are_exact_and_name_no_server() -> None:
    text = read("constraints.txt")
    assert "://" not in text
    assert "--hash" not in text
    assert "uv pip compile" in text.partition("\n\n")[0], "its first lines say how to refresh it"
    for name, pin in pins().items():
        assert [specifier.operator for specifier in pin.specifier] == ["=="], f"{name} is not pinned exactly"


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    pinned = pins()
    for requirement in [*runtime_requirements(), *extra_requirements()]:
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name} has no pin: refresh constraints.txt by the command at its top"
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{requirement} excludes its pin {version}"
        assert ">=" in str(requirement.specifier), f"{requirement.name} has no lower bound"


def test_every_import_is_a_declared_dependency() -> None:
    """What another package happens to bring along may be gone with its next release."""
    declared = names(runtime_requirements() + extra_requirements(without="dev"))
    importable = sys.stdlib_module_names | {"fairlead"}
    distributions = packages_distributions()
    for path in source_files():
        for module in set(imported_modules(ast.parse(path.read_text(encoding="utf-8")))) - importable:
            owners = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert owners & declared, f"{path.name} imports {module}, which pyproject.toml does not name"


def test_every_optional_module_is_in_the_extra_that_the_remedy_names() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    distributions = packages_distributions()
    for module, extra in EXTRA_OF.items():
        owners = {canonicalize_name(name) for name in distributions[module]}
        assert owners & names([Requirement(line) for line in extras[extra]]), module
        assert not owners & names(runtime_requirements()), f"{module} is no longer optional"
    (everything,) = (Requirement(line) for line in extras["all"])
    assert everything.name == "fairlead"
    assert everything.extras == extras.keys() - {"all", "dev"}


def test_every_dependency_has_its_reason() -> None:
    runtime, _, development = read("docs/dependencies.md").partition("## Development")
    for text, requirements in (
        (runtime, runtime_requirements() + extra_requirements(without="dev")),
        (development, [Requirement(line) for line in PYPROJECT["project"]["optional-dependencies"]["dev"]]),
    ):
        reasons = dict(re.findall(r"^\| (\S+) \| (\S.*\.) \|$", text, flags=re.MULTILINE))
        assert set(reasons) == names(requirements)


# What is explained


def test_the_changelog_has_a_place_for_the_next_release() -> None:
    headings = re.findall(r"^## (.+)$", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_the_glossary_explains_each_word_once() -> None:
    entries = re.findall(r"^### (.+)\n\n(\S.+)$", read("docs/glossary.md"), flags=re.MULTILINE)
    words = [word for word, _ in entries]
    assert not set(WORDS) - set(words)
    assert words == sorted(set(words), key=str.lower)


def test_every_decision_record_is_listed() -> None:
    records = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d.+?)\)", read("docs/adr/README.md")) == records
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))


# What is shipped


@pytest.mark.parametrize("target", PYPROJECT["project"]["scripts"].values())
def test_every_command_exists(target: str) -> None:
    module, _, function = target.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.fixture(scope="module")
def wheel(wheel_path: Path) -> Iterator[ZipFile]:
    with ZipFile(wheel_path) as archive:
        yield archive


def files_below(folder: str) -> dict[str, Path]:
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    files = {path.relative_to(ROOT / folder).as_posix(): path for path in paths}
    return {name: path for name, path in files.items() if "__pycache__" not in name}


def test_the_wheel_holds_the_data_unchanged(wheel: ZipFile) -> None:
    prefix = "fairlead/data/"
    shipped = {name.removeprefix(prefix) for name in wheel.namelist() if name.startswith(prefix)}
    data = files_below("data")
    assert data
    assert shipped == set(data)
    for name, path in data.items():
        assert wheel.read(prefix + name) == path.read_bytes()


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"fairlead", f"fairlead-{PYPROJECT['project']['version']}.dist-info"}
    expected = {"fairlead/__init__.py", "fairlead/py.typed"}
    for package in (*PACKAGES, "data"):
        expected |= {f"fairlead/{package}/{name}" for name in files_below(package)}
    assert shipped == {name for name in expected if not name.startswith("fairlead/experiments/benchmarks/")}
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in wheel.namelist())
