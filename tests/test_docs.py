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

from fairlead.api.cli.main import app
from tests.paths import HANGS_S

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").glob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


REPLAY = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_of_the_readme_run(block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", [*blocks("sh"), *blocks("sh", REPLAY)])
def test_commands_of_the_pages_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
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


def test_the_readme_asks_as_the_page_of_the_service_does() -> None:
    asked = [line for line in README.splitlines() if line.startswith("curl ")]
    page = (ROOT / "docs/service.md").read_text(encoding="utf-8").splitlines()
    assert asked == [line for line in page if line.startswith("curl ")]


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
