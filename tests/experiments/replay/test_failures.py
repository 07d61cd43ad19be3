"""A call that failed is part of its provider's value, however little the log says of it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.experiments.files import json_value
from fairlead.experiments.logs.log import open_log
from fairlead.experiments.replay import descriptive
from fairlead.experiments.replay.result import Replay
from fairlead.experiments.replay.run import replay
from fairlead.experiments.replay.settings import ReplaySettings
from fairlead.experiments.simulation.pool import LocalPool
from fairlead.experiments.targets.base import TargetSpec
from fairlead.optimizer.errors import InvalidInput
from tests.api.cli.command_line import run
from tests.experiments.logs.log_lines import write_jsonl
from tests.paths import SHARED_DATA

N = 6_000
FAILING = 0.1
ANSWERED = {"shaky": 0.86, "solid": 0.82}
"""Quality of the answers of a provider that fails in a tenth of its calls, and of one that never does."""

TRUTH = {"shaky": (1.0 - FAILING) * ANSWERED["shaky"], "solid": ANSWERED["solid"]}
COSTS = {"shaky": 0.001, "solid": 0.0011}


def calls(*, feedback: float = 1.0, failing: float = FAILING, **failed: Any) -> list[dict[str, Any]]:
    """Draw a log of both providers, half and half; ``failed`` are columns of the calls that failed."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(N):
        name = str(rng.choice(list(TRUTH)))
        row: dict[str, Any] = {
            "decision_id": f"d{i}",
            "decided_at": f"2026-03-{1 + i // 240:02d}T00:00:00Z",
            "context": {"task": f"t{i % 2}"},
            "providers": list(TRUTH),
            "propensities": [0.5, 0.5],
            "provider": name,
            "status": "timeout" if name == "shaky" and rng.random() < failing else "ok",
        }
        if row["status"] != "ok":
            row |= failed
        else:
            row |= {"cost_usd": COSTS[name], "latency_s": 1.0}
            if rng.random() < feedback:
                row["reward"] = float(rng.random() < ANSWERED[name])
        rows.append(row)
    return rows


def judged(path: Path, *names: str, failure_reward: float = 0.0, **options: Any) -> Replay:
    specs = tuple(TargetSpec(name=name) for name in names)
    settings = ReplaySettings(targets=specs, **{"resamples": 0, **options})
    with open_log(path, failure_reward=failure_reward, part_rows=2_500) as log:
        return replay(log, settings, LocalPool())


@pytest.mark.parametrize("feedback", [1.0, 0.2])
@pytest.mark.parametrize("failed", [{}, {"reward": 1.0, "cost_usd": 0.0, "latency_s": 30.0}])
def test_every_estimator_counts_failures(tmp_path: Path, *, feedback: float, failed: dict[str, Any]) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", calls(feedback=feedback, **failed))
    result = judged(path, "fixed:shaky", "fixed:solid", by=("task",), rejection=False)
    for target, truth in zip(result.targets, TRUTH.values(), strict=True):
        for name, estimate in target.estimates["reward"].items():
            if name not in ("on-policy", "sub-gaussian-ips", "sub-gaussian-dr"):
                # The interval of DM knows nothing of the model's own error.
                reach = 0.05 if name == "dm" else 1.6 * estimate.half_width
                assert abs(estimate.value - truth) < reach, (target.label, name)
        for part in target.slices:
            assert abs(part.target.value - truth) < 1.6 * part.target.half_width
    shaky, solid = result.targets
    assert shaky.verdict.recommendation != "promote"
    assert shaky.gains["reward"].value < 0.0 < solid.gains["reward"].value
    assert {finding.name for finding in shaky.findings if not finding.passed} == set()
    if not failed:
        paid = shaky.estimates["cost_usd"]["dr"].value
        assert paid == pytest.approx((1.0 - FAILING) * COSTS["shaky"], rel=0.03), "a failed call is free"
        assert shaky.estimates["latency_s"]["dr"].value == pytest.approx(1.0), "and as slow as others"
    cells = {cell.provider: cell.quality for cell in result.cells if cell.task == "(all)"}
    assert cells == pytest.approx(TRUTH, abs=0.06)


def test_failures_may_be_worth_something(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", calls())
    (target,) = judged(path, "fixed:shaky", failure_reward=0.5).targets
    estimate = target.estimates["reward"]["dr"]
    assert abs(estimate.value - (TRUTH["shaky"] + 0.5 * FAILING)) < 1.6 * estimate.half_width
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match="failure reward"), open_log(path, failure_reward=value):
            pass


