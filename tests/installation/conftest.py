"""A project that has folders named like ours, and environments in which Fairlead is installed beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.installation.environments import Environment, create


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder whose `api`, `optimizer`, `experiments` and `data` raise when they are imported."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("api", "optimizer", "experiments", "data"):
        (folder / name).mkdir()
        code = f'raise RuntimeError("the {name} of the project was imported")\n'
        (folder / name / "__init__.py").write_text(code, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory, wheel_path: Path, project: Path) -> Environment:
    """Make what `pip install fairlead` makes."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    return create(folder, wheel=wheel_path, extras=[], directory=project)


@pytest.fixture(scope="session")
def with_replay(tmp_path_factory: pytest.TempPathFactory, wheel_path: Path, project: Path) -> Environment:
    """Make what `pip install 'fairlead[replay]'` makes."""
    folder = tmp_path_factory.mktemp("replay") / "venv"
    return create(folder, wheel=wheel_path, extras=["replay"], directory=project)
