"""The stream and its scenario: what is known when, and what changes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fairlead.experiments.simulation.scenario import (
    Newcomer,
    PriceChange,
    QualityChange,
    Settings,
    goals,
    split_rows,
)
from fairlead.experiments.simulation.stream import make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.learning.text_learner import FIRST_FIT

WORDS = [
    "parcel",
    "invoice",
    "python",
    "sort",
    "lamp",
    "refund",
    "train",
    "verb",
    "cache",
    "lease",
    "sum",
    "tide",
]


def make_table(n: int = 300, k: int = 3, *, missing: bool = False) -> OutcomeTable:
    rng = np.random.default_rng(5)
    quality, cost = rng.random((n, k)), np.tile(np.geomspace(1e-3, 1e-2, k), (n, 1))
    if missing:
        quality[: n // 3, -1] = np.nan
    return OutcomeTable(
        providers=tuple("abcdefgh"[:k]),
        prompt_ids=tuple(map(str, range(n))),
        splits=np.array(["val"] * (n // 2) + ["test"] * (n - n // 2), dtype=object),
        tasks=tuple(f"t{i % 2}" for i in range(n)),
        prompts=tuple(" ".join(rng.choice(WORDS, 6).tolist()) + f" number{i}" for i in range(n)),
        quality=quality,
        cost_usd=cost,
        latency_s=np.full((n, k), np.nan),
        input_tokens=np.full((n, k), np.nan),
        output_tokens=np.full((n, k), np.nan),
    )


def test_features_never_depend_on_prompts_that_come_later() -> None:
    table = make_table()
    stream = make_stream(table, Settings(), 0)
    assert [segment.start for segment in stream.segments] == [0, FIRST_FIT, 2 * FIRST_FIT]
    seen = 200
    later = set(stream.rows[seen:].tolist())
    texts = tuple("entirely other words" if i in later else text for i, text in enumerate(table.prompts))
    changed = make_stream(dataclasses.replace(table, prompts=texts), Settings(), 0)
    for before, after in zip(stream.segments, changed.segments, strict=True):
        if before.stop <= 2 * FIRST_FIT:
            np.testing.assert_array_equal(before.features[:seen], after.features[:seen])
    projected = stream.segments[1].features[:, 24:]
    assert stream.segments[0].features.shape[1] == 24
    assert np.abs(projected).mean() > 0.1
    assert [segment.fitted and segment.fitted.number for segment in stream.segments] == [None, 1, 2]


def test_a_table_without_text_plays_without_a_projection() -> None:
    table = dataclasses.replace(make_table(), prompts=("",) * 300)
    for segment in make_stream(table, Settings(), 0).segments:
        assert not segment.features[:, 1:].any()


def test_warm_up_comes_first_and_every_prompt_once() -> None:
    table = make_table()
    stream = make_stream(table, Settings(warmup_split="val", score_split="test"), 3)
    assert stream.score_from == 150
    assert sorted(stream.rows[:150]) == list(range(150))
    assert sorted(stream.rows[150:]) == list(range(150, 300))
    assert list(stream.rows[:150]) != list(range(150))


def test_one_option_does_not_shift_the_dice_of_another() -> None:
    table = make_table()
    plain = make_stream(table, Settings(features="surface"), 1)
    other = make_stream(table, Settings(feedback_rate=0.3, features="surface", task_labels=True), 1)
    assert plain.draws == other.draws
    np.testing.assert_array_equal(plain.rows, other.rows)
    assert all(plain.has_feedback)
    assert 0.2 < np.mean(other.has_feedback) < 0.4
    assert make_stream(table, Settings(features="surface"), 2).draws != plain.draws


def test_changes_take_place_at_their_steps_of_the_scored_part() -> None:
    table = make_table()
    settings = Settings(
        warmup_split="val",
        score_split="test",
        features="surface",
        price_changes=(PriceChange(provider="a", factor=3.0, step=10),),
        quality_changes=(QualityChange(provider="b", value=0.2, from_step=50, to_step=100),),
        newcomers=(Newcomer(provider="c", step=40),),
    )
    stream = make_stream(table, settings, 0)
    np.testing.assert_allclose(stream.cost_usd[:160, 0], 1e-3)
    np.testing.assert_allclose(stream.cost_usd[160:, 0], 3e-3)
    assert stream.quality[200:250, 1].mean() == pytest.approx(0.2)
    unchanged = np.r_[0:200, 250:300]
    np.testing.assert_array_equal(stream.quality[unchanged, 1], table.quality[stream.rows[unchanged], 1])
    assert np.isnan(stream.quality[:190, 2]).all()
    assert np.isfinite(stream.quality[190:, 2]).all()
    assert np.isfinite(table.quality).all()


def test_prompts_that_only_a_newcomer_serves_are_left_out() -> None:
    table = make_table(k=2, missing=True)
    settings = Settings(newcomers=(Newcomer(provider="a", step=5),))
    assert len(split_rows(table, settings)[1]) == 200


def test_budgets_lie_on_the_warm_up_split() -> None:
    table = make_table()
    cost = table.cost_usd.copy()
    cost[:150] *= 10.0
    table = dataclasses.replace(table, cost_usd=cost)
    warm = goals(table, Settings(budget_count=3, warmup_split="val", score_split="test"))
    assert [goal.budget_usd for goal in warm] == pytest.approx(np.geomspace(1e-2, 1e-1, 3))
