"""The log of a service is exported and replayed while the service runs, on SQLite and on PostgreSQL."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.api.cli.command_line import assert_refused, run
from tests.api.running import Running, running
from tests.trials.round_trip import ROUTE, differences, play


@pytest.fixture
def service(tmp_path: Path, store_url: str) -> Iterator[Running]:
    with running(tmp_path, store_url) as running_service:
        yield running_service


def lines_of(path: Path) -> dict[str, dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(text) for text in file]
    assert [line["decided_at"] for line in lines] == sorted(line["decided_at"] for line in lines)
    return {line["decision_id"]: line for line in lines}


def test_rewards_costs_and_propensities_are_those_of_the_traffic(
    service: Running, store_url: str, tmp_path: Path
) -> None:
    everything = play(service, 300)
    out = tmp_path / "log.jsonl"
    exported = run("export-log", store_url, "--route", ROUTE, "--out", out)
    assert exported.exit_code == 0, exported.output
    assert "Exported 300 decisions" in exported.output
    assert differences(lines_of(out), everything) == []
    out = tmp_path / "replay.json"
    replayed = run("replay", store_url, "--route", ROUTE, "--json", out, "--resamples", 100)
    assert replayed.exit_code == 0, replayed.output
    assert "300 decisions" in replayed.output


def test_all_formats_say_the_same_bit_for_bit(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        play(service, 60)
        for suffix in ("jsonl", "csv", "parquet"):
            out = tmp_path / f"log.{suffix}"
            assert run("export-log", tmp_path / "log.db", "--route", ROUTE, "--out", out).exit_code == 0
    lines = lines_of(tmp_path / "log.jsonl")
    propensities = {name: line["propensities"] for name, line in lines.items()}
    with (tmp_path / "log.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["decision_id"]: json.loads(row["propensities"]) for row in table} == propensities
    parquet = duckdb.sql(f"SELECT decision_id, propensities FROM '{tmp_path / 'log.parquet'}'").fetchall()
    assert dict(parquet) == propensities


def test_a_time_and_a_route_choose_decisions(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        play(service, 30)
        service.decide()
    database, out = tmp_path / "log.db", tmp_path / "some.jsonl"
    assert_refused(run("export-log", database, "--out", out), "choose one with --route, of quickstart, shop")
    assert_refused(
        run("export-log", database, "--route", "none", "--out", out), "choose among quickstart, shop"
    )
    assert_refused(run("replay", database), "choose one with --route")
    assert run("export-log", database, "--route", ROUTE, "--out", out).exit_code == 0
    times = [line["decided_at"] for line in lines_of(out).values()]
    some = run(
        "export-log", database, "--route", ROUTE, "--since", times[10], "--until", times[20], "--out", out
    )
    assert "20 decisions before or after the time asked for are left out." in some.output
    assert [line["decided_at"] for line in lines_of(out).values()] == times[10:20]
    assert_refused(
        run("export-log", database, "--since", "2026-03-01T12:00", "--out", out), "a time with its zone"
    )


def test_what_is_no_log_of_a_service_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "log.jsonl"
    (tmp_path / "text.db").write_text("no database")
    duckdb.connect(str(tmp_path / "duck.db")).close()
    assert_refused(run("export-log", tmp_path / "none.db", "--out", out), "no such file")
    assert_refused(run("export-log", tmp_path / "text.db", "--out", out), "text.db")
    assert_refused(run("export-log", tmp_path, "--out", out), "no such file")
    assert_refused(run("export-log", "mysql://host/db", "--out", out), "mysql")
    with running(tmp_path) as service:
        service.get("/livez")
    assert_refused(run("export-log", tmp_path / "log.db", "--out", out), "has no decisions yet")
    assert_refused(
        run("replay", tmp_path / "text.db", "--route", "x"), "--route chooses a route of a service's"
    )
    assert not out.exists()


def test_texts_have_the_features_of_the_last_encoder(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        subjects = ("parcel", "invoice", "refund", "password", "discount", "address")
        for i in range(140):
            service.decide(prompt=f"Where is the {subjects[i % 6]} number {i % 11} of order {i}?")
        router = service.service.engine.fold.routes["quickstart"].router
        service.until(lambda: router.text.fits >= 1 and not router.must_reencode)
        service.decide(prompt="Where is the parcel?")
        width = router.width
    out = tmp_path / "log.jsonl"
    assert run("export-log", tmp_path / "log.db", "--out", out).exit_code == 0
    lines = list(lines_of(out).values())
    assert len(lines) == 141
    assert {len(line["features"]) for line in lines} == {width}
    assert lines[0]["features"][-32:] != [0.0] * 32
