"""The documentation is true: its blocks run, its commands exist, its links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from api.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").glob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


REPLAY = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_of_the_readme_run(block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", blocks("sh"))
def test_commands_of_the_readme_run(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    targets = re.findall(
        r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    for line in block.strip().splitlines():
        command, *arguments = shlex.split(line)
        if command == "make":
            assert arguments[0] in targets
            continue
        assert command == ".venv/bin/fairlead", line
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("block", blocks("sh", REPLAY))
def test_commands_of_the_replay_page_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    for line in block.strip().splitlines():
        command, *arguments = shlex.split(line)
        assert command == ".venv/bin/fairlead", line
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output


def test_the_replay_page_names_every_option() -> None:
    command = typer.main.get_command(app)
    for name in ("replay", "import-log"):
        for parameter in command.commands[name].params:  # type: ignore[attr-defined]
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in REPLAY or f" {option}" in REPLAY, option


def test_every_command_is_in_the_readme_or_docs() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        assert f"fairlead {name}" in text, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: os.path.relpath(page, ROOT))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tour_names_files_that_exist() -> None:
    tour = README.split("## To change X, open Y")[1].split("\n## ")[0]
    for row in tour.splitlines()[4:]:
        folder = ROOT
        for name in re.findall(r"`([a-z_/]+(?:\.py|/))`", row):
            # A bare file name stands for one in the folder, or the part of it, that the row named before.
            path = ROOT / name if "/" in name else folder / name
            assert path.exists(), f"{row}: {name}"
            folder = path if path.is_dir() else path.parent
