"""The benchmark of the service, short: it runs, counts what comes back, and its baseline keeps rows."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load import sections, served
from tests.load.__main__ import main
from tests.load.load import closed_loop, open_loop
from tests.trials.servers import serving


def test_the_benchmark_reports_every_number_it_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    arguments = [
        "--only",
        "latency",
        "--only",
        "soak",
        "--seconds",
        "0.3",
        "--minutes",
        "0.05",
        "--rate",
        "50",
    ]
    assert main([*arguments, "--json", str(out)]) == 0
    loaded = json.loads(out.read_text(encoding="utf-8"))
    latency, soak = loaded["sections"]
    assert [row["target"] for row in latency["rows"] if row["target"]] == ["≤ 10", "≤ 30"]
    rows = {row["name"]: row["measured"] for row in soak["rows"]}
    assert rows["decisions"] == 150
    assert rows["resident memory after warm-up, MB"] > 50
    # SQLite writes into the room of its write-ahead log first, so that so short a soak may grow nothing.
    assert rows["file growth per decision with outcome and feedback, bytes"] >= 0
    assert "## 4. Soak" in capsys.readouterr().out


def test_an_open_loop_sends_on_time_and_counts_refusals(tmp_path: Path) -> None:
    settings = served.settings(tmp_path, requests_per_s=20.0)

    def both() -> Iterator[served.Asked]:
        while True:
            yield served.Asked("GET", "/v1/routes", None)

    with serving(tmp_path, settings) as server:
        asyncio.run(server.until_ready())
        (loaded,) = asyncio.run(open_loop(server.port, [both()], per_s=100.0, seconds=1.0, most=8))
    assert loaded.sent == 100
    assert set(loaded.statuses) == {200, 429}
    assert len(loaded.accepted_s) + len(loaded.refused_s) == 100
    assert loaded.without_retry_after == 0
    # Arrivals are spread over the second; how much longer a slow machine takes is not its business.
    assert loaded.seconds >= 0.9


def test_the_baseline_keeps_what_it_answers(tmp_path: Path) -> None:
    settings = served.settings(tmp_path)
    with serving(tmp_path, settings, environment={}, command=sections._BASELINE) as baseline:
        asked = served.decisions(1)
        loaded = asyncio.run(closed_loop(baseline.port, asked, connections=4, seconds=0.5))
    assert set(loaded.statuses) == {200}
    with sqlite3.connect(tmp_path / "baseline.db") as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (kept,) = file.execute("SELECT count(*) FROM kept").fetchone()
    file.close()
    assert kept == len(loaded.accepted_s) > 0


def test_a_benchmark_that_cannot_be_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--seconds", "nan"])
    assert ended.value.code == 2
    assert "give a number above 0" in capsys.readouterr().err


def test_bodies_are_encoded_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [
        served.decisions(1),
        served.decisions(1, prefix="a-"),
        served.outcomes(2, prefix="a-", behind=3),
        served.feedback(3, prefix="a-", behind=3),
    ]

    def encode(*args: object, **kwargs: object) -> str:
        raise AssertionError("a body was encoded while requests were being sent")

    monkeypatch.setattr(json, "dumps", encode)
    for stream in streams:
        sent = [next(stream) for _ in range(served.BODIES + 2)]
        assert all(json.loads(asked.body or b"") for asked in sent)
    assert json.loads(next(streams[1]).body or b"")["id"] == f"a-{served.BODIES + 2}"
