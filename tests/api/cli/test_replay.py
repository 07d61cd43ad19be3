"""`fairlead replay` and `import-log`: files appear as asked, bad input is one sentence and code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.cli.command_line import assert_refused, run
from tests.experiments.logs.log_lines import drawn_lines, lines, write_jsonl


def refused(*arguments: object) -> str:
    """Run a command that must be refused; returns its sentence."""
    result = run(*arguments)
    assert_refused(result, "fairlead: ")
    return result.stderr.strip()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "log.jsonl", drawn_lines(400))


QUICK = ("--resamples", 100, "--model", "mean")


def test_every_output_is_written(log: Path, tmp_path: Path) -> None:
    outputs = {name: tmp_path / f"out.{name}" for name in ("html", "json", "csv")}
    result = run(
        "replay",
        log,
        *QUICK,
        "--target",
        "uniform",
        "--target",
        "fixed:c/dear",
        "--wtp",
        0.1,
        "--by",
        "tier",
        "--by",
        "week",
        "--report",
        outputs["html"],
        "--json",
        outputs["json"],
        "--csv",
        outputs["csv"],
    )
    assert result.exit_code == 0, result.output
    assert "fixed:c/dear" in result.output and "tier=gold" in result.output
    written: dict[str, Any] = json.loads(outputs["json"].read_text())
    assert [entry["target"] for entry in written["targets"]] == ["uniform", "fixed:c/dear"]
    assert outputs["html"].read_text().startswith("<!DOCTYPE html>")
    assert outputs["csv"].read_text().startswith("target,slice,metric,")


def test_all_estimators_and_the_frontier_are_shown(log: Path) -> None:
    result = run("replay", log, *QUICK, "--target", "greedy", "--frontier", 2, "--all", "--tune")
    assert result.exit_code == 0, result.output
    assert "greedy @ wtp 0.0001" in result.output
    assert "switch-dr" in result.output


def test_quiet_leaves_the_verdicts(log: Path) -> None:
    options = (*QUICK, "--target", "uniform", "--target", "fixed:c/dear")
    loud, quiet = (run("replay", log, *options, *more).stdout for more in ((), ("--quiet",)))
    assert loud.endswith(quiet), "the same sentences that stand last otherwise"
    assert "ESS" in loud and "ESS" not in quiet
    for name in ("uniform", "fixed:c/dear"):
        assert name in quiet


def test_bad_rows_can_be_skipped(tmp_path: Path) -> None:
    content = drawn_lines(200)
    content[50]["reward"] = 7.0
    path = write_jsonl(tmp_path / "log.jsonl", content)
    message = refused("replay", path, *QUICK, "--target", "uniform")
    assert "row 51: reward is 7, outside quality in [0, 1]" in message
    result = run("replay", path, *QUICK, "--target", "uniform", "--skip-bad", "--json", tmp_path / "o.json")
    assert result.exit_code == 0, result.output
    assert "1 row was left out (row 51: reward is 7" in " ".join(result.output.split())


def test_a_log_without_propensities_is_refused_and_described(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "bare.jsonl", lines(60, propensities=...))
    assert "has no propensities" in refused("replay", path)
    result = run("replay", path, "--descriptive", "--json", tmp_path / "o.json")
    assert result.exit_code == 0, result.output
    assert "direct method (biased)" in " ".join(result.output.split())
    assert "No policy is judged" in result.output
    description = json.loads((tmp_path / "o.json").read_text())
    assert [entry["name"] for entry in description["providers"]] == ["a/cheap", "b/mid", "c/dear"]
    assert set(description["direct"]) == {"a/cheap", "b/mid", "c/dear"}
    assert "no report" in refused("replay", path, "--descriptive", "--report", tmp_path / "o.html")


def test_nothing_is_half_written(log: Path, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    out = tmp_path / "o.json"
    for arguments, message in (
        (("--target", "nobody"), "there is no policy 'nobody'"),
        (("--target", "uniform", "--estimator", "magic"), "no estimator 'magic'"),
        (("--wtp", -1), "wtp is -1"),
        (("--wtp", 1, "--budget", 1), "more than one of --wtp"),
        (("--engine", "dask", "--workers", 0), "number of workers is 0"),
        (("--scheduler", "tcp://x"), "add --engine dask"),
        (("--resamples", 3), "resamples is 3"),
        (("--report", tmp_path / "o.pdf"), "use .html"),
        (("--csv", log), "the suffix is '.jsonl'"),
    ):
        assert message in refused("replay", log, "--model", "mean", "--json", out, *arguments), arguments
    assert {path.name for path in tmp_path.iterdir()} == before


def test_simulate_writes_the_log_of_one_run(tmp_path: Path) -> None:
    rows = []
    for i in range(80):
        for model, quality, cost in (("a", (i % 3) / 2, 0.001), ("b", 0.8, 0.01)):
            rows.append(f"p{i},t{i % 2},Question {i},{model},{quality},{cost},{0.5}")
    table = tmp_path / "table.csv"
    table.write_text("prompt_id,task,prompt,model,quality,cost_usd,latency_s\n" + "\n".join(rows), "utf-8")
    log = tmp_path / "log.csv"
    quick = ("--seeds", 1, "--jobs", 1, "--no-supervised", "--quiet", "--features", "surface")
    result = run("simulate", table, *quick, "--policy", "uniform", "--wtp", 0.05, "--log", log)
    assert result.exit_code == 0, result.output
    assert run("replay", log, *QUICK, "--target", "default", "--wtp", 0.05).exit_code == 0
    message = refused(
        "simulate", table, *quick, "--policy", "uniform", "--policy", "linucb", "--log", log, "--wtp", 1
    )
    assert "a log holds one run, but there are 2 policies" in message


SPEND = "request_id,startTime,endTime,model,spend,cache_hit,status,request_tags\n"


def test_spend_logs_with_known_weights(tmp_path: Path) -> None:
    spend, judged, out = tmp_path / "spend.csv", tmp_path / "judged.csv", tmp_path / "log.jsonl"
    calls = [
        f"r{i},2026-03-01 10:{i:02d}:00,2026-03-01 10:{i:02d}:02,{'ab'[i % 2]},0.00{i % 2 + 1},{i == 3},"
        'success,"[""x""]"'
        for i in range(40)
    ]
    spend.write_text(SPEND + "\n".join(reversed(calls)), encoding="utf-8")
    judged.write_text(
        "request_id,reward\n" + "\n".join(f"r{i},{(i % 4) / 4}" for i in range(38)), encoding="utf-8"
    )
    options = ("--from", "litellm", "--out", out)
    result = run("import-log", spend, *options, "--weights", "a=0.5,b=0.5", "--rewards", judged)
    assert "Imported 39 decisions" in result.output, result.output
    first = json.loads(out.read_text().splitlines()[0])
    assert first == {
        "decision_id": "r0",
        "decided_at": "2026-03-01T10:00:00Z",
        "context": {"task": "x"},
        "providers": ["a", "b"],
        "propensities": [0.5, 0.5],
        "provider": "a",
        "reward": 0.0,
        "cost_usd": 0.001,
        "latency_s": 2.0,
        "status": "ok",
    }
    assert run("replay", out, *QUICK, "--target", "uniform").exit_code == 0
    assert "model 'b' is none of a" in refused("import-log", spend, *options, "--weights", "a=1.0")
    assert "the weight of 'b' is -0.7" in refused("import-log", spend, *options, "--weights", "a=0.5,b=-0.7")
    assert "is not of the form NAME=SHARE" in refused("import-log", spend, *options, "--weights", "a")
    assert "request_id is missing" in refused("import-log", _text(tmp_path / "x.csv", "a,b\n1,2\n"), *options)
    assert "LOW:HIGH" in refused("import-log", spend, *options, "--reward-range", "x")
    assert "--reward-range says what the rewards of a file mean" in refused(
        "import-log", spend, *options, "--reward-range", "1:5"
    )


def _text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def dsjson(i: int, **changes: Any) -> dict[str, Any]:
    return {
        "_label_cost": -1.0 if i % 2 else 0.0,
        "_label_probability": 0.7,
        "_label_Action": 2 if i % 3 else 1,
        "_labelIndex": 1 if i % 3 else 0,
        "Timestamp": f"2026-03-01T10:{i % 60:02d}:00.0000000Z",
        "Version": "1",
        "EventId": f"e{i}",
        "a": [2, 1] if i % 3 else [1, 2],
        "p": [0.7, 0.3],
        "c": {"User": {"tier": "gold", "age": 3}, "_multi": [{"_tag": "left"}, {"b": {"x": 1}}]},
        **changes,
    }


def test_dsjson(tmp_path: Path) -> None:
    path, out = tmp_path / "vw.jsonl", tmp_path / "log.jsonl"
    observed = {"EventId": "e1", "v": 1.0, "RewardValue": 1.0}
    write_jsonl(path, [dsjson(i) for i in range(40)] + [observed])
    assert "Imported 40 decisions" in run("import-log", path, "--from", "dsjson", "--out", out).output
    second = json.loads(out.read_text().splitlines()[1])
    assert second["providers"] == ["action-2", "left"]
    assert (second["provider"], second["propensities"], second["reward"]) == ("action-2", [0.7, 0.3], 1.0)
    assert second["context"]["attributes"] == {"User.tier": "gold", "User.age": 3}
    assert run("replay", out, *QUICK, "--target", "uniform").exit_code == 0
    for change, message in (
        ({"pdrop": 0.5}, "row 1: pdrop is 0.5"),
        ({"p": None}, "row 1: this is no contextual-bandit event"),
        (
            {"_label_cost": 3.0},
            "row 1: the reward -3.0 is outside 0 to 1: declare its range with --reward-range",
        ),
    ):
        write_jsonl(path, [dsjson(0, **change)])
        assert message in refused("import-log", path, "--from", "dsjson", "--out", tmp_path / "no.jsonl")
    assert not (tmp_path / "no.jsonl").exists()
    write_jsonl(path, [dsjson(0, _label_cost=1.0)])
    assert run("import-log", path, "--from", "dsjson", "--out", out, "--reward-range", "-1:0").exit_code == 0
    assert json.loads(out.read_text())["reward"] == 0.0
    assert "no decision was found" in refused(
        "import-log", write_jsonl(path, [observed]), "--from", "dsjson", "--out", out
    )
