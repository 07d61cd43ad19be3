"""Settings and the commands around the service: one sentence for whatever is wrong."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from fairlead.api.cli.main import app
from fairlead.api.cli.service import STARTER
from fairlead.api.settings import read_settings
from fairlead.optimizer.errors import InvalidInput
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("FAIRLEAD_"):
            monkeypatch.delenv(name)
    return tmp_path


def written(text: str) -> Path:
    path = Path("settings.yaml")
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_nothing_needs_to_be_set() -> None:
    settings = read_settings(environment={})
    assert (settings.host, settings.port, settings.durability) == ("127.0.0.1", 8300, "full")


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written("port: 1\nhost: localhost\n")
    monkeypatch.setenv("FAIRLEAD_PORT", "2")
    settings = read_settings(path)
    assert (settings.host, settings.port) == ("localhost", 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prot: 1", "prot is not a setting"),
        ("port: x", "port"),
        ("port: 70000", "port"),
        ("durability: maybe", "durability"),
        ("poll_s: .nan", "poll_s"),
        ("requests_per_s: .inf", "requests_per_s"),
        ("retention_days: yes", "retention_days"),
        ("port: true", "port"),
        ("port: 1\nport: 2", "occurs twice"),
        ("providers: [{name: a, name: b}]", "occurs twice"),
        ("port: [1", "not valid YAML"),
        ("- a", "no settings"),
        ("routes: [{name: r}]", "routes.0.providers"),
        ("routes: [{name: r, providers: [a], colour: red}]", "colour is not a setting"),
        ("providers: [{name: a, paused: 1}]", "providers.0.paused"),
        ("prices: [{provider: a, input_usd_per_mtok: -1, output_usd_per_mtok: 1}]", "input_usd_per_mtok"),
        ("routes: !!python/object/apply:os.system [true]", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(text: str, reason: str) -> None:
    path = written(text)
    with pytest.raises(InvalidInput, match=reason):
        read_settings(path, environment={})
    code, output = run("serve", "--check", "--config", str(path))
    assert code == 2
    assert len(output.strip().splitlines()) == 1


def test_a_file_that_is_not_there_or_no_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="fairlead init"):
        read_settings(Path("none.yaml"), environment={})
    with pytest.raises(InvalidInput, match="name a settings file"):
        read_settings(environment={"FAIRLEAD_CONFIG": ""})
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_settings(Path("binary.yaml"), environment={})


def test_entries_can_be_written_as_others_with_a_difference() -> None:
    path = written("providers: [&a {name: a, tags: [t]}, {<<: *a, name: b}]")
    settings = read_settings(path, environment={})
    assert [(name.name, name.tags) for name in settings.providers] == [("a", ("t",)), ("b", ("t",))]


def test_a_misspelt_variable_is_refused() -> None:
    with pytest.raises(InvalidInput, match="FAIRLEAD_PROT"):
        read_settings(environment={"FAIRLEAD_PROT": "1"})


def test_the_starter_file_is_valid_and_never_overwritten() -> None:
    assert run("init")[0] == 0
    assert yaml.safe_load(Path("fairlead.yaml").read_text()) == yaml.safe_load(STARTER)
    assert run("serve", "--check")[0] == 0
    Path("fairlead.yaml").write_text("port: 1\n")
    code, output = run("init")
    assert (code, "was not changed" in output) == (2, True)
    assert Path("fairlead.yaml").read_text() == "port: 1\n"
    code, output = run("init", "no/such/folder/f.yaml")
    assert code == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("routes: [{name: r, providers: [a]}]", "create that provider first"),
        ("providers: [{name: a}]\nroutes: [{name: r, providers: [a], constraints: {deny: [a]}}]", "relax"),
        ("providers: [{name: a}, {name: a, paused: true}]", "provider 'a' twice"),
        ("database_url: mysql://x", "postgresql://"),
        ("database_url: sqlite:////no/such/folder/f.db", "create it first"),
        ("database_url: postgresql://127.0.0.1:1/x", "cannot be reached"),
        ("host: 0.0.0.0", "create-key"),
    ],
)
def test_checking_finds_what_would_keep_it_from_starting(text: str, reason: str) -> None:
    path = written(text)
    for arguments in (["serve", "--check"], ["serve"]):
        code, output = run(*arguments, "--config", str(path))
        assert code == 2, output
        assert reason in output
    assert not Path("fairlead-state").exists()


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@[h/x", "postgresql://u:secret%zz@h/x", "host=h password=secret", "secret"]
)
def test_a_wrong_database_is_refused_without_its_password(url: str) -> None:
    code, output = run("serve", "--check", "--config", str(written(f"database_url: '{url}'")))
    assert (code, "database_url" in output, "secret" in output) == (2, True, False)


def test_every_command_says_in_a_sentence_that_a_database_cannot_be_used(postgres_server: str) -> None:
    Path("text.db").write_text("not a database " * 1_000)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("CREATE DATABASE guarded")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    guarded = postgres_server.replace("/postgres?", "/guarded?").replace("//postgres:@", "//guest@")
    for url, reason in (
        ("sqlite:///text.db", "cannot be used as a log"),
        ("postgresql://x@127.0.0.1:1/x", "cannot be reached"),
        (guarded, "permission denied"),
    ):
        settings = str(written(f"database_url: '{url}'"))
        for command in (["migrate"], ["create-key", "a", "--scope", "admin"], ["snapshot"]):
            code, output = run(*command, "--config", settings)
            assert (code, len(output.splitlines()), output.startswith("fairlead: ")) == (2, 1, True), (
                command,
                output,
            )
            assert reason in output or command == ["snapshot"], (command, output)


def test_a_port_that_is_taken_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_PORT", "0")
    with socket.create_server(("127.0.0.1", 0)) as blocker:
        code, output = run("serve", "--port", str(blocker.getsockname()[1]))
    assert (code, "cannot be listened on" in output) == (2, True)
    code, output = run("serve", "--check", "--port", "70000")
    assert (code, "65535" in output) == (2, True)


def test_what_is_typed_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_HOST", "127.0.0.1")
    code, output = run("serve", "--check", "--host", "0.0.0.0")
    assert (code, "create-key" in output) == (2, True)


def test_keys_are_made_on_the_command_line() -> None:
    code, output = run("create-key", "a", "--scope", "read")
    assert (code, "first key must have the scope admin" in output) == (2, True)
    code, output = run("create-key", "a", "--scope", "everything")
    assert (code, "decide, outcome, feedback, read, admin" in output) == (2, True)
    code, output = run("create-key", "a", "--scope", "admin")
    assert (code, output.startswith("flk_")) == (0, True)
    assert run("create-key", "b", "--scope", "decide", "--scope", "feedback")[0] == 0
    assert run("serve", "--check", "--host", "0.0.0.0")[0] == 0


def test_migrating_and_taking_a_snapshot() -> None:
    assert "new" in run("migrate")[1]
    assert "already" in run("migrate")[1]
    code, output = run("snapshot")
    assert (code, output.startswith("Saved ")) == (0, True)
    assert run("snapshot", "--config", str(written("database_url: sqlite:///none.db")))[0] == 2


def test_a_terminal_without_unicode_gets_question_marks() -> None:
    command = [sys.executable, "-c", "from fairlead.api.cli.main import main; main()", "init", "\u2013.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".package"), "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (result.returncode, result.stdout.startswith(b"Wrote ?.yaml")) == (0, True), result


def test_the_process_serves_and_ends_at_sigterm(folder: Path) -> None:
    command = [sys.executable, "-c", "from fairlead.api.cli.main import main; main()", "serve", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".package")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split()[3].rstrip(",")
        assert address.startswith("http://127.0.0.1:"), line
        second = CliRunner().invoke(app, ["serve", "--port", "0"])
        assert second.exit_code == 2
        assert "use PostgreSQL" in second.output
        body = {"route": "quickstart", "prompt": "x", "id": "d"}
        end = time.monotonic() + 300.0
        while httpx.get(f"{address}/readyz", timeout=60.0).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        first = httpx.post(f"{address}/v1/decisions", json=body, timeout=60.0)
        assert first.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) in (0, -signal.SIGTERM)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    assert list(Path("fairlead-state").iterdir()), "a snapshot was saved"
