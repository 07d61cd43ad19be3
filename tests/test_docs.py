"""The documentation is true: its blocks run, its commands exist, its links lead somewhere."""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from fairlead.api.cli.main import app
from tests.paths import HANGS_S
from tests.trials.servers import Server

ROOT = Path(__file__).resolve().parent.parent
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES = sorted([*GUIDES, *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").glob("*.md")])
README, CONTRIBUTING, REPLAY, SERVICE, DEPLOYMENT, OPERATIONS = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/replay.md",
        "docs/service.md",
        "docs/deployment.md",
        "docs/operations.md",
    )
)
MAKE_TARGETS = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)


def blocks(language: str, page: str = README) -> list[str]:
    """Return the fenced blocks of a language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def name_of(page: Path) -> str:
    return os.path.relpath(page, ROOT)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_of_the_readme_run(block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


class Reader:
    """Types the lines of a page into a shell, and starts `fairlead serve` when a line asks it something."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Server | None = None

    def type(self, line: str) -> None:
        """Run one line, and fail unless it succeeds."""
        command, *arguments = shlex.split(line)
        if command == "make":
            assert arguments[0] in MAKE_TARGETS
        elif command == "curl":
            self._curl(arguments)
        elif arguments == ["serve"]:
            self._serve()
        else:
            assert command in ("fairlead", ".venv/bin/fairlead"), line
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, result.output

    def _serve(self) -> Server:
        if self._server is None:
            settings = {
                "database_url": f"sqlite:///{self._folder}/fairlead.db",
                "state_dir": f"{self._folder}/state",
            }
            self._server = Server(self._folder / "served", settings).start()
        return self._server

    def _curl(self, arguments: list[str]) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("url")
        parser.add_argument("-s", action="store_true")
        parser.add_argument("-H", action="append", default=[], type=lambda text: tuple(text.split(": ", 1)))
        parser.add_argument("-d")
        typed = parser.parse_args(arguments)
        port = self._serve().port
        url = re.sub(r"^(http://)?localhost:8300/", f"http://127.0.0.1:{port}/", typed.url)
        assert str(port) in url, typed.url
        method, headers = ("GET" if typed.d is None else "POST"), dict(typed.H)
        response = httpx.request(method, url, content=typed.d, headers=headers, timeout=HANGS_S)
        assert response.is_success, response.text

    def stop(self) -> None:
        """End the service if one was started."""
        if self._server is not None:
            self._server.stop()


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Return a reader in a new folder that holds the bundled data."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    person = Reader(tmp_path)
    yield person
    person.stop()


SHELL_BLOCKS = [
    block for page in (README, REPLAY, SERVICE, DEPLOYMENT, OPERATIONS) for block in blocks("sh", page)
]


@pytest.mark.parametrize("block", SHELL_BLOCKS)
def test_commands_of_the_pages_run(block: str, reader: Reader) -> None:
    for line in block.strip().splitlines():
        reader.type(line)


def test_the_readme_is_short_and_has_no_block_that_no_test_runs() -> None:
    assert len(README.splitlines()) <= 120
    languages = re.findall(r"^```(.*)$", README, flags=re.MULTILINE)[::2]
    assert set(languages) == {"sh", "python"}
    assert len(languages) == len(blocks("sh")) + len(blocks("python"))
    assert not re.search(
        r"^(    |~~~)", re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE), re.M
    )


def test_contributing_names_what_exists() -> None:
    for target in re.findall(r"\bmake ([a-z-]+)", CONTRIBUTING):
        assert target in MAKE_TARGETS, target
    paths = re.findall(
        r"(?<![\w./-])((?:\.ci|api|data|docs|experiments|optimizer|tests)/[\w./-]*)", CONTRIBUTING
    )
    assert len(paths) > 20
    for path in paths:
        # The instructions name the file that a reader is about to write.
        if "/my_" not in path:
            assert (ROOT / path.rstrip(".")).exists(), path


def test_the_readme_asks_as_the_page_of_the_service_does() -> None:
    requests = [line for line in README.splitlines() if line.startswith("curl ")]
    assert requests == [line for line in SERVICE.splitlines() if line.startswith("curl ")]


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


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}#{anchor}"
