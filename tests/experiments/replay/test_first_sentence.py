"""One sentence, read by somebody who reads no more, does not mislead: each log here once misled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.experiments.logs.log import open_log
from fairlead.experiments.replay.result import Replay, TargetResult
from fairlead.experiments.replay.run import replay
from fairlead.experiments.replay.settings import ReplaySettings
from fairlead.experiments.report.page import report_html
from fairlead.experiments.simulation.pool import LocalPool
from fairlead.experiments.simulation.scenario import Goal
from fairlead.experiments.targets.base import TargetSpec
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.logs.log_lines import write_jsonl

OLD, NEW = "a/old", "b/new"
START = datetime(2026, 3, 1, tzinfo=UTC)
Row = dict[str, Any]


def log_of(
    n: int, quality: Sequence[float], *, seed: int = 0, share: float = 0.5, tasks: int = 1
) -> list[Row]:
    """Draw n decisions between the old and the new provider, of these mean rewards."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        chosen = int(rng.random() < share)
        name = (OLD, NEW)[chosen]
        rows.append(
            {
                "decision_id": f"d{i}",
                "decided_at": (START + timedelta(minutes=i)).isoformat().replace("+00:00", "Z"),
                "context": {"task": f"t{i % tasks}", "attributes": {"user_id": f"u{i // 20}"}},
                "providers": [OLD, NEW],
                "propensities": [1.0 - share, share],
                "provider": name,
                "served_provider": name,
                "reward": float(rng.random() < quality[chosen]),
                "cost_usd": (0.001, 0.003)[chosen],
                "latency_s": 1.0,
                "status": "ok",
            }
        )
    return rows


def judged(tmp_path: Path, rows: list[Row], name: str = f"fixed:{NEW}", **settings: Any) -> Replay:
    goal = settings.pop("goal", Goal())
    with open_log(write_jsonl(tmp_path / "log.jsonl", rows)) as log:
        spec = TargetSpec(name=name, goal=goal)
        return replay(log, ReplaySettings(targets=(spec,), resamples=0, **settings), LocalPool())


def only(result: Replay) -> TargetResult:
    report_html(result)  # whatever the log, there is a report of it
    (target,) = result.targets
    return target


def test_a_better_policy_is_promoted_with_what_it_costs(tmp_path: Path) -> None:
    verdict = only(judged(tmp_path, log_of(3_000, (0.5, 0.8)))).verdict
    assert verdict.recommendation == "promote"
    assert "each end at 95% however often you look" in verdict.sentence
    assert "it costs +5" in verdict.sentence and "instead of $" in verdict.sentence


def test_what_nobody_judged_is_a_condition(tmp_path: Path) -> None:
    """Users of the new provider answer only if they are happy; 80 % of all decisions have no reward."""
    rows = log_of(8_000, (0.5, 0.5))
    rng = np.random.default_rng(1)
    for row in rows:
        happy = row["provider"] == NEW and row["reward"] == 1.0
        if rng.random() > (0.32 if happy else 0.16 if row["provider"] == OLD else 0.0):
            row["reward"] = None
    sentence = only(judged(tmp_path, rows)).verdict.sentence
    assert not sentence.startswith("Promote b/new:")
    kept = [row if i % 5 == 0 else row | {"reward": None} for i, row in enumerate(log_of(8_000, (0.5, 0.8)))]
    verdict = only(judged(tmp_path, kept)).verdict
    assert verdict.recommendation == "promote"
    assert "provided that on the 80% of the decisions that are not judged it does not lose more than" in (
        verdict.sentence
    )


def test_a_stand_in_is_named(tmp_path: Path) -> None:
    rows = log_of(4_000, (0.5, 0.8))
    for row in rows[:2_000]:
        row |= {"providers": [OLD, "c/third"], "propensities": [0.5, 0.5]}
        if row["provider"] == NEW:
            row |= {"provider": "c/third", "served_provider": "c/third"}
    sentence = only(judged(tmp_path, rows)).verdict.sentence
    assert "in 50% of the decisions it was no candidate, and the cheapest provider stands in" in sentence


def test_a_column_must_not_have_seen_the_rewards(tmp_path: Path) -> None:
    rows = log_of(2_000, (0.5, 0.5))
    for row in rows:  # the argmax of this very log
        good = row["reward"] == 1.0
        chosen = [OLD, NEW].index(row["provider"])
        row["target_propensities"] = [
            float(chosen == (0 if good else 1)),
            float(chosen == (1 if good else 0)),
        ]
    refused = only(judged(tmp_path, rows, "column")).verdict
    assert refused.recommendation == "not enough evidence" and "--trained-until" in refused.sentence
    later = (START + timedelta(minutes=999)).timestamp()
    target = only(judged(tmp_path, rows, "column", trained_until_s=later))
    assert target.n == 1_000
    never = only(judged(tmp_path, rows, "column", trained_until_s=float("-inf")))
    assert never.n == 2_000 and "--trained-until" not in never.verdict.sentence


