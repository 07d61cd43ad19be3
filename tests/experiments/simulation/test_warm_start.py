"""A warm start: prompts that are known before the first request, and not played."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fairlead.experiments.simulation.run import play, simulate
from fairlead.experiments.simulation.scenario import Goal, Newcomer, Settings
from fairlead.experiments.simulation.stream import make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.learning.text_learner import FIRST_FIT
from fairlead.optimizer.types.evidence import MOST_ROWS
from tests.experiments.simulation.test_run import two_kinds
from tests.experiments.simulation.test_stream import make_table

FREE = Settings(wtp_usd=(1.0,), seeds=2, supervised=False)


def test_prompts_of_the_warm_start_are_not_played() -> None:
    table = make_table(300)
    settings = Settings(warm_start_prompts=100, score_split="test", warmup_split="val")
    stream = make_stream(table, settings, 0)
    assert stream.warm_start is not None
    texts = {context.text for context in stream.warm_start.contexts}
    played = {table.prompts[row] for row in stream.rows.tolist()}
    assert (len(texts), len(played)) == (100, 200)
    assert not texts & played
    # They come from the warm-up split, so that what is scored stays the same.
    assert stream.score_from == 50
    rows = [table.prompts.index(str(context.text)) for context in stream.warm_start.contexts]
    np.testing.assert_array_equal(stream.warm_start.outcomes[0], table.quality[rows])
    other = make_stream(table, settings, 1).warm_start
    assert other is not None
    assert {context.text for context in other.contexts} != texts


def test_the_text_projection_is_fitted_on_what_is_known_before_the_first_request() -> None:
    table = make_table(450)
    stream = make_stream(table, Settings(warm_start_prompts=200), 0)
    # 200 prompts are known before the first; it is twice as many when 200 have come.
    assert [segment.start for segment in stream.segments] == [0, 200]
    for segment in stream.segments:
        assert segment.features[:, 24:].any()
    cold = make_stream(table, Settings(), 0).segments
    assert [segment.start for segment in cold] == [0, FIRST_FIT, 2 * FIRST_FIT]
    assert cold[0].features.shape[1] == 24


def test_a_warm_start_earns_more_from_the_first_request_on() -> None:
    table = two_kinds(200)
    plain = dataclasses.replace(FREE, seeds=5, features="surface")
    cold, warm = (simulate(table, dataclasses.replace(plain, warm_start_prompts=n)).records for n in (0, 80))
    assert warm[0].n == cold[0].n - 80
    first_third = [np.mean([record.phase_quality[0] for record in records]) for records in (cold, warm)]
    assert first_third[1] > first_third[0] + 0.05


def test_another_table_may_be_what_is_known() -> None:
    table, earlier = two_kinds(200), two_kinds(100)
    only_b = dataclasses.replace(
        earlier,
        providers=("b",),
        **{
            name: getattr(earlier, name)[:, 1:2]
            for name in ("quality", "cost_usd", "latency_s", "input_tokens", "output_tokens")
        },
    )
    settings = dataclasses.replace(FREE, warm_start=only_b)
    stream = make_stream(table, settings, 0)
    assert stream.warm_start is not None
    assert np.isnan(stream.warm_start.outcomes[:, :, [0, 2]]).all()
    np.testing.assert_array_equal(stream.warm_start.outcomes[0, :, 1], earlier.quality[:, 1])
    player = play(table, settings, stream, policy="default", goal=Goal()).player
    counted = player.router.summary()["evidence"]["warm start 0"]  # type: ignore[attr-defined]
    assert counted["rows"] == 100


def test_a_newcomer_is_told_about_when_it_joins() -> None:
    table = two_kinds(300)
    settings = dataclasses.replace(FREE, warm_start_prompts=60, newcomers=(Newcomer(provider="b", step=100),))
    stream = make_stream(table, settings, 0)
    player = play(table, settings, stream, policy="default", goal=Goal()).player
    sources = player.router.summary()["evidence"]  # type: ignore[attr-defined]
    assert list(sources) == ["warm start 0", "warm start 102"]


def test_of_too_many_prompts_some_are_drawn_and_the_note_says_so() -> None:
    many = make_table(MOST_ROWS + 10, 2)
    table = make_table(20, 2)
    settings = Settings(warm_start=many, features="surface", seeds=1, supervised=False, wtp_usd=(1.0,))
    stream = make_stream(table, settings, 0)
    assert stream.warm_start is not None
    assert len(set(stream.warm_start.contexts)) == MOST_ROWS
    settings = dataclasses.replace(settings, policies=("uniform",))
    assert (
        "Of 5,010 prompts for the warm start, each seed draws 5,000 at random."
        in simulate(table, settings).notes
    )


def unknown() -> OutcomeTable:
    return dataclasses.replace(make_table(20), providers=("a", "b", "gpt-9"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": unknown()}, "the warm start is about 'gpt-9', which is not in the table"),
        ({"warm_start_prompts": 299}, "only 1 prompts are left to score"),
        ({"warm_start_prompts": 6_000}, "6,000 prompts: a route keeps 5,000"),
        (
            {"warm_start_prompts": 151, "warmup_split": "val", "score_split": "test"},
            "of the warm-up split, which has 150: give less",
        ),
    ],
)
def test_a_warm_start_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(make_table(), dataclasses.replace(FREE, **changes))  # type: ignore[arg-type]


def test_a_table_and_own_prompts_exclude_each_other() -> None:
    with pytest.raises(
        ValueError, match="a warm start from a table and from 5 prompts of the stream: choose"
    ):
        Settings(warm_start=make_table(), warm_start_prompts=5)