def test_targets_that_learn_are_taught_failures(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", calls(failing=0.4, reward=1.0)[:2_000])
    result = judged(path, "greedy", "linucb", model="mean", rejection=True)
    for target in result.targets:
        assert target.shares["solid"] > 0.8, target.label
        kept = target.estimates["reward"]["rejection (learning)"]
        assert abs(kept.value - TRUTH["solid"]) < 0.08


@pytest.mark.parametrize("feedback", [1.0, 0.3])
def test_a_description_counts_failures(tmp_path: Path, *, feedback: float) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", calls(feedback=feedback, reward=1.0))
    with open_log(path) as log:
        description = descriptive.describe(log)
    means = {fact.name: fact.mean_reward for fact in description.providers}
    assert means == pytest.approx(TRUTH, abs=0.05)
    assert dict(description.direct) == pytest.approx(TRUTH, abs=0.06)
    assert description.mean_reward == pytest.approx(sum(TRUTH.values()) / 2, abs=0.03)


def test_what_the_rows_are_stands_beside_the_verdict(tmp_path: Path) -> None:
    content = calls(feedback=0.5)
    content[7]["decided_at"] = "yesterday"
    path = write_jsonl(tmp_path / "log.jsonl", content)
    outputs = [tmp_path / "out.html", tmp_path / "out.json"]
    options = ("--skip-bad", "--target", "fixed:solid", "--resamples", 0, "--model", "mean")
    quiet = run("replay", path, *options, "--quiet", "--report", outputs[0], "--json", outputs[1])
    assert quiet.exit_code == 0, quiet.output
    rest = [row for i, row in enumerate(content) if i != 7]
    failed = sum(row["status"] != "ok" for row in rest)
    unjudged = {
        name: sum(row["provider"] == name and row["status"] == "ok" and "reward" not in row for row in rest)
        for name in TRUTH
    }
    account, verdict = " ".join(quiet.output.split()), "against the logging policy"
    for said in (
        f"Of 5,999 decisions {failed} failed (shaky {failed}) and count as quality 0;",
        f"{sum(unjudged.values()):,} answered ones have no reward (",
        f"shaky {unjudged['shaky']:,}",
        f"{failed} have no cost (shaky {failed}), of which failed ones count as free",
        f"1 more row is left out as bad ({content[7]['provider']} 1).",
    ):
        assert said in account, said
    assert account.index("Of 5,999") < account.index(verdict)
    log = json.loads(outputs[1].read_text())["log"]
    assert log["account"] in account
    assert log["rows_by_provider"]["shaky"]["failed"] == failed
    assert log["rows_by_provider"]["solid"]["unjudged"] == unjudged["solid"]
    assert log["rows_by_provider"][content[7]["provider"]]["left_out"] == 1
    page = outputs[0].read_text()
    assert log["account"] in page
    assert page.index(log["account"]) < page.index("<h2>")
    loud = run("replay", path, *options)
    assert loud.stdout.endswith(quiet.stdout)


def test_nothing_failed(tmp_path: Path) -> None:
    whole = [row | {"status": "ok", "reward": 1.0, "cost_usd": 1.0, "latency_s": 1.0} for row in calls()]
    with open_log(write_jsonl(tmp_path / "log.jsonl", whole)) as log:
        assert log.account() == "Of 6,000 decisions none failed; every answered one has a reward."
        assert json_value(log.facts[0].unjudged) == 0


def test_spend_logs_whose_failures_nobody_judged(tmp_path: Path) -> None:
    """The case that promoted the worse provider, written by its own script."""
    script = SHARED_DATA.parent / "cases" / "mkfail2.py"
    if not script.is_file():
        pytest.skip(f"{script} is not here")
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, capture_output=True)
    spend, rewards, out = tmp_path / "fail2.csv", tmp_path / "fail2_rew.csv", tmp_path / "log.parquet"
    with spend.open() as file:
        failed = sum(row["status"] == "failure" for row in csv.DictReader(file))
    options = ("--from", "litellm", "--weights", "flaky=0.5,steady=0.5", "--rewards", rewards, "--out", out)
    imported = run("import-log", spend, *options)
    assert imported.exit_code == 0, imported.output
    values = {}
    for name in ("flaky", "steady"):
        result = run("replay", out, "--target", f"fixed:{name}", "--quiet", "--json", tmp_path / "out.json")
        assert result.exit_code == 0, result.output
        assert f"{failed} failed (flaky {failed})" in " ".join(result.output.split())
        (target,) = json.loads((tmp_path / "out.json").read_text())["targets"]
        values[name] = target["estimates"]["quality"]["snips"]["value"]
        if name == "flaky":
            assert target["verdict"]["judgement"] != "promote"
            assert target["gains"]["quality"]["value"] < 0.0
    assert values == pytest.approx({"flaky": 0.790, "steady": 0.806}, abs=0.001)
