"""The installed wheel works in a project with an `api`, an `optimizer` and an `experiments` of its own."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import httpx

from tests.experiments.logs.log_lines import drawn_lines, write_jsonl
from tests.installation.environments import Environment
from tests.paths import HANGS_S, ROOT

SETTINGS = """\
database_url: sqlite:///log.db
state_dir: state
port: 0
snapshot_every_s: 0.5
retention_days: 0.000001
providers: [{name: small}, {name: large}]
routes: [{name: chat, providers: [small, large], default_provider: large}]
"""
# So many events make it worthwhile to save a base and to remove what it stands for.
ROUNDS = 550


def wait_for(test: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + HANGS_S
    while not test():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@contextmanager
def serving(environment: Environment) -> Iterator[httpx.Client]:
    """`fairlead serve` in the project's folder, ended by SIGTERM."""
    errors = environment.directory / "errors.txt"
    with errors.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [environment.folder / "bin" / "fairlead", "serve", "--config", "fairlead.yaml"],
            cwd=environment.directory,
            env=environment.variables,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+?(?=,)", process.stdout.readline())
            assert address, errors.read_text(encoding="utf-8")
            with httpx.Client(base_url=address[0], timeout=HANGS_S) as client:
                wait_for(lambda: client.get("/readyz").status_code == 200, "the service did not get ready")
                yield client
            process.send_signal(signal.SIGTERM)
            # The server lets the signal end the process once everything is closed.
            assert process.wait(timeout=HANGS_S) in (0, -signal.SIGTERM)
        finally:
            process.kill()
            process.communicate()
    assert "Traceback" not in (said := errors.read_text(encoding="utf-8")), said


def bases(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT count(*) FROM bases").fetchone()[0])


def test_the_service_takes_snapshots_and_removes_old_events(light: Environment) -> None:
    folder = light.directory
    (folder / "fairlead.yaml").write_text(SETTINGS, encoding="utf-8")
    with serving(light) as client:
        for i in range(ROUNDS):
            decision = client.post("/v1/decisions", json={"route": "chat", "prompt": "Where?", "id": f"d{i}"})
            assert decision.status_code == 200, decision.text
            assert decision.json()["fallback_used"] is None
            feedback = client.post("/v1/feedback", json={"decision_id": f"d{i}", "value": 1})
            assert feedback.status_code == 200, feedback.text
        wait_for(lambda: any((folder / "state").glob("*")), "no snapshot was saved")
        wait_for(lambda: bases(folder / "log.db") > 0, "no base was saved")
    saved = light.fairlead("snapshot", "--config", "fairlead.yaml")
    assert saved.returncode == 0, saved.stderr
    assert saved.stdout.startswith("Saved ")


def test_the_commands_simulate_and_replay(with_replay: Environment) -> None:
    folder = with_replay.directory
    write_jsonl(folder / "decisions.jsonl", drawn_lines(200))
    sample = ROOT / "data" / "synthetic_support.parquet"
    few = f"SELECT * FROM '{sample}' WHERE prompt_id IN (SELECT DISTINCT prompt_id FROM '{sample}' LIMIT 60)"
    duckdb.sql(few).write_csv(str(folder / "outcomes.csv"))
    simulate = ["simulate", "outcomes.csv", "--seeds", 2, "--wtp", 0.01, "--jobs", 2]
    # Nothing that is compiled: it would be compiled in each process anew.
    simulate += ["--policy", "uniform", "--features", "surface", "--no-supervised"]
    replay = ["replay", "decisions.jsonl", "--target", "uniform", "--wtp", 0.1, "--workers", 2]
    for command in (simulate, replay):
        result = with_replay.fairlead(*command, "--json", "result.json")
        assert result.returncode == 0, result.stderr
        assert json.loads((folder / "result.json").read_text(encoding="utf-8"))
        (folder / "result.json").unlink()


def test_the_library_is_imported_by_its_own_name_alone(light: Environment) -> None:
    result = light.program(
        """\
import importlib, sys
import fairlead
from fairlead import Context, Encoder, Provider, Route, Router, TaskLabel
from fairlead.experiments.ope import LoggedBatch, snips
route = Route(name="chat", providers=(Provider(name="a"), Provider(name="b")))
router = Router(route, encoder=Encoder([TaskLabel(width=8)]))
print(round(router.decide(Context(task="t"), decision_id="d", draw=0.5).propensity, 3))
assert fairlead.__file__.endswith("site-packages/fairlead/__init__.py"), fairlead.__file__
for name in ("api", "optimizer", "experiments"):
    assert name not in sys.modules, name
    try:
        importlib.import_module(name)
    except RuntimeError as error:
        print(error)
"""
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "0.5",
        *(f"the {name} of the project was imported" for name in ("api", "optimizer", "experiments")),
    ]
