"""Fresh environments with the wheel of this checkout and the dependencies of some of its extras.

Nothing is fetched: the dependencies are links to the packages that run the tests, so an environment is made
in a moment, and what an extra would have brought is really missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import HANGS_S, ROOT

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment and the folder in which its commands run."""

    folder: Path
    directory: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "bin" / "python"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a shell in which only this environment is active."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.defpath}"
        return {"PATH": path, "HOME": str(self.directory), "OPENBLAS_NUM_THREADS": "1"}

    def fairlead(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the installed command."""
        return self.run(str(self.folder / "bin" / "fairlead"), *arguments)

    def program(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the project, which lies in its folder."""
        path = self.directory / "program.py"
        path.write_text(text, encoding="utf-8")
        return self.run(self.python, path)

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder of the project."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.directory,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=HANGS_S,
            check=False,
        )


def create(folder: Path, *, wheel: Path, extras: Iterable[str], directory: Path) -> Environment:
    """Make an environment with the wheel, its dependencies and those of the extras."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-qq", "--no-deps", "--no-index", str(wheel)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    _link(_closure(_requirements(extras)), folder / "lib" / version / "site-packages")
    return Environment(folder=folder, directory=directory)


def _requirements(extras: Iterable[str]) -> list[Requirement]:
    optional = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [Requirement(line) for line in lines]


def _closure(requirements: list[Requirement]) -> set[str]:
    """Return the names of what has to be installed for these requirements."""
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in distribution(name).requires or ():
                required = Requirement(line)
                if required.marker is None or required.marker.evaluate({"extra": extra}):
                    required.marker = None
                    waiting.append(required)
    return {name for name, _ in seen}


def _link(names: Iterable[str], site_packages: Path) -> None:
    """Link what the distributions have installed."""
    for name in names:
        installed = distribution(name)
        tops = {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}
        for top in tops:
            link = site_packages / top
            if not link.exists():
                link.symlink_to(Path(str(installed.locate_file(top))))