def test_an_overrun_budget_is_no_promotion(tmp_path: Path) -> None:
    target = only(judged(tmp_path, log_of(3_000, (0.4, 0.9)), goal=Goal(budget_usd=0.001)))
    assert target.verdict.recommendation == "not enough evidence"
    assert "its budget is $1" in target.verdict.sentence


def test_what_has_turned_is_not_promoted(tmp_path: Path) -> None:
    first, last = log_of(6_000, (0.3, 0.9)), log_of(6_000, (0.8, 0.3), seed=1)
    verdict = only(judged(tmp_path, first[:4_000] + last[4_000:])).verdict
    assert verdict.recommendation == "not enough evidence"
    assert "not in the last third of the log" in verdict.sentence


def test_harm_to_one_task_is_told(tmp_path: Path) -> None:
    rows = log_of(8_000, (0.5, 0.8), tasks=4)
    harmed = log_of(8_000, (0.8, 0.4), seed=1, tasks=4)
    mixed = [bad if i % 4 == 3 else good for i, (good, bad) in enumerate(zip(rows, harmed, strict=True))]
    verdict = only(judged(tmp_path, mixed)).verdict
    assert verdict.recommendation == "promote"
    assert "at task=t3 (2,000 decisions) it loses at least" in verdict.sentence
    assert "task=t0" not in verdict.sentence


def test_a_row_needs_only_what_the_verdict_uses(tmp_path: Path) -> None:
    """Slow answers of the new provider, which are bad, have no latency: left out, it would look good."""
    rows = log_of(4_000, (0.6, 0.55))
    for row in rows:
        if row["provider"] == NEW and row["reward"] == 0.0:
            row |= {"latency_s": None}
    result = judged(tmp_path, rows)
    assert result.n == 4_000
    assert only(result).verdict.recommendation != "promote"
    assert judged(tmp_path, rows, latency_weight=0.1).n < 4_000


def test_a_reward_that_seems_upside_down_is_told(tmp_path: Path) -> None:
    rows = [row | {"cost_usd": 0.002} for row in log_of(4_000, (0.1, 0.9), share=0.1)]
    assert any("turn the reward around" in note for note in judged(tmp_path, rows).notes)
    cheap = log_of(4_000, (0.1, 0.9), share=0.1)  # much traffic for little money is nothing strange
    assert not any("turn the reward" in note for note in judged(tmp_path, cheap).notes)
    assert not any("turn the reward" in note for note in judged(tmp_path, log_of(900, (0.9, 0.1))).notes)


def test_users_who_were_drawn_once_are_noticed_and_clustered(tmp_path: Path) -> None:
    rows = log_of(4_000, (0.5, 0.5))
    first = {}
    for row in rows:
        name = first.setdefault(row["context"]["attributes"]["user_id"], row["provider"])
        row |= {"provider": name, "served_provider": name}
    alike = only(judged(tmp_path, rows)).verdict
    assert alike.recommendation == "not enough evidence" and "give --cluster user_id" in alike.sentence
    clustered = only(judged(tmp_path, rows, cluster="user_id"))
    assert "--cluster" not in clustered.verdict.sentence
    assert clustered.gains["reward"].half_width > judged(tmp_path, rows).targets[0].gains["reward"].half_width
    single = only(judged(tmp_path, rows, cluster="user_id", fixed_sample=True)).gains["reward"]
    assert single.method == "asymptotic, by cluster"
    with pytest.raises(InvalidInput, match="no attribute 'team'"):
        judged(tmp_path, rows, cluster="team")


def test_a_single_look_says_that_it_is_one_and_wants_both_outcomes(tmp_path: Path) -> None:
    single = only(judged(tmp_path, log_of(3_000, (0.5, 0.8)), fixed_sample=True)).verdict
    assert single.recommendation == "promote" and "for a single look" in single.sentence
    near = only(judged(tmp_path, log_of(1_200, (0.99, 0.999), share=0.2), fixed_sample=True))
    assert near.verdict.recommendation == "not enough evidence"
    assert any(f.name == "effective successes and failures" and not f.passed for f in near.findings)


def test_what_would_settle_it_names_a_quicker_way(tmp_path: Path) -> None:
    target = only(judged(tmp_path, log_of(4_000, (0.6, 0.65), share=0.02, seed=2)))
    assert target.verdict.recommendation == "not enough evidence"
    assert target.outlook is not None and target.outlook.share is not None
    assert "of the traffic given to it" in target.verdict.sentence


def test_one_decision_is_too_few(tmp_path: Path) -> None:
    verdict = only(judged(tmp_path, log_of(1, (0.5, 0.5)))).verdict
    assert verdict.recommendation == "not enough evidence"
