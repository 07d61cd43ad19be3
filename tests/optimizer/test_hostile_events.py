"""Events that no caller should send: refused in one sentence, and the router is as it was."""

from dataclasses import replace

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.types import Decision, DriftAlarm, Feedback, Metric, Outcome, Provider
from tests.optimizer.toy import WIDTH, decided, new_router, play


def served():
    router = new_router()
    play(router, 40)
    return router


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": np.nan},
        {"input_tokens": -1.0},
        {"at_s": np.nan},
        {"seq": 2**70},
        {"features": np.full(WIDTH, 1e300)},
        {"features": np.zeros(WIDTH + 1)},
        {"id": "a\0b"},
        {"id": "\ud800"},
    ],
)
def test_a_decision_with_an_impossible_part_changes_nothing(wrong, tmp_path):
    router = served()
    before = router.summary()
    with pytest.raises(InvalidInput):
        router.learn(replace(decided(router, decision_id="next"), **wrong))
    assert router.summary() == before
    router.save(tmp_path / "state.npz")


@pytest.mark.parametrize("draw", [-0.1, 1.0, np.nan, np.inf])
def test_a_draw_outside_its_range_is_refused(draw):
    with pytest.raises(InvalidInput, match="draw is"):
        decided(served(), draw=draw)


@pytest.mark.parametrize("wrong", [{"at_s": -1.0}, {"at_s": np.nan}])
def test_a_request_that_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidInput):
        decided(served(), **wrong)


def test_a_closed_decision_that_comes_again_costs_nothing():
    router = served()
    again: Decision = decided(router, decision_id="again")
    router.learn(again)
    router.learn(Outcome(decision_id="again", served_provider=again.selected, cost_usd=0.5))
    router.close_before(again.seq + 1)
    before = router.summary()
    for _ in range(3):
        router.learn(again)
    assert router.summary() == before


def test_a_cost_that_is_taken_back_counts_as_expected_again():
    router, clean = served(), served()
    for each in (router, clean):
        each.learn(decided(each, decision_id="x", draw=0.2))
    router.learn(Outcome(decision_id="x", served_provider="cheap", cost_usd=100.0))
    for each in (router, clean):
        each.learn(Outcome(decision_id="x", served_provider="cheap", revision=1))
    assert router.summary()["spent_usd"] == pytest.approx(clean.summary()["spent_usd"])


@pytest.mark.parametrize("wrong", [{"quantity": "style"}, {"since_seq": 10**9}, {"since_seq": -1}])
def test_an_alarm_about_what_is_not_watched_or_not_yet_is_refused(wrong):
    declared = {"provider": "cheap", "quantity": "quality", "since_seq": 3, "at_seq": 9}
    with pytest.raises(InvalidInput):
        DriftAlarm(**(declared | wrong), before=0.0, after=1.0)


def test_names_and_ranges_that_no_file_could_hold_are_refused():
    with pytest.raises(InvalidInput, match="NUL"):
        Provider(name="p\0q")
    with pytest.raises(InvalidInput):
        Metric(low=-1.7e308, high=1.7e308)
    with pytest.raises(InvalidInput):
        Feedback(decision_id="a", value=float("nan"))
