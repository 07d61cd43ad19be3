"""A replay names the truth, in any number of parts and on any engine; its files are whole and plain."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from fairlead.experiments.files import bundled_path
from fairlead.experiments.logs.log import Log, open_log
from fairlead.experiments.logs.write import write_log
from fairlead.experiments.ope.betting import METHOD
from fairlead.experiments.ope.estimators import ESTIMATORS
from fairlead.experiments.replay import export
from fairlead.experiments.replay.result import ALL, Replay
from fairlead.experiments.replay.run import replay
from fairlead.experiments.replay.settings import ReplaySettings
from fairlead.experiments.report.page import report_html
from fairlead.experiments.simulation.pool import LocalPool, open_pool
from fairlead.experiments.simulation.run import simulated_lines
from fairlead.experiments.simulation.scenario import Goal, Settings
from fairlead.experiments.tables.outcome_table import OutcomeTable, read_outcome_table
from fairlead.experiments.targets.base import goals_of, target_specs
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.logs.log_lines import drawn_lines, lines, write_jsonl


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return read_outcome_table(bundled_path("synthetic_support.parquet"))


@pytest.fixture(scope="module")
def log(table: OutcomeTable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    settings = Settings(wtp_usd=(0.02,), features="surface", task_labels=True)
    goal = Goal(wtp_usd=0.02)
    write_log(path, simulated_lines(table, settings, policy="epsilon-greedy:0.4", goal=goal, seed=0))
    with open_log(path, part_rows=1_100) as opened:
        yield opened


def judged(log: Log, names: Sequence[str], **options: object) -> Replay:
    goals = goals_of(log, wtp_usd=0.02, budget_usd=None, frontier=None)
    specs = tuple(target_specs(names, goals, feedback_delay=0))
    settings = {"resamples": 200, "wtp_usd": 0.02, **options}
    return replay(log, ReplaySettings(targets=specs, **settings), LocalPool())


@pytest.fixture(scope="module")
def result(log: Log) -> Replay:
    return judged(log, ["default", "uniform", "fixed:synthetic/standard"], by=("task", "week"))


def test_the_truth_lies_in_the_intervals(result: Replay, table: OutcomeTable) -> None:
    _, uniform, fixed = result.targets
    column = table.providers.index("synthetic/standard")
    truth = {
        uniform.label: (table.quality.mean(), table.cost_usd.mean()),
        fixed.label: (table.quality[:, column].mean(), table.cost_usd[:, column].mean()),
    }
    for target in (uniform, fixed):
        quality, cost = truth[target.label]
        for name in ("ips", "snips", "dr", "sndr"):
            for metric, true in (("reward", quality), ("cost_usd", cost)):
                estimate = target.estimates[metric][name]
                if name == "dr":
                    assert estimate.low < true < estimate.high, (target.label, name, metric)
                assert estimate.value == pytest.approx(true, rel=0.15), (target.label, name, metric)
        utility = target.estimates["utility"]["dr"]
        assert abs(utility.value - (quality - cost / 0.02)) < 1.6 * utility.half_width
    for cell in result.cells:
        if cell.task == ALL:
            j = table.providers.index(cell.provider)
            assert abs(cell.quality - table.quality[:, j].mean()) < 4.0 * cell.quality_se


def test_the_incumbent_and_the_verdicts(result: Replay, table: OutcomeTable) -> None:
    default, uniform, fixed = result.targets
    assert result.n == result.rows == 3000
    assert uniform.verdict.recommendation == "keep"
    plain = uniform.estimates["utility"]["dr"].value - uniform.estimates["utility"]["on-policy"].value
    assert uniform.gains["utility"].value == pytest.approx(plain, abs=uniform.gains["utility"].half_width)
    assert set(default.estimates["reward"]) == set(ESTIMATORS)
    # The log of a policy that learns: neither resamples nor the central limit theorem hold on it.
    assert result.is_adaptive and default.mix is None
    assert set(default.intervals) == {METHOD} and default.gains["utility"].method == METHOD
    assert sum(default.shares.values()) == pytest.approx(1.0)
    assert fixed.shares["synthetic/standard"] == pytest.approx(1.0)


def test_slices_add_up(result: Replay) -> None:
    for target in result.targets:
        for by in ("task", "week"):
            some = [part for part in target.slices if part.by == by]
            assert sum(part.n for part in some) == target.n
            together = sum(part.n * part.target.value for part in some) / target.n
            assert together == pytest.approx(target.estimates["reward"]["dr"].value)
        assert sum(part.n for part in target.over_time) == target.n


def test_parts_do_not_change_what_needs_no_model(log: Log, result: Replay) -> None:
    with open_log(log.path) as whole:
        assert len(whole.parts()) == 1 < len(log.parts())
        other = judged(whole, ["default", "uniform"], by=("task",))
    for first_target, second_target in zip(result.targets, other.targets, strict=False):
        for name in ("ips", "snips", "clipped-ips"):
            first, second = (target.estimates["reward"][name] for target in (first_target, second_target))
            assert first.value == pytest.approx(second.value, rel=1e-12)
            assert first.method == second.method == "none"


def test_workers_of_a_real_cluster_give_the_same_bits(log: Log) -> None:
    goals = goals_of(log, wtp_usd=None, budget_usd=None, frontier=2)
    specs = tuple(target_specs(["greedy", "uniform"], goals, feedback_delay=0))
    settings = ReplaySettings(targets=specs, by=("task",), resamples=100, model="mean", tune=True)
    local = replay(log, settings, LocalPool())
    heard: list[tuple[str, int]] = []

    def progress(stage: str, tasks: int):  # type: ignore[no-untyped-def]
        return lambda done: heard.append((stage, done))

    with open_pool("dask", scheduler=None, workers=2) as engine:
        spread = replay(log, settings, engine, progress=progress)
    assert export.json_text(spread) == export.json_text(local)
    assert report_html(spread) == report_html(local)
    assert {stage for stage, _ in heard} == {"learning from the log", "tuning", "estimating"}


def test_engines_that_cannot_be() -> None:
    for name, scheduler, count, expected in (
        ("local", "tcp://127.0.0.1:1", 2, "add --engine dask"),
        ("spark", None, 2, "no engine 'spark'"),
        ("dask", None, 0, "number of workers is 0"),
        ("dask", "nowhere", 1, "no dask scheduler answers at 'nowhere'"),
    ):
        with pytest.raises(InvalidInput, match=expected), open_pool(name, scheduler=scheduler, workers=count):
            pass


def test_files_are_strict_and_complete(result: Replay) -> None:
    content = json.loads(export.json_text(result), parse_constant=lambda name: pytest.fail(name))
    assert [target["target"] for target in content["targets"]] == [target.label for target in result.targets]
    assert (
        content["targets"][0]["gains"]["utility"]["low"] < content["targets"][0]["gains"]["utility"]["high"]
    )
    rows = export.csv_text(result).splitlines()
    assert len(rows) > 3 * 4 * len(ESTIMATORS)
    assert all(row.count(",") >= 9 for row in rows)


def test_the_report_needs_nothing_else_and_has_a_table_behind_every_chart(result: Replay) -> None:
    page = report_html(result)
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page)
    assert "<script" not in page
    for section in re.split(r"<h2>", page)[1:]:
        charts, tables = section.count("<svg"), section.count("<table")
        assert charts in (0, 2), section[:40]
        assert tables or not charts, section[:40]
    for name in ESTIMATORS:
        assert re.search(rf"<dt>[^<]*\b{name}\b", page) or name == "on-policy", name
    assert result.headline.verdict.sentence.split(":")[0] in page.partition("<h2>")[0]


def test_text_of_the_log_is_never_html(tmp_path: Path) -> None:
    content = drawn_lines(300)
    for entry in content:
        entry["context"] = {"task": "<script>alert(1)</script>"}
    path = write_jsonl(tmp_path / "x.jsonl", content)
    with open_log(path) as opened:
        assert "<script" not in report_html(judged(opened, ["uniform"], by=("task",)))


def test_missing_outcomes_and_a_log_without_costs(tmp_path: Path) -> None:
    content = drawn_lines(400)
    for i, entry in enumerate(content):
        entry.pop("latency_s")
        if i % 4 == 0:
            entry["reward"] = None
    with open_log(write_jsonl(tmp_path / "a.jsonl", content)) as opened:
        result = judged(opened, ["uniform"])
        assert (result.n, result.rows) == (300, 400)
        assert any("300 of 400 decisions have all outcomes" in note for note in result.notes)
        assert "latency_s" not in result.incumbent
    for entry in content:
        entry.pop("cost_usd")
    with open_log(write_jsonl(tmp_path / "b.jsonl", content)) as opened:
        with pytest.raises(InvalidInput, match="no cost_usd, which the utility needs"):
            judged(opened, ["uniform"])
        result = judged(opened, ["uniform"], wtp_usd=None)
        assert result.hull is None
        assert result.targets[0].quantity == "reward"
        report_html(result)


def test_little_evidence_names_no_winner(tmp_path: Path) -> None:
    with open_log(write_jsonl(tmp_path / "a.jsonl", drawn_lines(120, logging=(0.97, 0.02, 0.01)))) as opened:
        (target,) = judged(opened, ["fixed:c/dear"], wtp_usd=None).targets
    assert target.verdict.recommendation == "not enough evidence"
    assert target.verdict.more_decisions is not None
    assert "more decisions" in target.verdict.sentence


def test_the_same_router_has_weights_of_one(tmp_path: Path) -> None:
    content = [entry | {"target_propensities": entry["propensities"]} for entry in drawn_lines(300)]
    with open_log(write_jsonl(tmp_path / "a.jsonl", content)) as opened:
        (target,) = judged(opened, ["column"], wtp_usd=None).targets
    assert target.effective_size == 300.0
    assert target.gains["reward"].value == pytest.approx(0.0, abs=1e-12)


def test_what_cannot_be_judged(tmp_path: Path) -> None:
    bare = write_jsonl(tmp_path / "bare.jsonl", lines(40, propensities=...))
    with open_log(bare) as opened, pytest.raises(InvalidInput, match=r"no propensities.*--descriptive"):
        judged(opened, ["uniform"])
    unjudged = write_jsonl(tmp_path / "unjudged.jsonl", lines(40, reward=None))
    with open_log(unjudged) as opened, pytest.raises(InvalidInput, match="no reward in any row"):
        judged(opened, ["uniform"])
    for options, expected in (
        ({"primary": "magic"}, "no estimator 'magic'"),
        ({"estimators": ("ips",)}, "'dr' decides but is not computed"),
        ({"level": 1.0}, "level is 1"),
        ({"margin": -1.0}, "margin is -1"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(InvalidInput, match=expected):
            ReplaySettings(targets=(), **options)
    with open_log(write_jsonl(tmp_path / "a.jsonl", drawn_lines(60))) as opened:
        with pytest.raises(InvalidInput, match="more than one of --wtp"):
            goals_of(opened, wtp_usd=1.0, budget_usd=1.0, frontier=None)
        with pytest.raises(InvalidInput, match="2 to 100"):
            goals_of(opened, wtp_usd=None, budget_usd=None, frontier=1)
        with pytest.raises(InvalidInput, match="no column reward_predictions"):
            judged(opened, ["uniform"], model="column")


def test_a_model_of_ones_own_is_used(tmp_path: Path) -> None:
    content = [entry | {"reward_predictions": [0.3, 0.5, 0.8]} for entry in drawn_lines(200)]
    with open_log(write_jsonl(tmp_path / "a.jsonl", content)) as opened:
        (target,) = judged(opened, ["fixed:b/mid"], wtp_usd=None).targets
    assert target.estimates["reward"]["dm"].value == pytest.approx(0.5)
    assert np.isfinite(target.estimates["cost_usd"]["dr"].value)
