"""A log is sliced by what it has, and what it has not is named with what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.cli.command_line import assert_refused, run
from tests.experiments.logs.log_lines import drawn_lines, lines, write_jsonl

QUICK = ("--target", "uniform", "--resamples", 0, "--model", "mean")


def test_by_route(tmp_path: Path) -> None:
    content = drawn_lines(300)
    for i, row in enumerate(content):
        row["route"] = ("chat", "agent", None)[i % 3]
    path = write_jsonl(tmp_path / "log.jsonl", content)
    result = run("replay", path, *QUICK, "--by", "route", "--csv", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    written = (tmp_path / "out.csv").read_text()
    for name in ("route=chat", "route=agent", "route=(none)"):
        assert name in result.output
        assert f",{name},quality," in written


def test_by_route_of_a_log_without_routes(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", [{**row, "route": None} for row in drawn_lines(200)])
    result = run("replay", path, *QUICK, "--by", "route")
    assert result.exit_code == 0, result.output
    assert "route=(none)" in result.output


def test_an_unknown_attribute_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(60))
    refused = run("replay", path, *QUICK, "--by", "teir")
    assert_refused(
        refused, "no attribute 'teir' in any row to slice or cluster by: choose among task, week, route, "
    )
    assert "tier" in refused.stderr and "tools" in refused.stderr
    many = {f"a{i}": 1 for i in range(200)}
    content = [{**row, "context": {"attributes": many}} for row in lines(9)]
    refused = run("replay", write_jsonl(path, content), *QUICK, "--by", "x")
    assert_refused(refused, "and 170 more attributes")
    bare = write_jsonl(path, [{**row, "context": None} for row in lines(9)])
    assert_refused(run("replay", bare, *QUICK, "--by", "x"), "choose among task, week, route\n")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_by_route_in_every_format(tmp_path: Path, *, suffix: str) -> None:
    path = tmp_path / f"log.{suffix}"
    table = "data/synthetic_support.parquet"
    options = ("--policy", "epsilon-greedy:0.3", "--wtp", 0.01, "--seeds", 1, "--no-supervised", "--quiet")
    features = ("--features", "surface", "--jobs", 1)
    logs = []
    for seed in (0, 3, 3):
        result = run("simulate", table, *options, *features, "--seed", seed, "--log", path)
        assert result.exit_code == 0, result.output
        logs.append(path.read_bytes())
    assert logs[0] != logs[1] == logs[2], "the seed decides, and nothing else"
    result = run("replay", path, *QUICK, "--by", "route")
    assert result.exit_code == 0, result.output
    assert "route=" in result.output
